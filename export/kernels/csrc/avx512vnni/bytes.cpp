// AVX-512 kernels of 8-bit weights. A line holds 64 rows such that packing vectors of rows down to bytes needs no
// shuffle behind it, and unpacking them again brings the vectors back: the four bytes at 16 lane + 4 vector belong to
// the rows 16 vector + 4 lane.
#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

#include <cstring>
#include <utility>

#include "avx512vnni/begin.h"
#include "avx512vnni/vector.h"
#include "x86/bytes.h"

namespace platon::avx512vnni {
namespace {

constexpr int kMaxVectors = kMaxWidth / 2;
constexpr int64_t kTileFeatures = 64;  // x 256 bytes = 16 KiB: accumulators are read from the first-level cache
constexpr int vectors(int width) { return (width + 1) / 2; }

// The lanes of a vector that hold some of `rows` rows.
inline Lanes lanes_of(int rows, int vector) { return first_lanes(rows - vector * kVectorLanes); }

// Those of the accumulators of a panel: the last of an odd number of groups lies in half a vector.
template <int kWidth>
constexpr Lanes kept(int vector) {
  return 2 * vector + 1 == kWidth ? 0x00ff : 0xffff;
}

inline __m512i to_numbers(const float* x, Lanes lanes, __m512 inverse, __m512i zero) {
  return _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x), inverse)), zero);
}

// sum += the dot products of each row's four bytes with the weights. As the intrinsic, but GCC 12 would copy every sum
// before and behind it.
inline void add_dot(__m512i& sum, __m512i x, __m512i weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(weights));
}

// One step: four lines are interleaved as far as rows exist, so that each row's four bytes lie side by side.
template <int kVectors>
inline void add_step(const uint8_t* step, const uint8_t* x, __m512i (&sum)[kVectors]) {
  const Lines lines(step, x);
  const __m512i weights = _mm512_set1_epi32(weights_of(step));
  const __m512i r0 = _mm512_loadu_si512(lines.get<0>()), r1 = _mm512_loadu_si512(lines.get<1>()),
                r2 = _mm512_loadu_si512(lines.get<2>()), r3 = _mm512_loadu_si512(lines.get<3>());
  const __m512i low01 = _mm512_unpacklo_epi8(r0, r1), low23 = _mm512_unpacklo_epi8(r2, r3);
  add_dot(sum[0], _mm512_unpacklo_epi16(low01, low23), weights);
  if constexpr (kVectors > 1) add_dot(sum[1], _mm512_unpackhi_epi16(low01, low23), weights);
  if constexpr (kVectors > 2) {
    const __m512i high01 = _mm512_unpackhi_epi8(r0, r1), high23 = _mm512_unpackhi_epi8(r2, r3);
    add_dot(sum[2], _mm512_unpacklo_epi16(high01, high23), weights);
    if constexpr (kVectors > 3) add_dot(sum[3], _mm512_unpackhi_epi16(high01, high23), weights);
  }
}

// Narrow panels sum in two chains, because each sum waits for the one before it.
constexpr int chains(int vectors) { return vectors <= 2 ? 2 : 1; }

template <int kVectors>
inline void add_run(int length, const uint8_t* step, const uint8_t* x, __m512i (&sum)[kVectors]) {
  if constexpr (chains(kVectors) == 1) {
    for (int j = 0; j < length; ++j, step += 2 * kDot) add_step<kVectors>(step, x, sum);
  } else {
    __m512i other[kVectors];
    for (__m512i& value : other) value = _mm512_setzero_si512();
    int j = 0;
    for (; j + 2 <= length; j += 2, step += 4 * kDot) {
      add_step<kVectors>(step, x, sum);
      add_step<kVectors>(step + 2 * kDot, x, other);
    }
    if (j < length) add_step<kVectors>(step, x, sum);
    for (int v = 0; v < kVectors; ++v) sum[v] = _mm512_add_epi32(sum[v], other[v]);
  }
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
      __m512i sum[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sum[v] =
            block.starts ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi32(kept<kWidth>(v), out + v * kVectorLanes);
      add_run<kVectors>(length, steps, x, sum);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) _mm512_mask_storeu_epi32(out + v * kVectorLanes, kept<kWidth>(v), sum[v]);
    }
  }
}

