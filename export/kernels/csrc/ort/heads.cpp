// The adapter of PlatonHeads: softmax attention of every head over projections that somebody else made.
#include "ort/attention.h"

namespace platon {
namespace {

class HeadsKernel {
 public:
  explicit HeadsKernel(const Node& node)
      : kernels_(select_kernels()), masked_(node), spec_(attention_spec(node)), stacked_(node.spec().stacked) {}

  void run(Context& context) const {
    AttentionData data;
    std::vector<int64_t> shape = stacked_ ? stacked(context, data) : separate(context, data);
    data.lengths = masked_.lengths(context, shape);
    data.mask = masked_.mask(context, shape, spec_.heads);
    shape.back() = spec_.heads * data.v.size;
    data.out = context.output(0, shape);
    attend(kernels_, spec_, data, PoolBridge::run, context.pool());
  }

 private:
  // Features of one head, of `parts` operands side by side.
  int64_t head_size(int64_t features, int64_t parts) const {
    if (features <= 0 || features % (parts * spec_.heads) != 0)
      throw InputError(std::to_string(features) + " features do not divide into " + std::to_string(parts) + " x " +
                       std::to_string(spec_.heads) + " heads");
    return features / (parts * spec_.heads);
  }

  // Returns the shape of QKV.
  std::vector<int64_t> stacked(const Context& context, AttentionData& data) const {
    const Tensor x = context.input(0);
    check_rank(x, "QKV");
    const int64_t features = x.shape.back(), size = head_size(features, 3);
    AttentionOperand* const operands[] = {&data.q, &data.k, &data.v};
    for (int64_t i = 0; i < 3; ++i) *operands[i] = {x.floats("QKV"), features, i * spec_.heads * size, size};
    return x.shape;
  }

  // Returns the shape of Q.
  std::vector<int64_t> separate(const Context& context, AttentionData& data) const {
    const Tensor q = context.input(0), k = context.input(1), v = context.input(2);
    check_rank(q, "Q");
    data.q = operand(q, "Q", q.shape), data.k = operand(k, "K", q.shape), data.v = operand(v, "V", q.shape);
    if (data.q.size != data.k.size)
      throw InputError("Q and K must have the same features, got " + std::to_string(data.q.features) + " and " +
                       std::to_string(data.k.features));
    return q.shape;
  }

  static void check_rank(const Tensor& x, const char* name) {
    if (x.shape.size() != 3)
      throw InputError(std::string(name) + " must be [batch, tokens, features], got " + shape_text(x.shape));
  }

  AttentionOperand operand(const Tensor& x, const char* name, const std::vector<int64_t>& shape) const {
    if (x.shape.size() != 3 || x.shape[0] != shape[0] || x.shape[1] != shape[1])
      throw InputError(std::string(name) + " must have the batch and tokens of Q, " + shape_text(shape) + ", got " +
                       shape_text(x.shape));
    return {x.floats(name), x.shape[2], 0, head_size(x.shape[2], 1)};
  }

  const Kernels& kernels_;
  const Masked masked_;
  const AttentionSpec spec_;
  const bool stacked_;
};

}  // namespace

Operator heads_op(const OperatorSpec& spec) { return make_op<HeadsKernel>(spec); }

}  // namespace platon
