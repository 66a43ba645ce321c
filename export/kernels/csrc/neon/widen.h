// Products of four non-zeros of 8-bit weights by widening multiplies: lines are taken as they lie, and the sums of four
// products, each at most 128 * 63, fit into 16 bits. For inclusion behind vector.h only.
#pragma once
#include <cstdint>

namespace platon::neon {
namespace {

struct StepWeights {
  int8x16_t of_line[kDot];
};
inline StepWeights step_weights(const uint8_t* step) {
  const int8_t* weights = reinterpret_cast<const int8_t*>(step + kDot);
  return {{vld1q_dup_s8(weights), vld1q_dup_s8(weights + 1), vld1q_dup_s8(weights + 2), vld1q_dup_s8(weights + 3)}};
}

inline int16x8_t add_low(int16x8_t sum, Numbers line, int8x16_t weight) {
  return vmlal_s8(sum, vget_low_s8(signed_of(line)), vget_low_s8(weight));
}
inline int16x8_t add_high(int16x8_t sum, Numbers line, int8x16_t weight) {
  return vmlal_high_s8(sum, signed_of(line), weight);
}

// One step for kVectors vectors, two or four, whose rows' bytes are the lines.
template <int kVectors>
inline void add_lines(Numbers r0, Numbers r1, Numbers r2, Numbers r3, const StepWeights& weights, Numbers* sum) {
  const auto& w = weights.of_line;
  int16x8_t low = vmull_s8(vget_low_s8(signed_of(r0)), vget_low_s8(w[0]));
  low = add_low(add_low(add_low(low, r1, w[1]), r2, w[2]), r3, w[3]);
  sum[0] = vaddw_s16(sum[0], vget_low_s16(low));
  sum[1] = vaddw_high_s16(sum[1], low);
  if constexpr (kVectors > 2) {
    int16x8_t high = vmull_high_s8(signed_of(r0), w[0]);
    high = add_high(add_high(add_high(high, r1, w[1]), r2, w[2]), r3, w[3]);
    sum[2] = vaddw_s16(sum[2], vget_low_s16(high));
    sum[3] = vaddw_high_s16(sum[3], high);
  }
}

}  // namespace
}  // namespace platon::neon
