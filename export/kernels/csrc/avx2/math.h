// Functions of eight floats. For inclusion behind begin.h only.
#pragma once
#include "core/kernels.h"

namespace platon::avx2 {
namespace {

inline __m256 clamp(__m256 x, float bound) {
  // min/max return their second operand when one is NaN, so a NaN input stays NaN.
  return _mm256_max_ps(_mm256_set1_ps(-bound), _mm256_min_ps(_mm256_set1_ps(bound), x));
}

template <int kCount>
inline __m256 polynomial(const float (&c)[kCount], __m256 x) {
  __m256 sum = _mm256_set1_ps(c[kCount - 1]);
  for (int i = kCount - 2; i >= 0; --i) sum = _mm256_fmadd_ps(sum, x, _mm256_set1_ps(c[i]));
  return sum;
}

// erf(z) = z P(z^2) / Q(z^2) on |z| <= 3.92, constant beyond; our own minimax fit, error 1.6e-8 before rounding.
inline __m256 erf8(__m256 x) {
  static const float p[] = {1.1283790223979597f,  0.1927635769491592f,     0.053060406210813975f,
                            0.00386830261703588f, 0.00028747813241554606f, 2.0347300231935423e-06f};
  static const float q[] = {1.0f,
                            0.5041639390766768f,
                            0.1150844095091719f,
                            0.015172248359540985f,
                            0.0011881077429175386f,
                            3.807052317353758e-05f};
  const __m256 z = clamp(x, 3.92f);
  const __m256 square = _mm256_mul_ps(z, z);
  return _mm256_div_ps(_mm256_mul_ps(z, polynomial(p, square)), polynomial(q, square));
}

// exp: 2^n times a degree-6 Taylor polynomial on |r| <= ln(2)/2, relative error about 2e-7. Infinity above 88.4, as
// floats end soon after; exp(-87) below.
inline __m256 exp8(__m256 x) {
  static const float c[] = {1.0f, 1.0f, 0.5f, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720};
  x = _mm256_max_ps(_mm256_set1_ps(-87.0f), _mm256_min_ps(_mm256_set1_ps(89.0f), x));
  const __m256 n =
      _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(polynomial(c, r), _mm256_castsi256_ps(exponent));
}

// 2^x for x <= 0 (NaN stays NaN; below -126 it is 2^-126): 2^n times our own minimax fit of degree 5 on |r| <= 1/2,
// relative error 1.1e-7.
inline __m256 exp2_8(__m256 x) {
  static const float c[] = {1.0f, 0.693147004f, 0.240222424f, 0.0555073395f, 0.00967151113f, 0.00132646528f};
  x = _mm256_max_ps(_mm256_set1_ps(-126.0f), x);
  const __m256 magic = _mm256_set1_ps(12582912.0f);  // 1.5 * 2^23: what is added to it is rounded to an integer
  const __m256 shifted = _mm256_add_ps(x, magic);
  const __m256 r = _mm256_sub_ps(x, _mm256_sub_ps(shifted, magic));
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(polynomial(c, r)), exponent));
}

template <Activation kActivation>
inline __m256 activate(__m256 x) {
  if constexpr (kActivation == Activation::kRelu) {
    return _mm256_max_ps(_mm256_setzero_ps(), x);
  } else if constexpr (kActivation == Activation::kGelu) {
    const __m256 half = _mm256_mul_ps(x, _mm256_set1_ps(0.5f));
    return _mm256_fmadd_ps(half, erf8(_mm256_mul_ps(x, _mm256_set1_ps(0.70710678f))), half);
  } else if constexpr (kActivation == Activation::kGeluTanh) {
    // 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): -0 far below, NaN for -infinity
    const __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(0.044715f), _mm256_set1_ps(1.0f));
    const __m256 u = _mm256_mul_ps(_mm256_mul_ps(x, cubic), _mm256_set1_ps(-2.0f * 0.79788456f));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exp8(u)));
  } else {
    return x;
  }
}

}  // namespace
}  // namespace platon::avx2