// All vectors side by side: each minimum, maximum and sum waits for the one before it.
template <int kVectors>
void measure_vectors(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, RowRanges& ranges) {
  Lanes lanes[kVectors];
  __m512 low[kVectors], high[kVectors], poison[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    lanes[v] = lanes_of(panel.rows, v);
    low[v] = _mm512_loadu_ps(ranges.low + v * kVectorLanes);
    high[v] = _mm512_loadu_ps(ranges.high + v * kVectorLanes);
    poison[v] = _mm512_loadu_ps(ranges.poison + v * kVectorLanes);
  }
  for (int64_t column = 0; column < columns; ++column, x += x_stride) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m512 value = _mm512_maskz_loadu_ps(lanes[v], x + v * kVectorLanes);
      low[v] = _mm512_min_ps(value, low[v]);
      high[v] = _mm512_max_ps(value, high[v]);
      poison[v] = _mm512_fmadd_ps(value, _mm512_setzero_ps(), poison[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    _mm512_storeu_ps(ranges.low + v * kVectorLanes, low[v]);
    _mm512_storeu_ps(ranges.high + v * kVectorLanes, high[v]);
    _mm512_storeu_ps(ranges.poison + v * kVectorLanes, poison[v]);
  }
}

using MeasureKernel = void (*)(const float*, int64_t, int64_t, const Panel&, RowRanges&);
constexpr MeasureKernel kMeasureKernels[kMaxVectors + 1] = {nullptr, measure_vectors<1>, measure_vectors<2>,
                                                            measure_vectors<3>, measure_vectors<4>};

using ByteKernel = void (*)(const ByteBlock&, const uint8_t*, int32_t*);

template <class = std::make_integer_sequence<int, kMaxWidth>>
struct ByWidth;
template <int... kNarrower>
struct ByWidth<std::integer_sequence<int, kNarrower...>> {
  static constexpr ByteKernel kernels[] = {nullptr, multiply_width<kNarrower + 1>...};
};

}  // namespace

void measure_rows(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, RowRanges& ranges) {
  kMeasureKernels[vectors(panel.width)](x, x_stride, columns, panel, ranges);
}

void quantize(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, const RowScales& scales,
              uint8_t* out) {
  Lanes lanes[kMaxVectors];
  __m512 inverse[kMaxVectors];
  __m512i zero[kMaxVectors];
  for (int v = 0; v < kMaxVectors; ++v) {
    lanes[v] = lanes_of(panel.rows, v);
    inverse[v] = _mm512_loadu_ps(scales.inverse + v * kVectorLanes);
    zero[v] = _mm512_loadu_si512(scales.zero + v * kVectorLanes);
  }
  for (int64_t column = 0; column < columns; ++column, x += x_stride, out += kLineBytes) {
    __m512i number[kMaxVectors];
    for (int v = 0; v < kMaxVectors; ++v) number[v] = to_numbers(x + v * kVectorLanes, lanes[v], inverse[v], zero[v]);
    const __m512i low = _mm512_packs_epi32(number[0], number[1]), high = _mm512_packs_epi32(number[2], number[3]);
    _mm512_storeu_si512(out, _mm512_packus_epi16(low, high));
  }
}

void multiply_bytes(const ByteBlock& block, const Panel& panel, const uint8_t* x, int32_t* acc) {
  ByWidth<>::kernels[panel.width](block, x, acc);
}

void dequantize(void* acc, int64_t features, const Panel& panel, const RowScales& rows, const float* scales,
                const int32_t* sums, const float* bias) {
  for (int64_t first = 0; first < features; first += kTileFeatures) {
    const int64_t end = first + kTileFeatures < features ? first + kTileFeatures : features;
    for (int v = 0; v < vectors(panel.width); ++v) {
      const int row = v * kVectorLanes;
      const Lanes lanes = lanes_of(panel.stride(), v);
      const __m512i zero = _mm512_loadu_si512(rows.zero + row);
      const __m512 row_scale = _mm512_loadu_ps(rows.scale + row);
      float* place = static_cast<float*>(acc) + first * panel.stride() + row;
      for (int64_t feature = first; feature < end; ++feature, place += panel.stride()) {
        const __m512i offset = _mm512_mullo_epi32(zero, _mm512_set1_epi32(sums[feature]));
        const __m512 number = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_maskz_loadu_epi32(lanes, place), offset));
        __m512 value = _mm512_mul_ps(number, _mm512_mul_ps(row_scale, _mm512_set1_ps(scales[feature])));
        asm("" : "+v"(value));  // rounded before the bias comes: no FMA
        _mm512_mask_storeu_ps(place, lanes, bias ? _mm512_add_ps(value, _mm512_set1_ps(bias[feature])) : value);
      }
    }
  }
}

}  // namespace platon::avx512vnni

#include "avx512vnni/end.h"
#endif
