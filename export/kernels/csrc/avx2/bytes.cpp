// AVX2 kernels of 8-bit weights. A half of a line holds 32 rows such that packing groups of rows down to bytes needs no
// shuffle behind it, and unpacking them again brings the groups back: the four bytes at 16 lane + 4 group belong to the
// rows 8 group + 4 lane of that half.
#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

#include <cstring>
#include <utility>

#include "avx2/begin.h"
#include "avx2/vector.h"
#include "x86/bytes.h"

namespace platon::avx2 {
namespace {

constexpr int64_t kTileFeatures = 64;  // x 256 bytes = 16 KiB: accumulators are read from the first-level cache
constexpr int kHalfBytes = kLineBytes / 2, kHalfGroups = kMaxWidth / 2;

inline __m256i load_numbers(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store_numbers(void* p, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(p), value); }

// The lanes of a group that hold rows.
inline Lanes lanes_of(const Panel& panel, int group) { return first_lanes(panel.rows - group * kLanes); }

inline __m256i to_numbers(const float* x, __m256i lanes, const float* inverse, const int32_t* zero) {
  const __m256 scaled = _mm256_mul_ps(_mm256_maskload_ps(x, lanes), _mm256_loadu_ps(inverse));
  return _mm256_add_epi32(_mm256_cvtps_epi32(scaled), load_numbers(zero));
}

// Sums of kDot products each, of 8 rows: `x` holds the kDot bytes of a row side by side. Weights are too small for
// 16-bit sums of two to saturate.
inline __m256i dot(__m256i x, __m256i weights) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(x, weights), _mm256_set1_epi16(1));
}

// One step for kGroups groups of one half.
template <int kGroups>
inline void add_step(const Lines& lines, int half, __m256i weights, __m256i* sum) {
  const __m256i r0 = load_numbers(lines.get<0>() + half), r1 = load_numbers(lines.get<1>() + half),
                r2 = load_numbers(lines.get<2>() + half), r3 = load_numbers(lines.get<3>() + half);
  const __m256i low01 = _mm256_unpacklo_epi8(r0, r1), low23 = _mm256_unpacklo_epi8(r2, r3);
  sum[0] = _mm256_add_epi32(sum[0], dot(_mm256_unpacklo_epi16(low01, low23), weights));
  if constexpr (kGroups > 1) sum[1] = _mm256_add_epi32(sum[1], dot(_mm256_unpackhi_epi16(low01, low23), weights));
  if constexpr (kGroups > 2) {
    const __m256i high01 = _mm256_unpackhi_epi8(r0, r1), high23 = _mm256_unpackhi_epi8(r2, r3);
    sum[2] = _mm256_add_epi32(sum[2], dot(_mm256_unpacklo_epi16(high01, high23), weights));
    if constexpr (kGroups > 3) sum[3] = _mm256_add_epi32(sum[3], dot(_mm256_unpackhi_epi16(high01, high23), weights));
  }
}

template <int kWidth>
inline void add_run(int length, const uint8_t* step, const uint8_t* x, __m256i (&sum)[kWidth]) {
  constexpr int kFirst = kWidth < kHalfGroups ? kWidth : kHalfGroups;
  for (int j = 0; j < length; ++j, step += 2 * kDot) {
    const __m256i weights = _mm256_set1_epi32(weights_of(step));
    const Lines lines(step, x);
    add_step<kFirst>(lines, 0, weights, sum);
    if constexpr (kWidth > kHalfGroups) add_step<kWidth - kHalfGroups>(lines, kHalfBytes, weights, sum + kHalfGroups);
  }
}

template <int kWidth>
void multiply_width(const ByteBlock& block, const uint8_t* x, int32_t* acc) {
  const uint16_t* feature = block.features;
  const uint8_t* steps = block.steps;
  for (int g = 0; g < block.group_count; ++g) {
    const int length = block.groups[g].length;
    for (int i = 0; i < block.groups[g].count; ++i, ++feature, steps += 2 * kDot * length) {
      int32_t* out = acc + static_cast<uintptr_t>(*feature) * (kWidth * kLanes);
      __m256i sum[kWidth];
#pragma GCC unroll 8
      for (int w = 0; w < kWidth; ++w) sum[w] = block.starts ? _mm256_setzero_si256() : load_numbers(out + w * kLanes);
      add_run<kWidth>(length, steps, x, sum);
#pragma GCC unroll 8
      for (int w = 0; w < kWidth; ++w) store_numbers(out + w * kLanes, sum[w]);
    }
  }
}

