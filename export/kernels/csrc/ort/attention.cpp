// The adapter of platon::Attention.
#include "core/attention.h"

#include "core/linear.h"
#include "ort/kernel.h"

namespace platon {
namespace {

enum Input : size_t { kQ, kK, kV, kMask, kLengths, kInputCount };
constexpr const char* kInputNames[] = {"Q", "K", "V", "mask", "lengths"};

constexpr int64_t kMaxHeads = 65536;

std::string text(const std::vector<int64_t>& shape) {
  std::string sizes;
  for (const int64_t size : shape) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  return "[" + sizes + "]";
}

class AttentionKernel {
 public:
  static constexpr const char* kName = "Attention";

  AttentionKernel(Api api, const ort::KernelInfo* info) : api_(api), kernels_(select_kernels()) {
    format_version(api, info);
    spec_.heads = attribute(api, info, "num_heads");
    spec_.scale = float_attribute(api, info, "scale");
    spec_.input = layout_attribute(api, info, "input_layout");
    spec_.output = layout_attribute(api, info, "output_layout");
    if (spec_.heads < 1 || spec_.heads > kMaxHeads)
      throw InputError("num_heads must lie between 1 and 65536, got " + std::to_string(spec_.heads));
  }

  const Api& api() const { return api_; }

  void run(ort::KernelContext* context) {
    const Tensor q(api_, optional_input(api_, context, kQ));
    const ort::Value *k = optional_input(api_, context, kK), *v = optional_input(api_, context, kV);
    if (q.shape.size() != 3) throw InputError("Q must be [batch, tokens, features], got " + text(q.shape));
    AttentionData data;
    std::vector<int64_t> shape = q.shape;
    if (!k && !v) {
      stacked(q, data);
    } else {
      data.q = operand(q, kQ, shape), data.k = operand(Tensor(api_, k), kK, shape),
      data.v = operand(Tensor(api_, v), kV, shape);
      if (data.q.size != data.k.size)
        throw InputError("Q and K must have the same features, got " + std::to_string(data.q.features) + " and " +
                         std::to_string(data.k.features));
    }
    data.lengths = lengths(context, shape);
    data.mask = mask(context, shape);
    shape.back() = spec_.heads * data.v.size;
    data.out = output_data(api_, context, 0, shape);
    PoolBridge bridge{api_, context};
    attend(kernels_, spec_, data, PoolBridge::run, &bridge);
  }

 private:
  // Features of one head, of `parts` operands side by side.
  int64_t head_size(int64_t features, int64_t parts) const {
    if (features <= 0 || features % (parts * spec_.heads) != 0)
      throw InputError(std::to_string(features) + " features do not divide into " + std::to_string(parts) + " x " +
                       std::to_string(spec_.heads) + " heads");
    return features / (parts * spec_.heads);
  }

  // Q, K and V side by side in one tensor.
  void stacked(const Tensor& x, AttentionData& data) const {
    const int64_t features = x.shape.back(), size = head_size(features, 3);
    AttentionOperand* const operands[] = {&data.q, &data.k, &data.v};
    for (int64_t i = 0; i < 3; ++i) *operands[i] = {x.floats("Q"), features, i * spec_.heads * size, size};
  }

  AttentionOperand operand(const Tensor& x, Input input, const std::vector<int64_t>& shape) const {
    if (x.shape.size() != 3 || x.shape[0] != shape[0] || x.shape[1] != shape[1])
      throw InputError(std::string(kInputNames[input]) + " must have the batch and tokens of Q, " + text(shape) +
                       ", got " + text(x.shape));
    return {x.floats(kInputNames[input]), x.shape[2], 0, head_size(x.shape[2], 1)};
  }

  // Of the batch's rows, or of sequences that lie one behind the other, when the node says so.
  std::vector<int64_t> lengths(const ort::KernelContext* context, const std::vector<int64_t>& shape) const {
    const ort::Value* value = optional_input(api_, context, kLengths);
    if (!value) return std::vector<int64_t>(static_cast<size_t>(shape[0]), shape[1]);
    const Tensor tensor(api_, value);
    const int64_t* data = static_cast<const int64_t*>(tensor.data);
    const std::vector<int64_t> lengths(data, data + tensor.length(kInputNames[kLengths], ort::kInt64));
    int64_t left = shape[0] * shape[1];
    for (const int64_t length : lengths) {
      if (length < 0 || length > left) throw InputError("lengths must add up to the tokens of Q, got " + text(lengths));
      left -= length;
    }
    if (left) throw InputError("lengths must add up to the tokens of Q, got " + text(lengths));
    return lengths;
  }

  // Broadcast from the right to [batch, heads, queries, keys].
  AttentionMask mask(const ort::KernelContext* context, const std::vector<int64_t>& shape) const {
    const ort::Value* value = optional_input(api_, context, kMask);
    if (!value) return {};
    if (optional_input(api_, context, kLengths)) throw InputError("a node with lengths cannot have a mask");
    const Tensor tensor(api_, value);
    const int64_t full[] = {shape[0], spec_.heads, shape[1], shape[1]};
    int64_t strides[4] = {}, stride = 1;
    const size_t rank = tensor.shape.size();
    bool fits = rank <= 4;
    for (size_t i = 0; i < rank && fits; ++i) {
      const int64_t size = tensor.shape[rank - 1 - i];
      fits = size == 1 || size == full[3 - i];
      strides[3 - i] = size == 1 ? 0 : stride;
      stride *= size;
    }
    if (!fits) throw InputError("mask must broadcast to " + text({full, full + 4}) + ", got " + text(tensor.shape));
    return {tensor.floats(kInputNames[kMask]), strides[0], strides[1], strides[2], strides[3]};
  }

  Api api_;
  const Kernels& kernels_;
  AttentionSpec spec_;
};

}  // namespace

ort::CustomOp attention_op() {
  ort::CustomOp op = make_op<AttentionKernel>();
  op.get_input_count = [](const ort::CustomOp*) -> size_t { return kInputCount; };
  op.get_input_type = [](const ort::CustomOp*, size_t index) { return index == kLengths ? ort::kInt64 : ort::kFloat; };
  op.get_input_characteristic = [](const ort::CustomOp*, size_t index) {
    return index == kQ ? ort::kRequired : ort::kOptional;
  };
  return op;
}

}  // namespace platon
