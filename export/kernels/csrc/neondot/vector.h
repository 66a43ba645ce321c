// What multiplies bytes with dot product instructions. The rest is in vectors/neon.h.
#pragma once
#include <cstring>

#define PLATON_SET neondot
#include "vectors/neon.h"

namespace platon::neondot {
namespace {

// Four bytes, in the first lane.
using FourBytes = Numbers;
inline FourBytes four_bytes(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return vsetq_lane_s32(word, all_numbers(0), 0);
}
// sum += the four bytes of each lane of x times those of the weights. As the intrinsic, but clang declares that only
// where the whole file is compiled for it.
inline void add_dot(Numbers& sum, Numbers x, FourBytes weights) {
  asm("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(sum) : "w"(x), "w"(weights));
}

}  // namespace
}  // namespace platon::neondot
