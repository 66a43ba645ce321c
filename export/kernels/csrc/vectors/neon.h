// Four floats, or whole numbers, of any 64-bit ARM. What multiplies bytes is each set's own. For inclusion behind a
// set's PLATON_SET only.
#pragma once
#include <arm_neon.h>

#include "core/kernels.h"

#define PLATON_REGISTER "w"  // where inline assembly takes a vector
#define PLATON_LOAD "ldr %q0, %1"

namespace platon::PLATON_SET {
namespace {

using Vector = float32x4_t;
constexpr int kVectorLanes = 4;
constexpr int kQuadVectors = 4;  // of rows that four features are multiplied with at once
constexpr int kRegisters = 32;

// Between loads that a compiler would move up so far that sums are pushed out of registers.
inline void keep_loads_behind() { asm volatile("" : : : "memory"); }
inline Vector load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, Vector v) { vst1q_f32(p, v); }
inline Vector all(float x) { return vdupq_n_f32(x); }
inline Vector all_of(const float* p) { return vld1q_dup_f32(p); }
inline Vector fours_of(const float* p) { return vld1q_f32(p); }

// One lane, which a multiply-add takes from where it is.
template <int kLane>
struct OneOfFour {
  Vector four;
};
template <int kLane>
inline OneOfFour<kLane> one_of_four(Vector v) {
  return {v};
}
// One of kQuad weights, for multiply_add.
template <int kRow>
inline OneOfFour<kRow> quad_weight(const float* values) {
  return {load(values)};
}
inline Vector multiply_add(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
template <int kLane>
inline Vector multiply_add(OneOfFour<kLane> a, Vector b, Vector c) {
  return vfmaq_laneq_f32(c, b, a.four, kLane);
}
// NaN where either is.
inline Vector larger(Vector a, Vector b) { return vmaxq_f32(a, b); }
inline Vector smaller(Vector a, Vector b) { return vminq_f32(a, b); }
inline Vector nearest(Vector v) { return vrndnq_f32(v); }
inline Vector square_root(Vector v) { return vsqrtq_f32(v); }
// 2^n, n whole.
inline Vector power_of_two(Vector n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}
// v times 2^n, n being the whole number in the low bits of `shifted`.
inline Vector times_power(Vector v, Vector shifted) {
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(v), vshlq_n_s32(vreinterpretq_s32_f32(shifted), 23)));
}

// Rows to columns.
inline void transpose(Vector (&v)[kVectorLanes]) {
  const auto halves = [](Vector a) { return vreinterpretq_f64_f32(a); };
  const auto floats = [](float64x2_t a) { return vreinterpretq_f32_f64(a); };
  const float64x2_t even01 = halves(vtrn1q_f32(v[0], v[1])), odd01 = halves(vtrn2q_f32(v[0], v[1]));
  const float64x2_t even23 = halves(vtrn1q_f32(v[2], v[3])), odd23 = halves(vtrn2q_f32(v[2], v[3]));
  v[0] = floats(vzip1q_f64(even01, even23));
  v[1] = floats(vzip1q_f64(odd01, odd23));
  v[2] = floats(vzip2q_f64(even01, even23));
  v[3] = floats(vzip2q_f64(odd01, odd23));
}

// The first `count` lanes, or all where there are more.
struct Lanes {
  int count;
};
inline Lanes first_lanes(int count) { return {count}; }
inline Vector load(const float* p, Lanes lanes) {
  if (lanes.count >= kVectorLanes) return load(p);
  float copy[kVectorLanes] = {};
  for (int lane = 0; lane < lanes.count; ++lane) copy[lane] = p[lane];
  return load(copy);
}
inline void store(float* p, Lanes lanes, Vector v) {
  if (lanes.count >= kVectorLanes) return store(p, v);
  float copy[kVectorLanes];
  store(copy, v);
  for (int lane = 0; lane < lanes.count; ++lane) p[lane] = copy[lane];
}

// Four whole numbers of 32 bits, or 16 bytes.
using Numbers = int32x4_t;
constexpr bool kDotWaits = false;  // whether one add_dot waits some cycles for the one before it
constexpr int kDotRegisters = 3;   // that an add_dot takes beside sums and bytes
constexpr int kByteZero = 128;     // what is taken off bytes from 0 to 255: add_dot multiplies signed ones

inline Numbers numbers_of(int8x16_t bytes) { return vreinterpretq_s32_s8(bytes); }
inline int8x16_t signed_of(Numbers v) { return vreinterpretq_s8_s32(v); }
inline int16x8_t pairs_of(Numbers v) { return vreinterpretq_s16_s32(v); }
inline Numbers load_numbers(const void* p) { return numbers_of(vld1q_s8(static_cast<const int8_t*>(p))); }
inline void store_numbers(void* p, Numbers v) { vst1q_s8(static_cast<int8_t*>(p), signed_of(v)); }
inline Numbers load_numbers(const int* p, Lanes lanes) {
  return vreinterpretq_s32_f32(load(reinterpret_cast<const float*>(p), lanes));
}
inline void store_numbers(int* p, Lanes lanes, Numbers v) {
  store(reinterpret_cast<float*>(p), lanes, vreinterpretq_f32_s32(v));
}
inline Numbers all_numbers(int x) { return vdupq_n_s32(x); }
inline Numbers plus(Numbers a, Numbers b) { return vaddq_s32(a, b); }
inline Numbers minus(Numbers a, Numbers b) { return vsubq_s32(a, b); }
inline Numbers times(Numbers a, Numbers b) { return vmulq_s32(a, b); }
inline Numbers rounded(Vector v) { return vcvtnq_s32_f32(v); }
inline Vector floats_of(Numbers v) { return vcvtq_f32_s32(v); }
// Numbers cut to bytes, in order.
inline Numbers bytes_of(const Numbers (&v)[4]) {
  const int16x8_t low = vcombine_s16(vqmovn_s32(v[0]), vqmovn_s32(v[1]));
  const int16x8_t high = vcombine_s16(vqmovn_s32(v[2]), vqmovn_s32(v[3]));
  return numbers_of(vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
}
// Bytes, or pairs of them, of the lower or upper half of a and b in turn.
inline Numbers low_bytes(Numbers a, Numbers b) { return numbers_of(vzip1q_s8(signed_of(a), signed_of(b))); }
inline Numbers high_bytes(Numbers a, Numbers b) { return numbers_of(vzip2q_s8(signed_of(a), signed_of(b))); }
inline Numbers low_pairs(Numbers a, Numbers b) { return vreinterpretq_s32_s16(vzip1q_s16(pairs_of(a), pairs_of(b))); }
inline Numbers high_pairs(Numbers a, Numbers b) { return vreinterpretq_s32_s16(vzip2q_s16(pairs_of(a), pairs_of(b))); }
inline Numbers either(Numbers a, Numbers b) { return vorrq_s32(a, b); }
inline Numbers differing(Numbers a, Numbers b) { return veorq_s32(a, b); }
inline Numbers both(Numbers a, Numbers b) { return vandq_s32(a, b); }
template <int kBits>
inline Numbers shifted(Numbers v) {
  if constexpr (kBits == 0) return v;
  return vshlq_n_s32(v, kBits);
}
// The lowest byte of each number, side by side.
inline void store_bytes(int8_t* p, Numbers v) {
  const int16x4_t pairs = vmovn_s32(v);
  const int8x8_t bytes = vmovn_s16(vcombine_s16(pairs, pairs));
  const int32_t four = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
  std::memcpy(p, &four, sizeof four);
}

}  // namespace
}  // namespace platon::PLATON_SET
