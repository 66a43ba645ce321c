// The adapter of PlatonLinear: one sparse layer.
#include "core/linear.h"

#include "ort/weights.h"

namespace platon {
namespace {

class LinearKernel {
 public:
  explicit LinearKernel(const Node& node)
      : kernels_(select_kernels()),
        ends_(node),
        linear_(read_last_linear(node, node.attribute("in_features"), activation(node))) {}

  void run(Context& context) const {
    const Tensor x = context.input(0);
    const int64_t rows = row_count(x, linear_.weights().in_features());
    LinearData data = ends_.data(context, linear_, x);
    data.x = static_cast<const float*>(x.data);
    data.rows = rows;
    linear_.run(kernels_, data, PoolBridge::run, context.pool());
  }

 private:
  static LinearSpec activation(const Node& node) {
    LinearSpec spec;
    spec.activation = node.spec().activation;
    return spec;
  }

  const Kernels& kernels_;
  Ends ends_;
  SparseLinear linear_;
};

}  // namespace

Operator linear_op(const OperatorSpec& spec) { return make_op<LinearKernel>(spec); }

}  // namespace platon
