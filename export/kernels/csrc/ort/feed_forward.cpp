// The adapter of PlatonFeedForward: two sparse layers with an activation in between.
#include "core/blocks.h"
#include "ort/weights.h"

namespace platon {
namespace {

class FeedForwardKernel {
 public:
  explicit FeedForwardKernel(const Node& node) : kernels_(select_kernels()), ends_(node), layers_(read(node)) {}

  void run(Context& context) const {
    const Tensor x = context.input(0);
    const int64_t rows = row_count(x, layers_.inner().weights().in_features());
    LinearData data = ends_.data(context, layers_.outer(), x);
    data.x = static_cast<const float*>(x.data);
    data.rows = rows;
    layers_.run(kernels_, data, PoolBridge::run, context.pool());
  }

 private:
  static FeedForward read(const Node& node) {
    const int64_t between = node.attribute("inner_features");
    LinearSpec inner, outer;
    inner.activation = node.spec().activation;
    inner.output = outer.input = Layout::kPanels;
    return FeedForward(read_first_linear(node, "inner_", between, std::move(inner)),
                       read_last_linear(node, between, std::move(outer)));
  }

  const Kernels& kernels_;
  Ends ends_;
  FeedForward layers_;
};

}  // namespace

Operator feed_forward_op(const OperatorSpec& spec) { return make_op<FeedForwardKernel>(spec); }

}  // namespace platon
