// Eight floats and what x86/ does with them. For inclusion behind begin.h only.
#pragma once
#include "core/kernels.h"

#define PLATON_SET avx2

namespace platon::avx2 {
namespace {

using Vector = __m256;
constexpr int kVectorLanes = 8;
constexpr int kRegisters = 16;

inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
inline Vector all(float x) { return _mm256_set1_ps(x); }
inline Vector all_of(const float* p) { return _mm256_broadcast_ss(p); }
// Each four neighbours hold p[0] to p[3], and all lanes what the kLane-th of four does.
inline Vector fours_of(const float* p) { return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)); }
template <int kLane>
inline Vector one_of_four(Vector v) {
  return _mm256_permute_ps(v, kLane * 0x55);
}
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
// The second operand where one is NaN.
inline Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
inline Vector smaller(Vector a, Vector b) { return _mm256_min_ps(a, b); }
inline Vector nearest(Vector v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// 2^n, n whole.
inline Vector power_of_two(Vector n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
// v times 2^n, n being the whole number in the low bits of `shifted`.
inline Vector times_power(Vector v, Vector shifted) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), exponent));
}

// The first `count` lanes, or all where there are more.
using Lanes = __m256i;
inline Lanes first_lanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vector load(const float* p, Lanes lanes) { return _mm256_maskload_ps(p, lanes); }
inline void store(float* p, Lanes lanes, Vector v) { _mm256_maskstore_ps(p, lanes, v); }

}  // namespace
}  // namespace platon::avx2
