// The AVX-512 products of one block of weights and one panel. Panels that end in half a vector are AVX2's.
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include "avx512vnni/begin.h"
#include "avx512vnni/vector.h"
#include "vectors/multiply.h"

namespace platon::avx512vnni {

void multiply(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  if (panel.width % 2) return avx2::multiply(block, panel, bias, x, acc);
  multiply_in(block, panel, bias, x, acc);
}

void multiply4(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  if (panel.width % 2) return avx2::multiply4(block, panel, bias, x, acc);
  multiply4_in(block, panel, bias, x, acc);
}

}  // namespace platon::avx512vnni

#include "avx512vnni/end.h"
#endif
