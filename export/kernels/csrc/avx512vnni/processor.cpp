// Which processors have AVX-512 with VNNI, and how fast they are at most. What has no better form here is AVX2's.
#include <cstring>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

namespace platon::avx512vnni {

bool supported() {
  __builtin_cpu_init();
  return avx2::supported() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

void pack(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out) {
  avx2::pack(x, x_stride, panel, columns, out);
}

void pad(const float* x, const Panel& panel, int64_t columns, float* out) { avx2::pad(x, panel, columns, out); }

void finish(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out,
            int64_t out_stride) {
  avx2::finish(acc, features, panel, activation, out, out_stride);
}

void add(const float* x, int64_t x_stride, int64_t features, const Panel& panel, float* acc) {
  avx2::add(x, x_stride, features, panel, acc);
}

void normalize(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
               const float* shift) {
  avx2::normalize(acc, features, panel, epsilon, scale, shift);
}

}  // namespace platon::avx512vnni

#include "avx512vnni/begin.h"
#include "avx512vnni/vector.h"
#include "vectors/burn.h"

namespace platon::avx512vnni {

int burn_fma(int64_t rounds) { return burn_fma_in(rounds); }

int burn_load(int64_t rounds) { return burn_load_in(rounds); }

}  // namespace platon::avx512vnni

#include "avx512vnni/end.h"
#endif
