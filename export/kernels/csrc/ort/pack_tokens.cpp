// The adapter of platon::PackTokens: X in Layout::kPanels, under the same shape, for several nodes to share.
#include "core/linear.h"
#include "ort/kernel.h"

namespace platon {
namespace {

class PackTokensKernel {
 public:
  static constexpr const char* kName = "PackTokens";

  PackTokensKernel(Api api, const ort::KernelInfo*) : api_(api), kernels_(select_kernels()) {}
  const Api& api() const { return api_; }

  void run(ort::KernelContext* context) {
    const Tensor x(api_, optional_input(api_, context, 0));
    const int64_t rows = row_count(x, -1);
    float* out = output_data(api_, context, 0, x.shape);
    PoolBridge bridge{api_, context};
    pack_rows(kernels_, x.floats("X"), rows, x.shape.back(), out, PoolBridge::run, &bridge);
  }

 private:
  Api api_;
  const Kernels& kernels_;
};

}  // namespace

ort::CustomOp pack_tokens_op() {
  ort::CustomOp op = make_op<PackTokensKernel>();
  op.get_input_count = [](const ort::CustomOp*) -> size_t { return 1; };
  return op;
}

}  // namespace platon
