// Products of four non-zeros of 8-bit weights by add_dot: their lines are interleaved as far as rows exist, so that
// each row's four bytes lie side by side. For inclusion behind a set's vector.h only.
#pragma once
#include <cstdint>

namespace platon::PLATON_SET {
namespace {

using StepWeights = FourBytes;
inline StepWeights step_weights(const uint8_t* step) { return four_bytes(step + kDot); }

// One step for kVectors vectors, whose rows' bytes are the lines.
template <int kVectors>
inline void add_lines(Numbers r0, Numbers r1, Numbers r2, Numbers r3, StepWeights weights, Numbers* sum) {
  const Numbers low01 = low_bytes(r0, r1), low23 = low_bytes(r2, r3);
  add_dot(sum[0], low_pairs(low01, low23), weights);
  if constexpr (kVectors > 1) add_dot(sum[1], high_pairs(low01, low23), weights);
  if constexpr (kVectors > 2) {
    const Numbers high01 = high_bytes(r0, r1), high23 = high_bytes(r2, r3);
    add_dot(sum[2], low_pairs(high01, high23), weights);
    if constexpr (kVectors > 3) add_dot(sum[3], high_pairs(high01, high23), weights);
  }
}

}  // namespace
}  // namespace platon::PLATON_SET
