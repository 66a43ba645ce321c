// Functions of a vector of floats. For inclusion behind a set's vector.h only.
#pragma once

namespace platon::PLATON_SET {
namespace {

inline Vector clamp(Vector x, float bound) {
  return larger(all(-bound), smaller(all(bound), x));  // so that a NaN input stays NaN
}

template <int kCount>
inline Vector polynomial(const float (&c)[kCount], Vector x) {
  Vector sum = all(c[kCount - 1]);
  for (int i = kCount - 2; i >= 0; --i) sum = multiply_add(sum, x, all(c[i]));
  return sum;
}

// erf(z) = z P(z^2) / Q(z^2) on |z| <= 3.92, constant beyond; our own minimax fit, error 1.6e-8 before rounding.
inline Vector erf(Vector x) {
  static const float p[] = {1.1283790223979597f,  0.1927635769491592f,     0.053060406210813975f,
                            0.00386830261703588f, 0.00028747813241554606f, 2.0347300231935423e-06f};
  static const float q[] = {1.0f,
                            0.5041639390766768f,
                            0.1150844095091719f,
                            0.015172248359540985f,
                            0.0011881077429175386f,
                            3.807052317353758e-05f};
  const Vector z = clamp(x, 3.92f), square = z * z;
  return z * polynomial(p, square) / polynomial(q, square);
}

// exp: 2^n times a degree-6 Taylor polynomial on |r| <= ln(2)/2, relative error about 2e-7. Infinity above 88.4, as
// floats end soon after; exp(-87) below.
inline Vector exp(Vector x) {
  static const float c[] = {1.0f, 1.0f, 0.5f, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720};
  x = larger(all(-87.0f), smaller(all(89.0f), x));
  const Vector n = nearest(x * all(kLog2E));
  Vector r = multiply_add(n, all(-0.693359375f), x);
  r = multiply_add(n, all(2.12194440e-4f), r);
  return polynomial(c, r) * power_of_two(n);
}

// 2^x for x <= 0 (NaN stays NaN; below -126 it is 2^-126): 2^n times our own minimax fit of degree 5 on |r| <= 1/2,
// relative error 1.1e-7.
inline Vector exp2(Vector x) {
  static const float c[] = {1.0f, 0.693147004f, 0.240222424f, 0.0555073395f, 0.00967151113f, 0.00132646528f};
  x = larger(all(-126.0f), x);
  const Vector magic = all(12582912.0f);  // 1.5 * 2^23: what is added to it is rounded to an integer
  const Vector shifted = x + magic, r = x - (shifted - magic);
  return times_power(polynomial(c, r), shifted);
}

template <Activation kActivation>
inline Vector activate(Vector x) {
  if constexpr (kActivation == Activation::kRelu) {
    return larger(all(0.0f), x);
  } else if constexpr (kActivation == Activation::kGelu) {
    const Vector half = x * all(0.5f);
    return multiply_add(half, erf(x * all(0.70710678f)), half);
  } else if constexpr (kActivation == Activation::kGeluTanh) {
    // 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): -0 far below, NaN for -infinity
    const Vector cubic = multiply_add(x * x, all(0.044715f), all(1.0f));
    const Vector u = x * cubic * all(-2.0f * 0.79788456f);
    return x / (all(1.0f) + exp(u));
  } else {
    return x;
  }
}

}  // namespace
}  // namespace platon::PLATON_SET
