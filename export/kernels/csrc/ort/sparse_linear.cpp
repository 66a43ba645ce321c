// The adapter of platon::SparseLinear.
#include "core/half.h"
#include "core/linear.h"
#include "ort/kernel.h"

namespace platon {
namespace {

enum Input : size_t { kX, kValues, kColumns, kRowStarts, kBias, kResidual, kScale, kShift, kInputCount };
constexpr const char* kInputNames[] = {"X", "values", "columns", "row_starts", "bias", "residual", "scale", "shift"};
enum Output : size_t { kY, kSum, kOutputCount };

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

// Empty when the node has no such input, or another node computes it.
std::vector<float> constant_vector(const Api& api, const ort::KernelInfo* info, Input input, int64_t length) {
  size_t inputs = 0;
  check(api.kernel_input_count(info, &inputs));
  const ort::Value* value = inputs > input ? constant(api, info, input) : nullptr;
  if (!value) return {};
  const Tensor tensor(api, value);
  if (tensor.length(kInputNames[input], ort::kFloat) != length)
    throw InputError(std::string(kInputNames[input]) + " must have out_features = " + std::to_string(length) +
                     " entries, got " + std::to_string(tensor.shape[0]));
  const float* data = static_cast<const float*>(tensor.data);
  return std::vector<float>(data, data + length);
}

std::vector<float> widen(const Tensor& halves) {
  std::vector<float> values(static_cast<size_t>(halves.length(kInputNames[kValues], ort::kFloat16)));
  const uint16_t* data = static_cast<const uint16_t*>(halves.data);
  for (size_t i = 0; i < values.size(); ++i) values[i] = half_to_float(data[i]);
  return values;
}

LinearSpec linear_spec(const Api& api, const ort::KernelInfo* info, int64_t out_features, int64_t version) {
  LinearSpec spec;
  spec.bias = constant_vector(api, info, kBias, out_features);
  spec.activation = parse_activation(text_attribute(api, info, "activation"));
  if (version >= 2) {
    spec.input = layout_attribute(api, info, "input_layout");
    spec.output = layout_attribute(api, info, "output_layout");
  }
  if (version < 3) return spec;
  spec.residual = layout_attribute(api, info, "residual_layout");
  spec.sum = layout_attribute(api, info, "sum_layout");
  spec.scale = constant_vector(api, info, kScale, out_features);
  spec.shift = constant_vector(api, info, kShift, out_features);
  if (!spec.scale.empty()) spec.epsilon = float_attribute(api, info, "epsilon");
  return spec;
}

class SparseLinearKernel {
 public:
  static constexpr const char* kName = "SparseLinear";

  SparseLinearKernel(Api api, const ort::KernelInfo* info) : api_(api), kernels_(select_kernels()) {
    const int64_t version = format_version(api, info);
    const Tensor values = required_constant(api, info, kValues);
    const Tensor columns = required_constant(api, info, kColumns);
    const Tensor row_starts = required_constant(api, info, kRowStarts);
    const bool wide = columns.type == ort::kInt32;
    CsrView csr{};
    const std::vector<float> widened = values.type == ort::kFloat16 ? widen(values) : std::vector<float>();
    csr.value_count = values.length(kInputNames[kValues], values.type == ort::kFloat16 ? ort::kFloat16 : ort::kFloat);
    csr.values = values.type == ort::kFloat16 ? widened.data() : static_cast<const float*>(values.data);
    csr.columns = columns.data;
    csr.column_count = columns.length(kInputNames[kColumns], wide ? ort::kInt32 : ort::kUint16);
    csr.wide_columns = wide;
    csr.row_starts = static_cast<const int32_t*>(row_starts.data);
    csr.row_start_count = row_starts.length(kInputNames[kRowStarts], ort::kInt32);
    csr.in_features = attribute(api, info, "in_features");
    csr.out_features = attribute(api, info, "out_features");
    linear_ = std::make_unique<SparseLinear>(csr, linear_spec(api, info, csr.out_features, version));
  }

  const Api& api() const { return api_; }

  void run(ort::KernelContext* context) {
    const ort::Value* input = nullptr;
    check(api_.input(context, kX, &input));
    const Tensor x(api_, input);
    const int64_t rows = row_count(x, linear_->weights().in_features());
    std::vector<int64_t> shape = x.shape;
    shape.back() = linear_->weights().out_features();
    size_t outputs = 0;
    check(api_.output_count(context, &outputs));
    LinearData data{static_cast<const float*>(x.data), rows, output_data(api_, context, kY, shape)};
    check_norm(context);
    data.bias = run_time_bias(context);
    data.residual = residual(context, shape);
    if (outputs > kSum) data.sum = output_data(api_, context, kSum, shape);
    PoolBridge bridge{api_, context};
    linear_->run(kernels_, data, PoolBridge::run, &bridge);
  }

 private:
  // What the kernel was created without would be left out in silence.
  void check_norm(const ort::KernelContext* context) const {
    for (const Input input : {kScale, kShift})
      if (linear_->spec().scale.empty() && optional_input(api_, context, input))
        throw InputError(std::string(kInputNames[input]) +
                         " needs format_version 3 and must be an initializer of the model");
  }

  // A bias that is not an initializer (another node computes it) is read on every call.
  const float* run_time_bias(const ort::KernelContext* context) const {
    const ort::Value* value = linear_->spec().bias.empty() ? optional_input(api_, context, kBias) : nullptr;
    if (!value) return nullptr;
    const Tensor bias(api_, value);
    const int64_t out = linear_->weights().out_features();
    if (bias.length(kInputNames[kBias], ort::kFloat) != out)
      throw InputError("bias must have out_features = " + std::to_string(out) + " entries, got " +
                       std::to_string(bias.shape[0]));
    return static_cast<const float*>(bias.data);
  }

  const float* residual(const ort::KernelContext* context, const std::vector<int64_t>& shape) const {
    const ort::Value* value = optional_input(api_, context, kResidual);
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

}  // namespace

ort::CustomOp sparse_linear_op() {
  ort::CustomOp op = make_op<SparseLinearKernel>();
  op.get_input_count = [](const ort::CustomOp*) -> size_t { return kInputCount; };
  op.get_input_type = [](const ort::CustomOp*, size_t index) {
    return index == kValues || index == kColumns ? ort::kUndefined : index == kRowStarts ? ort::kInt32 : ort::kFloat;
  };
  op.get_input_characteristic = [](const ort::CustomOp*, size_t index) {
    return index >= kBias ? ort::kOptional : ort::kRequired;
  };
  op.get_output_count = [](const ort::CustomOp*) -> size_t { return kOutputCount; };
  op.get_output_characteristic = [](const ort::CustomOp*, size_t index) {
    return index == kY ? ort::kRequired : ort::kOptional;
  };
  return op;
}

}  // namespace platon
