// Which processors have AVX2 and FMA, and how fast they are at most.
#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

namespace platon::avx2 {

bool supported() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

}  // namespace platon::avx2

#include "avx2/begin.h"

namespace platon::avx2 {

constexpr int kBurnRegisters = 12;  // enough independent sums to hide the latency of an FMA
constexpr int kBurnLoads = 16;

int burn_fma(int64_t rounds) {
  __m256 sums[kBurnRegisters];
  const __m256 factor = _mm256_set1_ps(0.5f);
#pragma GCC unroll 12
  for (int i = 0; i < kBurnRegisters; ++i) {
    sums[i] = factor;
    asm volatile("" : "+x"(sums[i]));  // or the compiler would see twelve equal sums and keep one
  }
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kBurnRegisters; ++i) sums[i] = _mm256_fmadd_ps(sums[i], factor, factor);
  }
#pragma GCC unroll 12
  for (int i = 0; i < kBurnRegisters; ++i) asm volatile("" : : "x"(sums[i]));
  return 2 * kLanes * kBurnRegisters;
}

int burn_load(int64_t rounds) {
  alignas(64) static const float data[kBurnLoads * kLanes] = {};
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kBurnLoads; ++i) {
      __m256 value;
      asm volatile("vmovaps %1, %0" : "=x"(value) : "m"(*reinterpret_cast<const __m256*>(data + i * kLanes)));
    }
  }
  return 4 * kLanes * kBurnLoads;
}

}  // namespace platon::avx2

#include "avx2/end.h"
#endif