// Some groups side by side: each minimum, maximum and sum waits for the one before it.
constexpr int kMeasuredGroups = 4;

template <int kGroups>
void measure_groups(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, int first,
                    RowRanges& ranges) {
  const int row = first * kLanes;
  __m256i lanes[kGroups];
  __m256 low[kGroups], high[kGroups], poison[kGroups];
  for (int g = 0; g < kGroups; ++g) {
    lanes[g] = lanes_of(panel, first + g);
    low[g] = _mm256_loadu_ps(ranges.low + row + g * kLanes);
    high[g] = _mm256_loadu_ps(ranges.high + row + g * kLanes);
    poison[g] = _mm256_loadu_ps(ranges.poison + row + g * kLanes);
  }
  x += row;
  for (int64_t column = 0; column < columns; ++column, x += x_stride) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      const __m256 value = _mm256_maskload_ps(x + g * kLanes, lanes[g]);
      low[g] = _mm256_min_ps(value, low[g]);
      high[g] = _mm256_max_ps(value, high[g]);
      poison[g] = _mm256_fmadd_ps(value, _mm256_setzero_ps(), poison[g]);
    }
  }
  for (int g = 0; g < kGroups; ++g) {
    _mm256_storeu_ps(ranges.low + row + g * kLanes, low[g]);
    _mm256_storeu_ps(ranges.high + row + g * kLanes, high[g]);
    _mm256_storeu_ps(ranges.poison + row + g * kLanes, poison[g]);
  }
}

using ByteKernel = void (*)(const ByteBlock&, const uint8_t*, int32_t*);

template <class = std::make_integer_sequence<int, kMaxWidth>>
struct ByWidth;
template <int... kNarrower>
struct ByWidth<std::integer_sequence<int, kNarrower...>> {
  static constexpr ByteKernel kernels[] = {nullptr, multiply_width<kNarrower + 1>...};
};

}  // namespace

void measure_rows(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, RowRanges& ranges) {
  for (int group = 0; group < panel.width; group += kMeasuredGroups)
    if (group + kMeasuredGroups <= panel.width)
      measure_groups<kMeasuredGroups>(x, x_stride, columns, panel, group, ranges);
    else
      for (int one = group; one < panel.width; ++one) measure_groups<1>(x, x_stride, columns, panel, one, ranges);
}

void quantize(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, const RowScales& scales,
              uint8_t* out) {
  __m256i lanes[kMaxWidth];
  for (int group = 0; group < kMaxWidth; ++group) lanes[group] = lanes_of(panel, group);
  for (int64_t column = 0; column < columns; ++column, x += x_stride, out += kLineBytes)
    for (int half = 0; half < panel.width; half += kHalfGroups) {
      __m256i v[kHalfGroups];
      for (int i = 0; i < kHalfGroups; ++i) {
        const int row = (half + i) * kLanes;
        v[i] = to_numbers(x + row, lanes[half + i], scales.inverse + row, scales.zero + row);
      }
      store_numbers(out + half * kLanes,
                    _mm256_packus_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3])));
    }
}

void multiply_bytes(const ByteBlock& block, const Panel& panel, const uint8_t* x, int32_t* acc) {
  ByWidth<>::kernels[panel.width](block, x, acc);
}

void dequantize(void* acc, int64_t features, const Panel& panel, const RowScales& rows, const float* scales,
                const int32_t* sums, const float* bias) {
  for (int64_t first = 0; first < features; first += kTileFeatures) {
    const int64_t end = first + kTileFeatures < features ? first + kTileFeatures : features;
    for (int row = 0; row < panel.stride(); row += kLanes) {
      const __m256i zero = load_numbers(rows.zero + row);
      const __m256 row_scale = _mm256_loadu_ps(rows.scale + row);
      float* place = static_cast<float*>(acc) + first * panel.stride() + row;
      for (int64_t feature = first; feature < end; ++feature, place += panel.stride()) {
        const __m256i offset = _mm256_mullo_epi32(zero, _mm256_set1_epi32(sums[feature]));
        const __m256 number = _mm256_cvtepi32_ps(_mm256_sub_epi32(load_numbers(place), offset));
        __m256 value = _mm256_mul_ps(number, _mm256_mul_ps(row_scale, _mm256_broadcast_ss(scales + feature)));
        asm("" : "+x"(value));  // rounded before the bias comes: no FMA
        _mm256_storeu_ps(place, bias ? _mm256_add_ps(value, _mm256_broadcast_ss(bias + feature)) : value);
      }
    }
  }
}

}  // namespace platon::avx2

#include "avx2/end.h"
#endif
