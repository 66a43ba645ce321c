// The adapter: platon::SparseLinear and platon::PackTokens for ONNX Runtime. Every error leaves as an OrtStatus; no exception crosses
// the border.
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "export.h"
#include "half.h"
#include "linear.h"
#include "ort_abi.h"

namespace platon {
namespace {

using ort::Api;

enum Input : size_t { kX, kValues, kColumns, kRowStarts, kBias, kResidual, kScale, kShift, kInputCount };
constexpr const char* kInputNames[] = {"X", "values", "columns", "row_starts", "bias", "residual", "scale", "shift"};
enum Output : size_t { kY, kSum, kOutputCount };
// 1: activations token by token; 2: adds input_layout and output_layout; 3: adds residual, scale, shift and sum; float16 values
constexpr int64_t kFormatVersion = 3;

// An OrtStatus on its way through our own code.
struct StatusError {
  ort::Status* status;
};

void check(ort::Status* status) {
  if (status) throw StatusError{status};
}

// Runs `body` and turns whatever it throws into an OrtStatus.
template <class Body>
ort::Status* guarded(const Api& api, Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const StatusError& error) {
    return error.status;
  } catch (const InputError& error) {
    try {
      return api.create_status(ort::kInvalidArgument, ("platon::SparseLinear: " + std::string(error.what())).c_str());
    } catch (...) {
    }
  } catch (const std::bad_alloc&) {
    return api.create_status(ort::kFail, "platon::SparseLinear: out of memory");
  } catch (const std::exception& error) {
    return api.create_status(ort::kFail, error.what());
  } catch (...) {
  }
  return api.create_status(ort::kFail, "platon::SparseLinear: unknown error");
}

// Type, shape and data of a tensor.
struct Tensor {
  const void* data = nullptr;
  ort::ElementType type = ort::kUndefined;
  std::vector<int64_t> shape;

