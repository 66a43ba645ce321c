// Which processors have AVX2 and FMA, and how fast they are at most.
#include <cstring>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

namespace platon::avx2 {

bool supported() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

}  // namespace platon::avx2

#include "avx2/begin.h"
#include "avx2/vector.h"
#include "vectors/burn.h"

namespace platon::avx2 {

int burn_fma(int64_t rounds) { return burn_fma_in(rounds); }

int burn_load(int64_t rounds) { return burn_load_in(rounds); }

}  // namespace platon::avx2

#include "avx2/end.h"
#endif
