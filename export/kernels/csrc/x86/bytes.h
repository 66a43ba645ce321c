// What vector kernels of 8-bit weights share. For inclusion behind a set's begin.h only.
#pragma once
#include <cstring>

#include "core/kernels.h"

namespace platon::PLATON_SET {
namespace {

static_assert(kDot == sizeof(uint32_t) && kLineBytes == 1 << 6);

// Where the lines of a step lie. Its four columns are read at once and taken apart in registers, because loads are
// scarce.
class Lines {
 public:
  Lines(const uint8_t* step, const uint8_t* x) : x_(x) { std::memcpy(&columns_, step, sizeof columns_); }
  template <int kIndex>
  const uint8_t* get() const {
    constexpr int kShift = 8 * kIndex - 6;
    const uintptr_t columns = columns_;
    return x_ + ((kShift < 0 ? columns << -kShift : columns >> (kShift < 0 ? 0 : kShift)) & (0xff << 6));
  }

 private:
  uint32_t columns_;
  const uint8_t* const x_;
};

inline int32_t weights_of(const uint8_t* step) {
  int32_t weights;
  std::memcpy(&weights, step + kDot, sizeof weights);
  return weights;
}

}  // namespace
}  // namespace platon::PLATON_SET
