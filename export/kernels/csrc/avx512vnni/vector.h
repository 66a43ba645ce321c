// Sixteen floats and what x86/ does with them. For inclusion behind begin.h only.
#pragma once
#include "core/kernels.h"

#define PLATON_SET avx512vnni

namespace platon::avx512vnni {
namespace {

using Vector = __m512;
constexpr int kVectorLanes = 16;
constexpr int kRegisters = 32;

inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
inline Vector all(float x) { return _mm512_set1_ps(x); }
inline Vector all_of(const float* p) { return _mm512_set1_ps(*p); }
// Each four neighbours hold p[0] to p[3], and all lanes what the kLane-th of four does.
inline Vector fours_of(const float* p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
template <int kLane>
inline Vector one_of_four(Vector v) {
  return _mm512_permute_ps(v, kLane * 0x55);
}
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
// The second operand where one is NaN.
inline Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
inline Vector smaller(Vector a, Vector b) { return _mm512_min_ps(a, b); }
inline Vector nearest(Vector v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// 2^n, n whole.
inline Vector power_of_two(Vector n) {
  const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}
// v times 2^n, n being the whole number in the low bits of `shifted`.
inline Vector times_power(Vector v, Vector shifted) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), exponent));
}

// The first `count` lanes, or all where there are more.
using Lanes = __mmask16;
inline Lanes first_lanes(int count) {
  return static_cast<Lanes>(count >= kVectorLanes ? 0xffff : count > 0 ? (1 << count) - 1 : 0);
}
inline Vector load(const float* p, Lanes lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
inline void store(float* p, Lanes lanes, Vector v) { _mm512_mask_storeu_ps(p, lanes, v); }

}  // namespace
}  // namespace platon::avx512vnni
