// The NEON products of one block of weights and one panel.
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/kernels.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include "neon/vector.h"
#include "vectors/multiply.h"

namespace platon::neon {

void multiply(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  multiply_in(block, panel, bias, x, acc);
}

void multiply4(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  multiply4_in(block, panel, bias, x, acc);
}

}  // namespace platon::neon
#endif