  Tensor(const Api& api, const ort::Value* value) {
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

  int64_t length(Input input, ort::ElementType expected) const {
    if (type != expected)
      throw InputError(std::string(kInputNames[input]) + " must have element type " + std::to_string(expected) +
                       " (ONNX numbering), got " + std::to_string(type));
    if (shape.size() != 1)
      throw InputError(std::string(kInputNames[input]) + " must have one dimension, got " +
                       std::to_string(shape.size()));
    return shape[0];
  }
};

const ort::Value* constant(const Api& api, const ort::KernelInfo* info, Input input) {
  int is_constant = 0;
  const ort::Value* value = nullptr;
  check(api.constant_input(info, input, &is_constant, &value));
  return is_constant ? value : nullptr;
}

Tensor required_constant(const Api& api, const ort::KernelInfo* info, Input input) {
  const ort::Value* value = constant(api, info, input);
  if (!value)
    throw InputError(std::string(kInputNames[input]) +
                     " must be an initializer of the model, got a value computed at run time");
  return Tensor(api, value);
}

int64_t attribute(const Api& api, const ort::KernelInfo* info, const char* name) {
  int64_t value = 0;
  if (ort::Status* status = api.attribute_int64(info, name, &value)) {
    api.release_status(status);
    throw InputError(std::string("attribute ") + name + " is missing; export the model again");
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

int64_t format_version(const Api& api, const ort::KernelInfo* info) {
  int64_t value = 1;
  if (ort::Status* status = api.attribute_int64(info, "format_version", &value)) api.release_status(status);
  return value;
}

// "" when the attribute is missing.
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

Layout layout(const Api& api, const ort::KernelInfo* info, const char* name, bool known) {
  const std::string value = known ? text_attribute(api, info, name) : "";
  if (value.empty() || value == "tokens") return Layout::kTokens;
  if (value == "panels") return Layout::kPanels;
  throw InputError(std::string(name) + " must be 'tokens' or 'panels', got '" + value + "'");
}

// Empty when the node has no such input, or another node computes it.
std::vector<float> constant_vector(const Api& api, const ort::KernelInfo* info, Input input, int64_t length) {
  size_t inputs = 0;
  check(api.kernel_input_count(info, &inputs));
  const ort::Value* value = inputs > input ? constant(api, info, input) : nullptr;
  if (!value) return {};
  const Tensor tensor(api, value);
  if (tensor.length(input, ort::kFloat) != length)
    throw InputError(std::string(kInputNames[input]) + " must have out_features = " + std::to_string(length) +
                     " entries, got " + std::to_string(tensor.shape[0]));
  const float* data = static_cast<const float*>(tensor.data);
  return std::vector<float>(data, data + length);
}

std::vector<float> widen(const Tensor& halves) {
  std::vector<float> values(static_cast<size_t>(halves.length(kValues, ort::kFloat16)));
  const uint16_t* data = static_cast<const uint16_t*>(halves.data);
  for (size_t i = 0; i < values.size(); ++i) values[i] = half_to_float(data[i]);
  return values;
}

LinearSpec linear_spec(const Api& api, const ort::KernelInfo* info, int64_t out_features, int64_t version) {
  LinearSpec spec;
  spec.bias = constant_vector(api, info, kBias, out_features);
  spec.activation = parse_activation(text_attribute(api, info, "activation"));
  spec.input = layout(api, info, "input_layout", version >= 2);
  spec.output = layout(api, info, "output_layout", version >= 2);
  if (version < 3) return spec;
  spec.residual = layout(api, info, "residual_layout", true);
  spec.sum = layout(api, info, "sum_layout", true);
  spec.scale = constant_vector(api, info, kScale, out_features);
  spec.shift = constant_vector(api, info, kShift, out_features);
  if (!spec.scale.empty()) spec.epsilon = float_attribute(api, info, "epsilon");
  return spec;
}

struct PoolBridge {
  const Api& api;
  const ort::KernelContext* context;

  // The session's own pool. One item per batch, so that threads take the next item when they are free.
  static void run(void* pool, void (*body)(void*, size_t), size_t total, void* data) {
    const PoolBridge& bridge = *static_cast<PoolBridge*>(pool);
    if (total == 1) return body(data, 0);
    if (total) check(bridge.api.parallel_for(bridge.context, body, total, total, data));
  }
};

// The product of all dimensions but the last, which must be `features` (any when negative).
int64_t token_count(const Tensor& x, int64_t features) {
  if (x.type != ort::kFloat) throw InputError("X must be float32, got ONNX element type " + std::to_string(x.type));
  if (x.shape.empty() || (features >= 0 && x.shape.back() != features))
    throw InputError("the last dimension of X must be in_features = " + std::to_string(features) + ", got " +
                     (x.shape.empty() ? "a scalar" : std::to_string(x.shape.back())));
  int64_t tokens = 1;
  for (size_t i = 0; i + 1 < x.shape.size(); ++i) {
    const int64_t size = x.shape[i];
    if (size == 0) return 0;
    if (size < 0 || tokens > std::numeric_limits<int64_t>::max() / size) throw InputError("X is too large");
    tokens *= size;
  }
  return tokens;
}

float* output_data(const Api& api, ort::KernelContext* context, Output index, const std::vector<int64_t>& shape) {
  ort::Value* output = nullptr;
  check(api.output(context, index, shape.data(), shape.size(), &output));
  if (!output) return nullptr;
  void* data = nullptr;
  check(api.tensor_data(output, &data));
  return static_cast<float*>(data);
}

class OrtKernel {
 public:
  OrtKernel(Api api, const ort::KernelInfo* info) : api_(api), kernels_(select_kernels()) {
    const int64_t version = format_version(api, info);
    if (version < 1 || version > kFormatVersion)
      throw InputError("format_version " + std::to_string(version) +
                       " is unknown to this library, which reads versions 1 to 3; install a newer platon-compress");
    const Tensor values = required_constant(api, info, kValues);
    const Tensor columns = required_constant(api, info, kColumns);
    const Tensor row_starts = required_constant(api, info, kRowStarts);
    const bool wide = columns.type == ort::kInt32;
    CsrView csr{};
    const std::vector<float> widened = values.type == ort::kFloat16 ? widen(values) : std::vector<float>();
    csr.value_count = values.length(kValues, values.type == ort::kFloat16 ? ort::kFloat16 : ort::kFloat);
    csr.values = values.type == ort::kFloat16 ? widened.data() : static_cast<const float*>(values.data);
    csr.columns = columns.data;
    csr.column_count = columns.length(kColumns, wide ? ort::kInt32 : ort::kUint16);
    csr.wide_columns = wide;
    csr.row_starts = static_cast<const int32_t*>(row_starts.data);
    csr.row_start_count = row_starts.length(kRowStarts, ort::kInt32);
    csr.in_features = attribute(api, info, "in_features");
    csr.out_features = attribute(api, info, "out_features");
    linear_ = std::make_unique<SparseLinear>(csr, linear_spec(api, info, csr.out_features, version));
  }

  ort::Status* compute(ort::KernelContext* context) noexcept {
    return guarded(api_, [&] { run(context); });
  }

 private:
  void run(ort::KernelContext* context) {
    const ort::Value* input = nullptr;
    check(api_.input(context, kX, &input));
    const Tensor x(api_, input);
    const int64_t tokens = token_count(x, linear_->weights().in_features());
    std::vector<int64_t> shape = x.shape;
    shape.back() = linear_->weights().out_features();
    size_t inputs = 0, outputs = 0;
    check(api_.input_count(context, &inputs));
    check(api_.output_count(context, &outputs));
    LinearData data{static_cast<const float*>(x.data), tokens, output_data(api_, context, kY, shape)};
    data.bias = run_time_bias(context, inputs);
    data.residual = residual(context, inputs, shape);
    if (outputs > kSum) data.sum = output_data(api_, context, kSum, shape);
    PoolBridge bridge{api_, context};
    linear_->run(kernels_, data, PoolBridge::run, &bridge);
  }

  // Null when the node has no such input.
  const ort::Value* optional(const ort::KernelContext* context, size_t inputs, Input input) const {
    const ort::Value* value = nullptr;
    if (inputs > input) check(api_.input(context, input, &value));
    return value;
  }

  // A bias that is not an initializer (another node computes it) is read on every call.
  const float* run_time_bias(const ort::KernelContext* context, size_t inputs) const {
    const ort::Value* value = linear_->spec().bias.empty() ? optional(context, inputs, kBias) : nullptr;
    if (!value) return nullptr;
    const Tensor bias(api_, value);
    const int64_t out = linear_->weights().out_features();
    if (bias.length(kBias, ort::kFloat) != out)
      throw InputError("bias must have out_features = " + std::to_string(out) + " entries, got " +
                       std::to_string(bias.shape[0]));
    return static_cast<const float*>(bias.data);
  }

  const float* residual(const ort::KernelContext* context, size_t inputs, const std::vector<int64_t>& shape) const {
    const ort::Value* value = optional(context, inputs, kResidual);
    if (!value) return nullptr;
    const Tensor residual(api_, value);
    if (residual.type != ort::kFloat || residual.shape != shape)
      throw InputError("residual must be float32 of the output's shape, got another type or shape");
    return static_cast<const float*>(residual.data);
  }

  Api api_;
  const Kernels& kernels_;
  std::unique_ptr<SparseLinear> linear_;
};

// platon::PackTokens: X in Layout::kPanels, under the same shape, for several SparseLinear nodes to share.
class PackKernel {
 public:
  PackKernel(Api api, const ort::KernelInfo*) : api_(api), kernels_(select_kernels()) {}

  ort::Status* compute(ort::KernelContext* context) noexcept {
    return guarded(api_, [&] {
      const ort::Value* input = nullptr;
      check(api_.input(context, kX, &input));
      const Tensor x(api_, input);
      const int64_t tokens = token_count(x, -1);
      float* out = output_data(api_, context, kY, x.shape);
      PoolBridge bridge{api_, context};
      pack_tokens(kernels_, static_cast<const float*>(x.data), tokens, x.shape.back(), out, PoolBridge::run, &bridge);
    });
  }

 private:
  Api api_;
  const Kernels& kernels_;
};

template <class Kernel>
ort::CustomOp make_op() {
  ort::CustomOp op{};
  op.version = ort::kApiVersion;
  op.get_execution_provider = [](const ort::CustomOp*) -> const char* { return "CPUExecutionProvider"; };
  op.get_input_type = [](const ort::CustomOp*, size_t index) {
    return index == kValues || index == kColumns ? ort::kUndefined : index == kRowStarts ? ort::kInt32 : ort::kFloat;
  };
  op.get_output_type = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
  op.get_output_count = [](const ort::CustomOp*) -> size_t { return 1; };
  op.get_input_characteristic = [](const ort::CustomOp*, size_t index) {
    return index >= kBias ? ort::kOptional : ort::kRequired;
  };
  op.get_output_characteristic = [](const ort::CustomOp*, size_t index) {
    return index == kY ? ort::kRequired : ort::kOptional;
  };
  op.get_input_memory_type = [](const ort::CustomOp*, size_t) { return 0; };
  op.get_variadic_input_min_arity = [](const ort::CustomOp*) { return 1; };
  op.get_variadic_input_homogeneity = [](const ort::CustomOp*) { return 1; };
  op.get_variadic_output_min_arity = [](const ort::CustomOp*) { return 1; };
  op.get_variadic_output_homogeneity = [](const ort::CustomOp*) { return 1; };
  op.create_kernel_v2 = [](const ort::CustomOp*, const void* table, const ort::KernelInfo* info, void** kernel) {
    const Api api(static_cast<const void* const*>(table));
    return guarded(api, [&] { *kernel = new Kernel(api, info); });
  };
  op.kernel_compute_v2 = [](void* kernel, ort::KernelContext* context) {
    return static_cast<Kernel*>(kernel)->compute(context);
  };
  op.kernel_destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.get_start_version = [](const ort::CustomOp*) { return 1; };
  op.get_end_version = [](const ort::CustomOp*) { return std::numeric_limits<int>::max(); };
  return op;
}

ort::CustomOp make_sparse_linear() {
  ort::CustomOp op = make_op<OrtKernel>();
  op.get_name = [](const ort::CustomOp*) { return "SparseLinear"; };
  op.get_input_count = [](const ort::CustomOp*) -> size_t { return kInputCount; };
  op.get_output_count = [](const ort::CustomOp*) -> size_t { return kOutputCount; };
  return op;
}

ort::CustomOp make_pack_tokens() {
  ort::CustomOp op = make_op<PackKernel>();
  op.get_name = [](const ort::CustomOp*) { return "PackTokens"; };
  op.get_input_count = [](const ort::CustomOp*) -> size_t { return 1; };
  return op;
}

// ONNX Runtime keeps the domain by reference and never releases it: one for the life of the library.
ort::CustomOpDomain* domain(const Api& api) {
  static std::mutex mutex;
  static ort::CustomOpDomain* instance = nullptr;
  static const ort::CustomOp sparse_linear = make_sparse_linear(), pack_tokens_op = make_pack_tokens();
  const std::lock_guard<std::mutex> lock(mutex);
  if (!instance) {
    ort::CustomOpDomain* created = nullptr;
    check(api.create_domain("platon", &created));
    check(api.domain_add(created, &sparse_linear));
    check(api.domain_add(created, &pack_tokens_op));
    instance = created;
  }
  return instance;
}

}  // namespace
}  // namespace platon

// The one symbol that every ONNX Runtime binding looks up.
PLATON_EXPORT platon::ort::Status* RegisterCustomOps(platon::ort::SessionOptions* options,
                                                     const platon::ort::ApiBase* base) {
  const void* const* table = base->get_api(platon::ort::kApiVersion);
  if (!table) {
    const void* const* oldest = base->get_api(1);
    if (!oldest) return nullptr;
    return platon::ort::Api(oldest).create_status(
        platon::ort::kFail, "platon-compress needs ONNX Runtime 1.17 or newer; install a newer onnxruntime");
  }
  const platon::ort::Api api(table);
  return platon::guarded(api, [&] { platon::check(api.add_domain(options, platon::domain(api))); });
}
