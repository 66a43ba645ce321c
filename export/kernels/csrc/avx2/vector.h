// Eight floats, or whole numbers, and what vectors/ does with them. For inclusion behind begin.h only.
#pragma once
#include <cstring>

#include "core/kernels.h"

#define PLATON_SET avx2
#define PLATON_REGISTER "v"  // where inline assembly takes a vector
#define PLATON_LOAD "vmovaps %1, %0"

namespace platon::avx2 {
namespace {

using Vector = __m256;
constexpr int kVectorLanes = 8;
constexpr int kQuadVectors = 3;  // of rows that four features are multiplied with at once
constexpr int kRegisters = 16;

// Between loads that a compiler would move up so far that sums are pushed out of registers.
inline void keep_loads_behind() {}
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
// One of kQuad weights, for multiply_add.
template <int kRow>
inline Vector quad_weight(const float* values) {
  return all_of(values + kRow);
}
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
// The second operand where one is NaN.
inline Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
inline Vector smaller(Vector a, Vector b) { return _mm256_min_ps(a, b); }
inline Vector nearest(Vector v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vector square_root(Vector v) { return _mm256_sqrt_ps(v); }
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

// Rows to columns.
inline void transpose(Vector (&v)[kVectorLanes]) {
  Vector a[8], b[8];
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
    a[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
    b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
    b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
    b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    v[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}

// The first `count` lanes, or all where there are more.
using Lanes = __m256i;
inline Lanes first_lanes(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vector load(const float* p, Lanes lanes) { return _mm256_maskload_ps(p, lanes); }
inline void store(float* p, Lanes lanes, Vector v) { _mm256_maskstore_ps(p, lanes, v); }

// Eight whole numbers of 32 bits, or 32 bytes.
using Numbers = __m256i;
constexpr bool kDotWaits = false;  // whether one add_dot waits some cycles for the one before it
constexpr int kDotRegisters = 3;   // that an add_dot takes beside sums and bytes
constexpr int kByteZero = 0;       // what is taken off bytes from 0 to 255, so that add_dot multiplies them

inline Numbers load_numbers(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline Numbers load_numbers(const int* p, Lanes lanes) { return _mm256_maskload_epi32(p, lanes); }
inline void store_numbers(void* p, Numbers v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline void store_numbers(int* p, Lanes lanes, Numbers v) { _mm256_maskstore_epi32(p, lanes, v); }
inline Numbers all_numbers(int x) { return _mm256_set1_epi32(x); }
inline Numbers plus(Numbers a, Numbers b) { return _mm256_add_epi32(a, b); }
inline Numbers minus(Numbers a, Numbers b) { return _mm256_sub_epi32(a, b); }
inline Numbers times(Numbers a, Numbers b) { return _mm256_mullo_epi32(a, b); }
inline Numbers rounded(Vector v) { return _mm256_cvtps_epi32(v); }
inline Vector floats_of(Numbers v) { return _mm256_cvtepi32_ps(v); }
// Numbers cut to bytes, in the order of vectors/bytes.h.
inline Numbers bytes_of(const Numbers (&v)[4]) {
  return _mm256_packus_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
}
// Bytes, or pairs of them, of the lower or upper half of each 128 bits of a and b in turn.
inline Numbers low_bytes(Numbers a, Numbers b) { return _mm256_unpacklo_epi8(a, b); }
inline Numbers high_bytes(Numbers a, Numbers b) { return _mm256_unpackhi_epi8(a, b); }
inline Numbers low_pairs(Numbers a, Numbers b) { return _mm256_unpacklo_epi16(a, b); }
inline Numbers high_pairs(Numbers a, Numbers b) { return _mm256_unpackhi_epi16(a, b); }
inline Numbers either(Numbers a, Numbers b) { return _mm256_or_si256(a, b); }
inline Numbers differing(Numbers a, Numbers b) { return _mm256_xor_si256(a, b); }
inline Numbers both(Numbers a, Numbers b) { return _mm256_and_si256(a, b); }
template <int kBits>
inline Numbers shifted(Numbers v) {
  return _mm256_slli_epi32(v, kBits);
}
// Numbers that are bytes, side by side.
inline void store_bytes(int8_t* p, Numbers v) {
  const __m128i pairs = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(pairs, pairs));
}
// The same four bytes in each lane.
using FourBytes = Numbers;
inline FourBytes four_bytes(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return all_numbers(word);
}
// sum += the four bytes of each lane of x times those of the weights, which are too small for 16-bit sums of two to
// saturate.
inline void add_dot(Numbers& sum, Numbers x, FourBytes weights) {
  sum = plus(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, weights), _mm256_set1_epi16(1)));
}

}  // namespace
}  // namespace platon::avx2
