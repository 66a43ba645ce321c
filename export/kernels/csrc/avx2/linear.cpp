// AVX2 + FMA kernels around the products: packing, activations, layer norm.
#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include "avx2/begin.h"
#include "avx2/vector.h"
#include "x86/finish.h"
#include "x86/math.h"

namespace platon::avx2 {
namespace {

constexpr int64_t kTileFeatures = 64;  // x 256 bytes = 16 KiB: accumulators are read from the first-level cache
constexpr int64_t kSumFeatures = 64;   // summed on their own first: the rounding error grows with 64 + features / 64

inline void transpose8(__m256 v[8]) {
  __m256 a[8], b[8];
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
    a[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
    b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
    b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
    b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    v[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}

// Eight columns of one group of rows; `rows` of them exist, the others read as zero.
inline void pack_tile(const float* x, int64_t x_stride, int rows, int stride, float* out) {
  __m256 v[8];
  for (int row = 0; row < 8; ++row) v[row] = row < rows ? _mm256_loadu_ps(x + row * x_stride) : _mm256_setzero_ps();
  transpose8(v);
  for (int c = 0; c < 8; ++c) _mm256_storeu_ps(out + c * stride, v[c]);
}

// The lanes that hold rows in the panel's last group.
inline __m256i last_lanes(const Panel& panel) {
  const int valid = panel.rows - (panel.width - 1) * kLanes;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(valid), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// At most kTileFeatures features, all rows of the panel.
template <Activation kActivation>
void finish_tile(const float* acc, int64_t features, const Panel& panel, float* out, int64_t out_stride) {
  const int lanes = panel.stride();
  for (int group = 0; group < panel.width; ++group) {
    const int offset = group * kLanes;
    const int valid = panel.rows - offset < kLanes ? panel.rows - offset : kLanes;
    const float* source = acc + group * kLanes;
    float* target = out + offset * out_stride;
    int64_t feature = 0;
    for (; feature + 8 <= features; feature += 8) {
      __m256 v[8];
      for (int f = 0; f < 8; ++f) v[f] = activate<kActivation>(_mm256_loadu_ps(source + (feature + f) * lanes));
      transpose8(v);
      if (valid == kLanes)
        for (int row = 0; row < 8; ++row) _mm256_storeu_ps(target + row * out_stride + feature, v[row]);
      else
        for (int row = 0; row < valid; ++row) _mm256_storeu_ps(target + row * out_stride + feature, v[row]);
    }
    for (; feature < features; ++feature) {
      float v[8];
      _mm256_storeu_ps(v, activate<kActivation>(_mm256_loadu_ps(source + feature * lanes)));
      for (int row = 0; row < valid; ++row) target[row * out_stride + feature] = v[row];
    }
  }
}

template <Activation kActivation>
void finish_as(const float* acc, int64_t features, const Panel& panel, float* out, int64_t out_stride) {
  for (int64_t first = 0; first < features; first += kTileFeatures) {
    const int64_t count = features - first < kTileFeatures ? features - first : kTileFeatures;
    finish_tile<kActivation>(acc + first * panel.stride(), count, panel, out + first, out_stride);
  }
}

// sum[w] of term(feature, w) over all features, in blocks.
template <int kWidth, class Term>
inline void sum_features(int64_t features, __m256 sum[kWidth], const Term& term) {
#pragma GCC unroll 8
  for (int w = 0; w < kWidth; ++w) sum[w] = _mm256_setzero_ps();
  for (int64_t first = 0; first < features; first += kSumFeatures) {
    const int64_t end = first + kSumFeatures < features ? first + kSumFeatures : features;
    __m256 part[kWidth];
#pragma GCC unroll 8
    for (int w = 0; w < kWidth; ++w) part[w] = _mm256_setzero_ps();
    for (int64_t feature = first; feature < end; ++feature)
#pragma GCC unroll 8
      for (int w = 0; w < kWidth; ++w) part[w] = term(feature, w, part[w]);
#pragma GCC unroll 8
    for (int w = 0; w < kWidth; ++w) sum[w] = _mm256_add_ps(sum[w], part[w]);
  }
}

// The two-pass form: the variance of values far from zero stays exact.
template <int kWidth>
void normalize_width(float* acc, int64_t features, float epsilon, const float* scale, const float* shift) {
  constexpr int kStride = kWidth * kLanes;
  const __m256 count = _mm256_set1_ps(static_cast<float>(features));
  __m256 mean[kWidth], factor[kWidth];
  sum_features<kWidth>(features, mean, [acc](int64_t feature, int w, __m256 sum) {
    return _mm256_add_ps(sum, _mm256_loadu_ps(acc + feature * kStride + w * kLanes));
  });
#pragma GCC unroll 8
  for (int w = 0; w < kWidth; ++w) mean[w] = _mm256_div_ps(mean[w], count);
  sum_features<kWidth>(features, factor, [acc, &mean](int64_t feature, int w, __m256 sum) {
    const __m256 distance = _mm256_sub_ps(_mm256_loadu_ps(acc + feature * kStride + w * kLanes), mean[w]);
    return _mm256_fmadd_ps(distance, distance, sum);
  });
#pragma GCC unroll 8
  for (int w = 0; w < kWidth; ++w) {
    const __m256 variance = _mm256_add_ps(_mm256_div_ps(factor[w], count), _mm256_set1_ps(epsilon));
    factor[w] = _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_sqrt_ps(variance));
  }
  for (int64_t feature = 0; feature < features; ++feature, acc += kStride) {
    const __m256 weight = _mm256_broadcast_ss(scale + feature), offset = _mm256_broadcast_ss(shift + feature);
#pragma GCC unroll 8
    for (int w = 0; w < kWidth; ++w) {
      const __m256 unit = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(acc + w * kLanes), mean[w]), factor[w]);
      _mm256_storeu_ps(acc + w * kLanes, _mm256_fmadd_ps(unit, weight, offset));
    }
  }
}

using NormalizeKernel = void (*)(float*, int64_t, float, const float*, const float*);
constexpr NormalizeKernel kNormalizeKernels[kMaxWidth + 1] = {nullptr,
                                                              normalize_width<1>,
                                                              normalize_width<2>,
                                                              normalize_width<3>,
                                                              normalize_width<4>,
                                                              normalize_width<5>,
                                                              normalize_width<6>,
                                                              normalize_width<7>,
                                                              normalize_width<8>};

}  // namespace

void pack(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out) {
  const int stride = panel.stride();
  for (int group = 0; group < panel.width; ++group) {
    const int offset = group * kLanes;
    const int rows = panel.rows - offset < kLanes ? panel.rows - offset : kLanes;
    const float* source = x + offset * x_stride;
    float* target = out + offset;
    int64_t column = 0;
    if (rows == kLanes)
      for (; column + 8 <= columns; column += 8)
        pack_tile(source + column, x_stride, 8, stride, target + column * stride);
    else
      for (; column + 8 <= columns; column += 8)
        pack_tile(source + column, x_stride, rows, stride, target + column * stride);
    for (; column < columns; ++column)
      for (int row = 0; row < kLanes; ++row)
        target[column * stride + row] = row < rows ? source[row * x_stride + column] : 0.0f;
  }
}

void pad(const float* x, const Panel& panel, int64_t columns, float* out) {
  const __m256i mask = last_lanes(panel);
  const int last = (panel.width - 1) * kLanes;
  for (int64_t column = 0; column < columns; ++column, x += panel.rows, out += panel.stride()) {
    for (int row = 0; row < last; row += kLanes) _mm256_storeu_ps(out + row, _mm256_loadu_ps(x + row));
    _mm256_storeu_ps(out + last, _mm256_maskload_ps(x + last, mask));
  }
}

void finish(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out,
            int64_t out_stride) {
  switch (activation) {
    case Activation::kNone:
      return finish_as<Activation::kNone>(acc, features, panel, out, out_stride);
    case Activation::kGelu:
      return finish_as<Activation::kGelu>(acc, features, panel, out, out_stride);
    case Activation::kGeluTanh:
      return finish_as<Activation::kGeluTanh>(acc, features, panel, out, out_stride);
    case Activation::kRelu:
      return finish_as<Activation::kRelu>(acc, features, panel, out, out_stride);
  }
}

void finish_panel(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out) {
  finish_panel_in(acc, features, panel, activation, out);
}

void add(const float* x, int64_t x_stride, int64_t features, const Panel& panel, float* acc) {
  const __m256i mask = last_lanes(panel);
  const int last = (panel.width - 1) * kLanes;
  for (int64_t feature = 0; feature < features; ++feature, x += x_stride, acc += panel.stride()) {
    for (int row = 0; row < last; row += kLanes)
      _mm256_storeu_ps(acc + row, _mm256_add_ps(_mm256_loadu_ps(acc + row), _mm256_loadu_ps(x + row)));
    _mm256_storeu_ps(acc + last, _mm256_add_ps(_mm256_loadu_ps(acc + last), _mm256_maskload_ps(x + last, mask)));
  }
}

void normalize(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
               const float* shift) {
  kNormalizeKernels[panel.width](acc, features, epsilon, scale, shift);
}

}  // namespace platon::avx2

#include "avx2/end.h"
#endif
