#include "ort/kernel.h"

namespace platon {

Tensor::Tensor(const Api& api, const ort::Value* value) {
  if (!value) throw InputError("a required input is missing");
  ort::TensorInfo* info = nullptr;
  check(api.tensor_info(value, &info));
  const auto release = [&api](ort::TensorInfo* held) { api.release_tensor_info(held); };
  const std::unique_ptr<ort::TensorInfo, decltype(release)> owner(info, release);
  check(api.element_type(info, &type));
  size_t rank = 0;
  check(api.dimension_count(info, &rank));
  shape.resize(rank);
  if (rank) check(api.dimensions(info, shape.data(), rank));
  void* pointer = nullptr;
  check(api.tensor_data(value, &pointer));
  data = pointer;
}

const float* Tensor::floats(const char* name) const {
  if (type != ort::kFloat)
    throw InputError(std::string(name) + " must be float32, got ONNX element type " + std::to_string(type));
  return static_cast<const float*>(data);
}

int64_t Tensor::length(const char* name, ort::ElementType expected) const {
  if (type != expected)
    throw InputError(std::string(name) + " must have element type " + std::to_string(expected) +
                     " (ONNX numbering), got " + std::to_string(type));
  if (shape.size() != 1)
    throw InputError(std::string(name) + " must have one dimension, got " + std::to_string(shape.size()));
  return shape[0];
}

int64_t row_count(const Tensor& x, int64_t features) {
  x.floats("X");
  if (x.shape.empty() || (features >= 0 && x.shape.back() != features))
    throw InputError("the last dimension of X must be in_features = " + std::to_string(features) + ", got " +
                     (x.shape.empty() ? "a scalar" : std::to_string(x.shape.back())));
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < x.shape.size(); ++i) {
    const int64_t size = x.shape[i];
    if (size == 0) return 0;
    if (size < 0 || rows > std::numeric_limits<int64_t>::max() / size) throw InputError("X is too large");
    rows *= size;
  }
  return rows;
}

int64_t attribute(const Api& api, const ort::KernelInfo* info, const char* name) {
  int64_t value = 0;
  if (ort::Status* status = api.attribute_int64(info, name, &value)) {
    api.release_status(status);
    throw InputError(std::string("attribute ") + name + " is missing; export the model again");
  }
  return value;
}

int64_t attribute(const Api& api, const ort::KernelInfo* info, const char* name, int64_t missing) {
  int64_t value = missing;
  if (ort::Status* status = api.attribute_int64(info, name, &value)) {
    api.release_status(status);
    return missing;
  }
  return value;
}

float float_attribute(const Api& api, const ort::KernelInfo* info, const char* name) {
  float value = 0.0f;
  if (ort::Status* status = api.attribute_float(info, name, &value)) {
    api.release_status(status);
    throw InputError(std::string("attribute ") + name + " is missing; export the model again");
  }
  return value;
}

std::string text_attribute(const Api& api, const ort::KernelInfo* info, const char* name) {
  size_t size = 0;
  if (ort::Status* status = api.attribute_string(info, name, nullptr, &size)) {
    api.release_status(status);
    return "";
  }
  if (size > 64) throw InputError(std::string(name) + " has a value of " + std::to_string(size) + " bytes");
  std::string value(size, '\0');
  if (size) check(api.attribute_string(info, name, &value[0], &size));
  return value.c_str();
}

Layout layout_attribute(const Api& api, const ort::KernelInfo* info, const char* name) {
  const std::string value = text_attribute(api, info, name);
  if (value.empty() || value == "tokens") return Layout::kRows;
  if (value == "panels") return Layout::kPanels;
  throw InputError(std::string(name) + " must be 'tokens' or 'panels', got '" + value + "'");
}

int64_t format_version(const Api& api, const ort::KernelInfo* info) {
  const int64_t version = attribute(api, info, "format_version", 1);
  if (version >= 1 && version <= kFormatVersion) return version;
  throw InputError("format_version " + std::to_string(version) +
                   " is unknown to this library, which reads versions 1 to " + std::to_string(kFormatVersion) +
                   "; install a newer platon-compress");
}

const ort::Value* optional_input(const Api& api, const ort::KernelContext* context, size_t index) {
  size_t inputs = 0;
  check(api.input_count(context, &inputs));
  const ort::Value* value = nullptr;
  if (inputs > index) check(api.input(context, index, &value));
  return value;
}

float* output_data(const Api& api, ort::KernelContext* context, size_t index, const std::vector<int64_t>& shape) {
  ort::Value* output = nullptr;
  check(api.output(context, index, shape.data(), shape.size(), &output));
  if (!output) return nullptr;
  void* data = nullptr;
  check(api.tensor_data(output, &data));
  return static_cast<float*>(data);
}

// One item per batch, so that threads take the next item when they are free.
void PoolBridge::run(void* pool, void (*body)(void*, size_t), size_t total, void* data) {
  const PoolBridge& bridge = *static_cast<PoolBridge*>(pool);
  if (total == 1) return body(data, 0);
  if (total) check(bridge.api.parallel_for(bridge.context, body, total, total, data));
}

}  // namespace platon
