// The adapter of PlatonSelfAttention: projections, attention and the layer behind it.
#include "core/blocks.h"
#include "ort/attention.h"
#include "ort/weights.h"

namespace platon {
namespace {

constexpr int64_t kMaxInner = INT64_C(1) << 29;  // three times as many still fit into 32 bits

class SelfAttentionKernel {
 public:
  explicit SelfAttentionKernel(const Node& node)
      : kernels_(select_kernels()), ends_(node), masked_(node), layers_(read(node)) {}

  void run(Context& context) const {
    const Tensor x = context.input(0);
    if (x.shape.size() != 3) throw InputError("X must be [batch, tokens, features], got " + shape_text(x.shape));
    const int64_t rows = row_count(x, layers_.projections().weights().in_features());
    std::vector<int64_t> lengths = masked_.lengths(context, x.shape);
    const AttentionMask mask = masked_.mask(context, x.shape, layers_.spec().heads);
    LinearData data = ends_.data(context, layers_.outer(), x);
    data.x = static_cast<const float*>(x.data);
    data.rows = rows;
    layers_.run(kernels_, data, std::move(lengths), mask, PoolBridge::run, context.pool());
  }

 private:
  static SelfAttention read(const Node& node) {
    const int64_t inner = node.attribute("inner_features");
    if (inner < 1 || inner > kMaxInner)
      throw InputError("inner_features must lie between 1 and " + std::to_string(kMaxInner) + ", got " +
                       std::to_string(inner));
    AttentionSpec attention = attention_spec(node);
    LinearSpec projections, outer;
    projections.output = attention.input = attention.output = outer.input = Layout::kPanels;
    return SelfAttention(read_first_linear(node, "qkv_", 3 * inner, std::move(projections)), attention,
                         read_last_linear(node, inner, std::move(outer)));
  }

  const Kernels& kernels_;
  Ends ends_;
  Masked masked_;
  SelfAttention layers_;
};

}  // namespace

Operator self_attention_op(const OperatorSpec& spec) { return make_op<SelfAttentionKernel>(spec); }

}  // namespace platon
