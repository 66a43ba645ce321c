// The AVX2 + FMA products of one block of weights and one panel.
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include "avx2/begin.h"
#include "avx2/vector.h"
#include "vectors/multiply.h"

namespace platon::avx2 {

void multiply(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  multiply_in(block, panel, bias, x, acc);
}

void multiply4(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  multiply4_in(block, panel, bias, x, acc);
}

}  // namespace platon::avx2

#include "avx2/end.h"
#endif
