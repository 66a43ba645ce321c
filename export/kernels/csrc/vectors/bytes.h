// 8-bit weights, behind what says how a set multiplies them (vectors/interleave.h). A line holds the rows of four
// vectors side by side such that packing them down to bytes needs no shuffle behind it, and unpacking them again brings
// the vectors back: the four bytes at 16 lane + 4 vector belong to the rows kVectorLanes * vector + 4 * lane. For
// inclusion behind a set's vector.h only.
#pragma once
#include <cstring>
#include <utility>

#include "vectors/tiles.h"

namespace platon::PLATON_SET {
namespace {

constexpr int64_t kTileFeatures = 64;  // x 256 bytes = 16 KiB: accumulators are read from the first-level cache
constexpr int kPacked = 4;             // vectors of numbers whose bytes are one vector

constexpr int vectors(int width) { return (width * kLanes + kVectorLanes - 1) / kVectorLanes; }

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

// One step for the vectors from the kFrom-th on.
template <int kVectors, int kFrom = 0>
inline void add_step(const Lines& lines, const StepWeights& weights, Numbers* sum) {
  constexpr int kLeft = kVectors - kFrom, kPlace = kFrom * kVectorLanes;
  const Numbers r0 = load_numbers(lines.get<0>() + kPlace), r1 = load_numbers(lines.get<1>() + kPlace),
                r2 = load_numbers(lines.get<2>() + kPlace), r3 = load_numbers(lines.get<3>() + kPlace);
  add_lines<(kLeft < kPacked ? kLeft : kPacked)>(r0, r1, r2, r3, weights, sum + kFrom);
  keep_loads_behind();
  if constexpr (kLeft > kPacked) add_step<kVectors, kFrom + kPacked>(lines, weights, sum);
}

template <int kVectors>
inline void add_run(int length, const uint8_t* step, const uint8_t* x, Numbers (&sum)[kVectors]) {
  const auto add = [&](Numbers* to) {
    add_step<kVectors>(Lines(step, x), step_weights(step), to);
    step += 2 * kDot;
  };
  if constexpr (kDotWaits && kVectors <= 2) {  // narrow panels sum in two chains
    Numbers other[kVectors];
    for (Numbers& value : other) value = all_numbers(0);
    for (; length >= 2; length -= 2) {
      add(sum);
      add(other);
    }
    for (int v = 0; v < kVectors; ++v) sum[v] = plus(sum[v], other[v]);
  }
  for (; length > 0; --length) add(sum);
}

// The v-th vector of a panel's sums. Where vectors are wider than groups, the last may be half one.
template <int kWidth>
constexpr int lanes_left(int v) {
  return kWidth * kLanes - v * kVectorLanes;
}

template <int kWidth>
inline Numbers load_sums(const int32_t* sums, int v) {
  const int lanes = lanes_left<kWidth>(v);
  sums += v * kVectorLanes;
  return lanes < kVectorLanes ? load_numbers(sums, first_lanes(lanes)) : load_numbers(sums);
}

template <int kWidth>
inline void store_sums(int32_t* sums, int v, Numbers value) {
  const int lanes = lanes_left<kWidth>(v);
  sums += v * kVectorLanes;
  lanes < kVectorLanes ? store_numbers(sums, first_lanes(lanes), value) : store_numbers(sums, value);
}

template <int kWidth>
void multiply_width(const ByteBlock& block, const uint8_t* x, int32_t* acc) {
  constexpr int kVectors = vectors(kWidth);
  const uint16_t* feature = block.features;
  const uint8_t* steps = block.steps;
  for (int g = 0; g < block.group_count; ++g) {
    const int length = block.groups[g].length;
    for (int i = 0; i < block.groups[g].count; ++i, ++feature, steps += 2 * kDot * length) {
      int32_t* out = acc + static_cast<uintptr_t>(*feature) * (kWidth * kLanes);
      Numbers sum[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sum[v] = block.starts ? all_numbers(0) : load_sums<kWidth>(out, v);
      add_run<kVectors>(length, steps, x, sum);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) store_sums<kWidth>(out, v, sum[v]);
    }
  }
}

using ByteKernel = void (*)(const ByteBlock&, const uint8_t*, int32_t*);

template <class = std::make_integer_sequence<int, kMaxWidth>>
struct ByWidth;
template <int... kNarrower>
struct ByWidth<std::integer_sequence<int, kNarrower...>> {
  static constexpr ByteKernel kernels[] = {nullptr, multiply_width<kNarrower + 1>...};
};

inline void multiply_bytes_in(const ByteBlock& block, const Panel& panel, const uint8_t* x, int32_t* acc) {
  ByWidth<>::kernels[panel.width](block, x, acc);
}

// Some vectors side by side, from the row `first` on: each minimum, maximum and sum waits for the one before it.
template <int kVectors>
void measure_vectors(const float* x, int64_t x_stride, int64_t columns, int rows, int64_t first, RowRanges& ranges) {
  Lanes lanes[kVectors];
  Vector low[kVectors], high[kVectors], poison[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const int64_t row = first + v * kVectorLanes;
    lanes[v] = first_lanes(rows - static_cast<int>(row));
    low[v] = load(ranges.low + row);
    high[v] = load(ranges.high + row);
    poison[v] = load(ranges.poison + row);
  }
  x += first;
  for (int64_t column = 0; column < columns; ++column, x += x_stride) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const Vector value = load(x + v * kVectorLanes, lanes[v]);
      low[v] = smaller(value, low[v]);
      high[v] = larger(value, high[v]);
      poison[v] = multiply_add(value, all(0.0f), poison[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t row = first + v * kVectorLanes;
    store(ranges.low + row, low[v]);
    store(ranges.high + row, high[v]);
    store(ranges.poison + row, poison[v]);
  }
}

inline void measure_rows_in(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, RowRanges& ranges) {
  each_tile<4>(vectors(panel.width), [&](int64_t first, auto count) {
    measure_vectors<decltype(count)::value>(x, x_stride, columns, panel.rows, first * kVectorLanes, ranges);
  });
}

inline void quantize_in(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, const RowScales& scales,
                        uint8_t* out) {
  for (int first = 0; first < panel.stride(); first += kPacked * kVectorLanes) {
    Lanes lanes[kPacked];
    Vector inverse[kPacked];
    Numbers zero[kPacked];
    for (int v = 0; v < kPacked; ++v) {
      const int row = first + v * kVectorLanes;
      lanes[v] = first_lanes(panel.rows - row);
      inverse[v] = load(scales.inverse + row);
      zero[v] = minus(load_numbers(scales.zero + row), all_numbers(kByteZero));
    }
    const float* source = x + first;
    uint8_t* target = out + first;
    for (int64_t column = 0; column < columns; ++column, source += x_stride, target += kLineBytes) {
      Numbers number[kPacked];
#pragma GCC unroll 4
      for (int v = 0; v < kPacked; ++v)
        number[v] = plus(rounded(load(source + v * kVectorLanes, lanes[v]) * inverse[v]), zero[v]);
      store_numbers(target, bytes_of(number));
    }
  }
}

// Of a panel that ends with a whole vector.
inline void dequantize_in(void* acc, int64_t features, const Panel& panel, const RowScales& rows, const float* scales,
                          const int32_t* sums, const float* bias) {
  for (int64_t first = 0; first < features; first += kTileFeatures) {
    const int64_t end = first + kTileFeatures < features ? first + kTileFeatures : features;
    for (int row = 0; row < panel.stride(); row += kVectorLanes) {
      const Numbers zero = minus(load_numbers(rows.zero + row), all_numbers(kByteZero));
      const Vector row_scale = load(rows.scale + row);
      float* place = static_cast<float*>(acc) + first * panel.stride() + row;
      for (int64_t feature = first; feature < end; ++feature, place += panel.stride()) {
        const Numbers number = minus(load_numbers(place), times(zero, all_numbers(sums[feature])));
        Vector value = floats_of(number) * (row_scale * all_of(scales + feature));
        asm("" : "+" PLATON_REGISTER(value));  // rounded before the bias comes: no FMA
        store(place, bias ? value + all_of(bias + feature) : value);
      }
    }
  }
}

}  // namespace
}  // namespace platon::PLATON_SET
