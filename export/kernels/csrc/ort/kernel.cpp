#include "ort/kernel.h"

#include <limits>

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
  if (x.shape.empty() || x.shape.back() != features)
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

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string sizes;
  for (const int64_t size : shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  return "[" + sizes + "]";
}

size_t Node::place(const std::string& input) const {
  for (size_t i = 0; i < op_.inputs.size(); ++i)
    if (op_.inputs[i].name == input) return i;
  throw InputError("there is no input " + input);
}

Tensor Node::constant(const std::string& input) const {
  int is_constant = 0;
  const ort::Value* value = nullptr;
  check(api_.constant_input(info_, place(input), &is_constant, &value));
  if (!is_constant || !value)
    throw InputError(input + " must be an initializer of the model, got a value computed at run time");
  return Tensor(api_, value);
}

std::vector<float> Node::constant_vector(const std::string& input) const {
  const Tensor tensor = constant(input);
  const int64_t length = tensor.length(input.c_str(), ort::kFloat);
  const float* data = static_cast<const float*>(tensor.data);
  return std::vector<float>(data, data + length);
}

int64_t Node::attribute(const char* name) const {
  int64_t value = 0;
  if (ort::Status* status = api_.attribute_int64(info_, name, &value)) {
    api_.release_status(status);
    throw InputError(std::string("attribute ") + name + " is missing; export the model again");
  }
  return value;
}

float Node::float_attribute(const char* name) const {
  float value = 0.0f;
  if (ort::Status* status = api_.attribute_float(info_, name, &value)) {
    api_.release_status(status);
    throw InputError(std::string("attribute ") + name + " is missing; export the model again");
  }
  return value;
}

Tensor Context::input(size_t place) const {
  const ort::Value* value = nullptr;
  check(api_.input(context_, place, &value));
  return Tensor(api_, value);
}

float* Context::output(size_t place, const std::vector<int64_t>& shape) const {
  ort::Value* output = nullptr;
  check(api_.output(context_, place, shape.data(), shape.size(), &output));
  if (!output) return nullptr;
  void* data = nullptr;
  check(api_.tensor_data(output, &data));
  return static_cast<float*>(data);
}

Operator describe(const OperatorSpec& spec) {
  Operator op{};
  op.spec = spec;
  op.inputs = spec.inputs();
  op.version = ort::kApiVersion;
  op.get_name = [](const ort::CustomOp* op) { return static_cast<const Operator*>(op)->spec.name; };
  op.get_execution_provider = [](const ort::CustomOp*) -> const char* { return "CPUExecutionProvider"; };
  op.get_input_count = [](const ort::CustomOp* op) { return static_cast<const Operator*>(op)->inputs.size(); };
  op.get_input_type = [](const ort::CustomOp* op, size_t i) {
    return static_cast<const Operator*>(op)->inputs[i].type;
  };
  op.get_output_count = [](const ort::CustomOp* op) -> size_t {
    return static_cast<const Operator*>(op)->spec.sum ? 2 : 1;
  };
  op.get_output_type = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
  op.get_input_characteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
  op.get_output_characteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
  op.get_input_memory_type = [](const ort::CustomOp*, size_t) { return 0; };
  op.get_variadic_input_min_arity = [](const ort::CustomOp*) { return 1; };
  op.get_variadic_input_homogeneity = [](const ort::CustomOp*) { return 1; };
  op.get_variadic_output_min_arity = [](const ort::CustomOp*) { return 1; };
  op.get_variadic_output_homogeneity = [](const ort::CustomOp*) { return 1; };
  op.get_start_version = [](const ort::CustomOp*) { return 1; };
  op.get_end_version = [](const ort::CustomOp*) { return std::numeric_limits<int>::max(); };
  return op;
}

// One item per batch, so that threads take the next item when they are free.
void PoolBridge::run(void* pool, void (*body)(void*, size_t), size_t total, void* data) {
  const PoolBridge& bridge = *static_cast<PoolBridge*>(pool);
  if (total == 1) return body(data, 0);
  if (total) check(bridge.api.parallel_for(bridge.context, body, total, total, data));
}

}  // namespace platon
