#include "ort/operators.h"

namespace platon {
namespace {

// A value's type is left to the kernel where there are several.
void add_weight(Encoding encoding, const std::string& prefix, std::vector<OperatorInput>& inputs) {
  const bool quantized = encoding != Encoding::kCsr, packed = encoding == Encoding::kGapsInt8;
  inputs.push_back({prefix + "values", packed ? ort::kUint8 : quantized ? ort::kInt8 : ort::kUndefined});
  if (packed) {
    inputs.push_back({prefix + "gaps", ort::kUint8});
  } else {
    inputs.push_back({prefix + "columns", ort::kUndefined});
    inputs.push_back({prefix + "row_starts", ort::kInt32});
  }
  if (quantized) inputs.push_back({prefix + "row_scales", ort::kFloat});
  inputs.push_back({prefix + "bias", ort::kFloat});
}

}  // namespace

std::vector<OperatorInput> OperatorSpec::inputs() const {
  std::vector<OperatorInput> inputs;
  if (kind != Kind::kHeads)
    inputs.push_back({"X", ort::kFloat});
  else if (stacked)
    inputs.push_back({"QKV", ort::kFloat});
  else
    for (const char* operand : {"Q", "K", "V"}) inputs.push_back({operand, ort::kFloat});
  if (residual) inputs.push_back({"residual", ort::kFloat});
  if (masking == Masking::kMask) inputs.push_back({"mask", ort::kFloat});
  if (masking == Masking::kLengths) inputs.push_back({"lengths", ort::kInt64});
  if (kind == Kind::kFeedForward) add_weight(encoding, "inner_", inputs);
  if (kind == Kind::kSelfAttention) add_weight(encoding, "qkv_", inputs);
  if (kind != Kind::kHeads) add_weight(encoding, "", inputs);
  if (prenorm) inputs.insert(inputs.end(), {{"prenorm_scale", ort::kFloat}, {"prenorm_shift", ort::kFloat}});
  if (norm) inputs.insert(inputs.end(), {{"scale", ort::kFloat}, {"shift", ort::kFloat}});
  return inputs;
}

const std::vector<OperatorSpec>& operator_specs() {
#define PLATON_OPERATOR(name, kind, encoding, activation, masking, int8, stacked, residual, prenorm, norm, sum)       \
  {#name, Kind::kind, Encoding::encoding, Activation::activation, Masking::masking, int8, stacked, residual, prenorm, \
   norm,  sum},
  static const std::vector<OperatorSpec> specs = {
#include "ort/operators.inc"
  };
#undef PLATON_OPERATOR
  return specs;
}

}  // namespace platon
