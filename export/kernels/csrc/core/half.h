// IEEE float16 as files store it, widened without loss.
#pragma once
#include <cstdint>
#include <cstring>

namespace platon {

inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  uint32_t bits = static_cast<uint32_t>(half & 0x7fff) << 13;
  float magnitude;
  if ((half & 0x7c00) == 0x7c00) {
    bits |= 0x7f800000;  // infinity and NaN
    std::memcpy(&magnitude, &bits, sizeof bits);
  } else {
    std::memcpy(&magnitude, &bits, sizeof bits);
    magnitude *= 0x1p112f;  // the exponents' biases differ by 112; exact for subnormals too
  }
  std::memcpy(&bits, &magnitude, sizeof bits);
  bits |= sign;
  std::memcpy(&magnitude, &bits, sizeof bits);
  return magnitude;
}

}  // namespace platon
