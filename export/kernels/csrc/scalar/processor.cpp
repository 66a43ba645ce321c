// What every processor has, and how fast it is at most.
#include "core/kernels.h"

namespace platon::scalar {

bool supported() { return true; }

constexpr int kBurnTerms = 8;

int burn_fma(int64_t rounds) {
  volatile float seed = 1.0f;
  float sums[kBurnTerms];
  for (float& sum : sums) sum = seed;
  const float factor = seed;
  for (int64_t i = 0; i < rounds; ++i)
    for (float& sum : sums) sum = sum * factor + factor;
  for (const float sum : sums) seed = sum;
  return 2 * kBurnTerms;
}

int burn_load(int64_t rounds) {
  static const volatile float data[kBurnTerms] = {};
  for (int64_t i = 0; i < rounds; ++i)
    for (const volatile float& value : data) {
      const float loaded = value;
      (void)loaded;
    }
  return kBurnTerms * static_cast<int>(sizeof(float));
}

}  // namespace platon::scalar
