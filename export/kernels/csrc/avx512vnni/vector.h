// Sixteen floats, or whole numbers, and what vectors/ does with them. For inclusion behind begin.h only.
#pragma once
#include <cstring>

#include "core/kernels.h"

#define PLATON_SET avx512vnni
#define PLATON_REGISTER "v"  // where inline assembly takes a vector
#define PLATON_LOAD "vmovaps %1, %0"

namespace platon::avx512vnni {
namespace {

using Vector = __m512;
constexpr int kVectorLanes = 16;
constexpr int kQuadVectors = 3;  // of rows that four features are multiplied with at once
constexpr int kRegisters = 32;

// Between loads that a compiler would move up so far that sums are pushed out of registers.
inline void keep_loads_behind() {}
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
// One of kQuad weights, for multiply_add.
template <int kRow>
inline Vector quad_weight(const float* values) {
  return all_of(values + kRow);
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

// Sixteen whole numbers of 32 bits, or 64 bytes.
using Numbers = __m512i;
constexpr bool kDotWaits = true;  // whether one add_dot waits some cycles for the one before it
constexpr int kDotRegisters = 3;  // that an add_dot takes beside sums and bytes
constexpr int kByteZero = 0;      // what is taken off bytes from 0 to 255, so that add_dot multiplies them

inline Numbers load_numbers(const void* p) { return _mm512_loadu_si512(p); }
inline Numbers load_numbers(const int* p, Lanes lanes) { return _mm512_maskz_loadu_epi32(lanes, p); }
inline void store_numbers(void* p, Numbers v) { _mm512_storeu_si512(p, v); }
inline void store_numbers(int* p, Lanes lanes, Numbers v) { _mm512_mask_storeu_epi32(p, lanes, v); }
inline Numbers all_numbers(int x) { return _mm512_set1_epi32(x); }
inline Numbers plus(Numbers a, Numbers b) { return _mm512_add_epi32(a, b); }
inline Numbers minus(Numbers a, Numbers b) { return _mm512_sub_epi32(a, b); }
inline Numbers times(Numbers a, Numbers b) { return _mm512_mullo_epi32(a, b); }
inline Numbers rounded(Vector v) { return _mm512_cvtps_epi32(v); }
inline Vector floats_of(Numbers v) { return _mm512_cvtepi32_ps(v); }
// Numbers cut to bytes, in the order of vectors/bytes.h.
inline Numbers bytes_of(const Numbers (&v)[4]) {
  return _mm512_packus_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
}
// Bytes, or pairs of them, of the lower or upper half of each 128 bits of a and b in turn.
inline Numbers low_bytes(Numbers a, Numbers b) { return _mm512_unpacklo_epi8(a, b); }
inline Numbers high_bytes(Numbers a, Numbers b) { return _mm512_unpackhi_epi8(a, b); }
inline Numbers low_pairs(Numbers a, Numbers b) { return _mm512_unpacklo_epi16(a, b); }
inline Numbers high_pairs(Numbers a, Numbers b) { return _mm512_unpackhi_epi16(a, b); }
inline Numbers either(Numbers a, Numbers b) { return _mm512_or_si512(a, b); }
inline Numbers differing(Numbers a, Numbers b) { return _mm512_xor_si512(a, b); }
inline Numbers both(Numbers a, Numbers b) { return _mm512_and_si512(a, b); }
template <int kBits>
inline Numbers shifted(Numbers v) {
  return _mm512_slli_epi32(v, kBits);
}
// The lowest byte of each number, side by side.
inline void store_bytes(int8_t* p, Numbers v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}
// The same four bytes in each lane.
using FourBytes = Numbers;
inline FourBytes four_bytes(const void* p) {
  int32_t word;
  std::memcpy(&word, p, sizeof word);
  return all_numbers(word);
}
// sum += the four bytes of each lane of x times those of the weights. As the intrinsic, but GCC 12 would copy every sum
// before and behind it.
inline void add_dot(Numbers& sum, Numbers x, FourBytes weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(weights));
}

}  // namespace
}  // namespace platon::avx512vnni
