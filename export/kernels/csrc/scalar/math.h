// Functions of one float.
#pragma once
#include <cmath>

#include "core/kernels.h"

namespace platon::scalar {
namespace {

inline float activate(float x, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return x > 0.0f || x != x ? x : 0.0f;
    case Activation::kGelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    case Activation::kNone:
      break;
  }
  return x;
}

}  // namespace
}  // namespace platon::scalar
