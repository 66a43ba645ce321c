#include "ort/attention.h"

namespace platon {
namespace {

constexpr int64_t kMaxHeads = 65536;

}  // namespace

AttentionSpec attention_spec(const Node& node) {
  AttentionSpec spec;
  spec.heads = node.attribute("num_heads");
  spec.scale = node.float_attribute("score_scale");
  spec.bytes = node.spec().int8;
  if (spec.heads < 1 || spec.heads > kMaxHeads)
    throw InputError("num_heads must lie between 1 and 65536, got " + std::to_string(spec.heads));
  return spec;
}

Masked::Masked(const Node& node) : masking_(node.spec().masking) {
  if (masking_ == Masking::kMask) place_ = node.place("mask");
  if (masking_ == Masking::kLengths) place_ = node.place("lengths");
}

std::vector<int64_t> Masked::lengths(const Context& context, const std::vector<int64_t>& shape) const {
  if (masking_ != Masking::kLengths) return std::vector<int64_t>(static_cast<size_t>(shape[0]), shape[1]);
  const Tensor tensor = context.input(place_);
  const int64_t* data = static_cast<const int64_t*>(tensor.data);
  const std::vector<int64_t> lengths(data, data + tensor.length("lengths", ort::kInt64));
  const auto refuse = [&] {
    return InputError("lengths must add up to the tokens of one row of the batch, " + shape_text(shape) + ", got " +
                      shape_text(lengths));
  };
  if (shape[0] != 1) throw refuse();
  int64_t left = shape[1];
  for (const int64_t length : lengths) {
    if (length < 0 || length > left) throw refuse();
    left -= length;
  }
  if (left) throw refuse();
  return lengths;
}

AttentionMask Masked::mask(const Context& context, const std::vector<int64_t>& shape, int64_t heads) const {
  if (masking_ != Masking::kMask) return {};
  const Tensor tensor = context.input(place_);
  const int64_t full[] = {shape[0], heads, shape[1], shape[1]};
  int64_t strides[4] = {}, stride = 1;
  const size_t rank = tensor.shape.size();
  bool fits = rank <= 4;
  for (size_t i = 0; i < rank && fits; ++i) {
    const int64_t size = tensor.shape[rank - 1 - i];
    fits = size == 1 || size == full[3 - i];
    strides[3 - i] = size == 1 ? 0 : stride;
    stride *= size;
  }
  if (!fits)
    throw InputError("mask must broadcast to " + shape_text({full, full + 4}) + ", got " + shape_text(tensor.shape));
  return {tensor.floats("mask"), strides[0], strides[1], strides[2], strides[3]};
}

}  // namespace platon
