#include "ort/weights.h"

#include "core/gaps.h"
#include "core/half.h"

namespace platon {
namespace {

std::vector<float> widen(const Tensor& halves, const std::string& name) {
  std::vector<float> values(static_cast<size_t>(halves.length(name.c_str(), ort::kFloat16)));
  const uint16_t* data = static_cast<const uint16_t*>(halves.data);
  for (size_t i = 0; i < values.size(); ++i) values[i] = half_to_float(data[i]);
  return values;
}

// Where the non-zeros of a weight are.
CsrView read_places(const Node& node, const std::string& prefix, int64_t in, int64_t out) {
  const Tensor columns = node.constant(prefix + "columns"), row_starts = node.constant(prefix + "row_starts");
  CsrView csr{};
  csr.wide_columns = columns.type == ort::kInt32;
  csr.columns = columns.data;
  csr.column_count = columns.length("columns", csr.wide_columns ? ort::kInt32 : ort::kUint16);
  csr.row_starts = static_cast<const int32_t*>(row_starts.data);
  csr.row_start_count = row_starts.length("row_starts", ort::kInt32);
  csr.in_features = in;
  csr.out_features = out;
  return csr;
}

SparseLinear read_csr(const Node& node, const std::string& prefix, int64_t in, int64_t out, LinearSpec spec) {
  const Tensor values = node.constant(prefix + "values");
  const bool half = values.type == ort::kFloat16;
  const std::vector<float> widened = half ? widen(values, prefix + "values") : std::vector<float>();
  CsrView csr = read_places(node, prefix, in, out);
  csr.value_count = values.length("values", half ? ort::kFloat16 : ort::kFloat);
  csr.values = half ? widened.data() : static_cast<const float*>(values.data);
  return SparseLinear(csr, std::move(spec));
}

SparseLinear read_quantized(const Node& node, const std::string& prefix, int64_t in, int64_t out, LinearSpec spec) {
  const Tensor values = node.constant(prefix + "values"), scales = node.constant(prefix + "row_scales");
  CsrView csr = read_places(node, prefix, in, out);
  csr.quantized = true;
  csr.value_count = values.length("values", ort::kInt8);
  csr.bytes = static_cast<const int8_t*>(values.data);
  csr.row_scale_count = scales.length("row_scales", ort::kFloat);
  csr.row_scales = static_cast<const float*>(scales.data);
  return SparseLinear(csr, std::move(spec));
}

SparseLinear read_gaps(const Node& node, const std::string& prefix, int64_t in, int64_t out, LinearSpec spec) {
  const Tensor values = node.constant(prefix + "values"), gaps = node.constant(prefix + "gaps"),
               scales = node.constant(prefix + "row_scales");
  GapsView packed{};
  packed.gap_bytes = gaps.length("gaps", ort::kUint8);
  packed.gaps = static_cast<const uint8_t*>(gaps.data);
  packed.gap_bits = node.attribute((prefix + "gap_bits").c_str());
  packed.value_bytes = values.length("values", ort::kUint8);
  packed.values = static_cast<const uint8_t*>(values.data);
  packed.row_scale_count = scales.length("row_scales", ort::kFloat);
  packed.row_scales = static_cast<const float*>(scales.data);
  packed.in_features = in;
  packed.out_features = out;
  const Unpacked unpacked(packed);
  return SparseLinear(unpacked.csr(), std::move(spec));
}

SparseLinear read_encoded(const Node& node, const std::string& prefix, int64_t in, int64_t out, LinearSpec spec) {
  switch (node.spec().encoding) {
    case Encoding::kCsrInt8:
      return read_quantized(node, prefix, in, out, std::move(spec));
    case Encoding::kGapsInt8:
      return read_gaps(node, prefix, in, out, std::move(spec));
    default:
      return read_csr(node, prefix, in, out, std::move(spec));
  }
}

}  // namespace

SparseLinear read_linear(const Node& node, const std::string& prefix, int64_t in_features, int64_t out_features,
                         LinearSpec spec) {
  spec.bias = node.constant_vector(prefix + "bias");
  try {
    return read_encoded(node, prefix, in_features, out_features, std::move(spec));
  } catch (const InputError& error) {  // messages begin with the array's name
    const std::string message = error.what();
    throw InputError(message.rfind(prefix, 0) == 0 ? message : prefix + message);
  }
}

NormSpec read_norm(const Node& node, const std::string& prefix) {
  return {node.constant_vector(prefix + "scale"), node.constant_vector(prefix + "shift"),
          node.float_attribute((prefix + "epsilon").c_str())};
}

SparseLinear read_first_linear(const Node& node, const std::string& prefix, int64_t out_features, LinearSpec spec) {
  if (node.spec().prenorm) spec.prenorm = read_norm(node, "prenorm_");
  return read_linear(node, prefix, node.attribute("in_features"), out_features, std::move(spec));
}

SparseLinear read_last_linear(const Node& node, int64_t in_features, LinearSpec spec) {
  const int64_t out = node.attribute("out_features");
  if (node.spec().norm) spec.norm = read_norm(node, "");
  return read_linear(node, "", in_features, out, std::move(spec));
}

Ends::Ends(const Node& node) : has_residual_(node.spec().residual), sum_(node.spec().sum) {
  if (has_residual_) residual_ = node.place("residual");
}

LinearData Ends::data(Context& context, const SparseLinear& layer, const Tensor& x) const {
  std::vector<int64_t> shape = x.shape;
  shape.back() = layer.weights().out_features();
  LinearData data{};
  if (has_residual_) {
    const Tensor residual = context.input(residual_);
    if (residual.shape != shape)
      throw InputError("residual must have the shape of the output, " + shape_text(shape) + ", got " +
                       shape_text(residual.shape));
    data.residual = residual.floats("residual");
  }
  data.out = context.output(0, shape);
  if (sum_) data.sum = context.output(1, shape);
  return data;
}

}  // namespace platon
