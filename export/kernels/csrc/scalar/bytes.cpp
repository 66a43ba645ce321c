// Portable 8-bit kernels: they define the whole numbers that every set computes. Rows lie in a line as they are
// numbered.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/kernels.h"

namespace platon::scalar {
namespace {

constexpr int kMostBytes = 255;

// Rows that are not finite get some byte: their scale is NaN.
uint8_t to_byte(float x, float inverse, int32_t zero) {
  const float rounded = std::nearbyint(x * inverse);
  if (!(std::fabs(rounded) <= kMostBytes + 1)) return 0;
  return static_cast<uint8_t>(std::clamp(static_cast<int32_t>(rounded) + zero, 0, kMostBytes));
}

void add_step(const uint8_t* step, const uint8_t* x, int lanes, int32_t* out) {
  for (int j = 0; j < kDot; ++j) {
    const uint8_t* line = x + step[j] * kLineBytes;
    const int32_t weight = static_cast<int8_t>(step[kDot + j]);
    for (int row = 0; row < lanes; ++row) out[row] += weight * line[row];
  }
}

}  // namespace

void measure_rows(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, RowRanges& ranges) {
  for (int64_t column = 0; column < columns; ++column, x += x_stride)
    for (int row = 0; row < panel.rows; ++row) {
      ranges.low[row] = std::min(ranges.low[row], x[row]);
      ranges.high[row] = std::max(ranges.high[row], x[row]);
      ranges.poison[row] += x[row] * 0.0f;
    }
}

void quantize(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, const RowScales& scales,
              uint8_t* out) {
  for (int64_t column = 0; column < columns; ++column, x += x_stride, out += kLineBytes) {
    for (int row = 0; row < panel.rows; ++row) out[row] = to_byte(x[row], scales.inverse[row], scales.zero[row]);
    std::fill(out + panel.rows, out + kLineBytes, uint8_t{0});
  }
}

void multiply_bytes(const ByteBlock& block, const Panel& panel, const uint8_t* x, int32_t* acc) {
  const int lanes = panel.stride();
  const uint16_t* feature = block.features;
  const uint8_t* step = block.steps;
  for (int g = 0; g < block.group_count; ++g)
    for (int i = 0; i < block.groups[g].count; ++i, ++feature) {
      int32_t* out = acc + static_cast<int64_t>(*feature) * lanes;
      if (block.starts) std::fill(out, out + lanes, 0);
      for (int j = 0; j < block.groups[g].length; ++j, step += 2 * kDot) add_step(step, x, lanes, out);
    }
}

void dequantize(void* acc, int64_t features, const Panel& panel, const RowScales& rows, const float* scales,
                const int32_t* sums, const float* bias) {
  unsigned char* place = static_cast<unsigned char*>(acc);
  for (int64_t feature = 0; feature < features; ++feature)
    for (int row = 0; row < panel.stride(); ++row, place += sizeof(float)) {
      int32_t sum;
      std::memcpy(&sum, place, sizeof sum);
      const float scale = rows.scale[row] * scales[feature];
      float value = static_cast<float>(sum - rows.zero[row] * sums[feature]) * scale;
      if (bias) value += bias[feature];
      std::memcpy(place, &value, sizeof value);
    }
}

}  // namespace platon::scalar
