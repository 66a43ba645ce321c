// What multiplies bytes without dot product instructions. The rest is in vectors/neon.h.
#pragma once
#include <cstring>

#define PLATON_SET neon
#include "vectors/neon.h"

namespace platon::neon {
namespace {

// The same four bytes in each lane.
using FourBytes = int8x16_t;
inline FourBytes four_bytes(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return signed_of(all_numbers(word));
}
// sum += the four bytes of each lane of x times those of the weights, which are too small for 16-bit sums of two to
// overflow.
inline void add_dot(Numbers& sum, Numbers x, FourBytes weights) {
  const int16x8_t low = vmull_s8(vget_low_s8(signed_of(x)), vget_low_s8(weights));
  const int16x8_t high = vmull_high_s8(signed_of(x), weights);
  sum = vpadalq_s16(sum, vpaddq_s16(low, high));
}

}  // namespace
}  // namespace platon::neon
