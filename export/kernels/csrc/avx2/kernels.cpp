// AVX2 + FMA kernels.
#include "avx2/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

namespace platon {
namespace {
bool supported() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
}  // namespace
}  // namespace platon

#include "avx2/begin.h"

#include "avx2/math.h"

namespace platon {
namespace {

constexpr int kTileRows = 64;  // x 256 bytes = 16 KiB: a tile of accumulators is read from the first-level cache

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

// Eight columns of one token group; `rows` tokens exist, the others read as zero.
inline void pack_tile(const float* x, int64_t x_stride, int rows, int stride, float* out) {
  __m256 v[8];
  for (int t = 0; t < 8; ++t) v[t] = t < rows ? _mm256_loadu_ps(x + t * x_stride) : _mm256_setzero_ps();
  transpose8(v);
  for (int c = 0; c < 8; ++c) _mm256_storeu_ps(out + c * stride, v[c]);
}

void pack(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out) {
  const int stride = panel.stride();
  for (int group = 0; group < panel.width; ++group) {
    const int offset = group * kLanes;
    const int rows = panel.tokens - offset < kLanes ? panel.tokens - offset : kLanes;
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
      for (int t = 0; t < kLanes; ++t)
        target[column * stride + t] = t < rows ? source[t * x_stride + column] : 0.0f;
  }
}

// The lanes that hold tokens in the panel's last group.
inline __m256i last_lanes(const Panel& panel) {
  const int valid = panel.tokens - (panel.width - 1) * kLanes;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(valid), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

void pad(const float* x, const Panel& panel, int64_t columns, float* out) {
  const __m256i mask = last_lanes(panel);
  const int last = (panel.width - 1) * kLanes;
  for (int64_t column = 0; column < columns; ++column, x += panel.tokens, out += panel.stride()) {
    for (int t = 0; t < last; t += kLanes) _mm256_storeu_ps(out + t, _mm256_loadu_ps(x + t));
    _mm256_storeu_ps(out + last, _mm256_maskload_ps(x + last, mask));
  }
}

template <Activation kActivation>
inline __m256 activate(__m256 x) {
  if constexpr (kActivation == Activation::kRelu) {
    return _mm256_max_ps(_mm256_setzero_ps(), x);
  } else if constexpr (kActivation == Activation::kGelu) {
    const __m256 half = _mm256_mul_ps(x, _mm256_set1_ps(0.5f));
    return _mm256_fmadd_ps(half, erf8(_mm256_mul_ps(x, _mm256_set1_ps(0.70710678f))), half);
  } else if constexpr (kActivation == Activation::kGeluTanh) {
    // 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3)
    const __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(0.044715f), _mm256_set1_ps(1.0f));
    const __m256 u = _mm256_mul_ps(_mm256_mul_ps(x, cubic), _mm256_set1_ps(-2.0f * 0.79788456f));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exp8(u)));
  } else {
    return x;
  }
}

// At most kTileRows rows, all tokens of the panel.
template <Activation kActivation>
void finish_tile(const float* acc, int rows, const Panel& panel, float* out, int64_t out_stride) {
  const int lanes = panel.stride();
  for (int group = 0; group < panel.width; ++group) {
    const int offset = group * kLanes;
    const int valid = panel.tokens - offset < kLanes ? panel.tokens - offset : kLanes;
    const float* source = acc + group * kLanes;
    float* target = out + offset * out_stride;
    int row = 0;
    for (; row + 8 <= rows; row += 8) {
      __m256 v[8];
      for (int r = 0; r < 8; ++r) v[r] = activate<kActivation>(_mm256_loadu_ps(source + (row + r) * lanes));
      transpose8(v);
      if (valid == kLanes)
        for (int t = 0; t < 8; ++t) _mm256_storeu_ps(target + t * out_stride + row, v[t]);
      else
        for (int t = 0; t < valid; ++t) _mm256_storeu_ps(target + t * out_stride + row, v[t]);
    }
    for (; row < rows; ++row) {
      float v[8];
      _mm256_storeu_ps(v, activate<kActivation>(_mm256_loadu_ps(source + row * lanes)));
      for (int t = 0; t < valid; ++t) target[t * out_stride + row] = v[t];
    }
  }
}

template <Activation kActivation>
void finish_as(const float* acc, int rows, const Panel& panel, float* out, int64_t out_stride) {
  const int lanes = panel.stride();
  for (int row = 0; row < rows; row += kTileRows)
    finish_tile<kActivation>(acc + row * lanes, rows - row < kTileRows ? rows - row : kTileRows, panel, out + row,
                             out_stride);
}

template <Activation kActivation>
void finish_panel_as(const float* acc, int rows, const Panel& panel, float* out) {
  const __m256i mask = last_lanes(panel);
  const int last = (panel.width - 1) * kLanes;
  for (int row = 0; row < rows; ++row, acc += panel.stride(), out += panel.tokens) {
    for (int t = 0; t < last; t += kLanes) _mm256_storeu_ps(out + t, activate<kActivation>(_mm256_loadu_ps(acc + t)));
    _mm256_maskstore_ps(out + last, mask, activate<kActivation>(_mm256_loadu_ps(acc + last)));
  }
}

void finish(const float* acc, int rows, const Panel& panel, Activation activation, float* out, int64_t out_stride) {
  switch (activation) {
    case Activation::kNone:
      return finish_as<Activation::kNone>(acc, rows, panel, out, out_stride);
    case Activation::kGelu:
      return finish_as<Activation::kGelu>(acc, rows, panel, out, out_stride);
    case Activation::kGeluTanh:
      return finish_as<Activation::kGeluTanh>(acc, rows, panel, out, out_stride);
    case Activation::kRelu:
      return finish_as<Activation::kRelu>(acc, rows, panel, out, out_stride);
  }
}

void finish_panel(const float* acc, int rows, const Panel& panel, Activation activation, float* out) {
  switch (activation) {
    case Activation::kNone:
      return finish_panel_as<Activation::kNone>(acc, rows, panel, out);
    case Activation::kGelu:
      return finish_panel_as<Activation::kGelu>(acc, rows, panel, out);
    case Activation::kGeluTanh:
      return finish_panel_as<Activation::kGeluTanh>(acc, rows, panel, out);
    case Activation::kRelu:
      return finish_panel_as<Activation::kRelu>(acc, rows, panel, out);
  }
}

void add(const float* x, int64_t x_stride, int rows, const Panel& panel, float* acc) {
  const __m256i mask = last_lanes(panel);
  const int last = (panel.width - 1) * kLanes;
  for (int row = 0; row < rows; ++row, x += x_stride, acc += panel.stride()) {
    for (int t = 0; t < last; t += kLanes)
      _mm256_storeu_ps(acc + t, _mm256_add_ps(_mm256_loadu_ps(acc + t), _mm256_loadu_ps(x + t)));
    _mm256_storeu_ps(acc + last, _mm256_add_ps(_mm256_loadu_ps(acc + last), _mm256_maskload_ps(x + last, mask)));
  }
}

constexpr int64_t kSumRows = 64;  // summed on their own first: the rounding error grows with 64 + features / 64

// sum[w] of term(row, w) over all features, in blocks.
template <int kWidth, class Term>
inline void sum_features(int64_t features, __m256 sum[kWidth], const Term& term) {
#pragma GCC unroll 8
  for (int w = 0; w < kWidth; ++w) sum[w] = _mm256_setzero_ps();
  for (int64_t first = 0; first < features; first += kSumRows) {
    const int64_t end = first + kSumRows < features ? first + kSumRows : features;
    __m256 part[kWidth];
#pragma GCC unroll 8
    for (int w = 0; w < kWidth; ++w) part[w] = _mm256_setzero_ps();
    for (int64_t row = first; row < end; ++row)
#pragma GCC unroll 8
      for (int w = 0; w < kWidth; ++w) part[w] = term(row, w, part[w]);
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
  sum_features<kWidth>(features, mean, [acc](int64_t row, int w, __m256 sum) {
    return _mm256_add_ps(sum, _mm256_loadu_ps(acc + row * kStride + w * kLanes));
  });
#pragma GCC unroll 8
  for (int w = 0; w < kWidth; ++w) mean[w] = _mm256_div_ps(mean[w], count);
  sum_features<kWidth>(features, factor, [acc, &mean](int64_t row, int w, __m256 sum) {
    const __m256 distance = _mm256_sub_ps(_mm256_loadu_ps(acc + row * kStride + w * kLanes), mean[w]);
    return _mm256_fmadd_ps(distance, distance, sum);
  });
#pragma GCC unroll 8
  for (int w = 0; w < kWidth; ++w) {
    const __m256 variance = _mm256_add_ps(_mm256_div_ps(factor[w], count), _mm256_set1_ps(epsilon));
    factor[w] = _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_sqrt_ps(variance));
  }
  for (int64_t row = 0; row < features; ++row, acc += kStride) {
    const __m256 weight = _mm256_broadcast_ss(scale + row), offset = _mm256_broadcast_ss(shift + row);
#pragma GCC unroll 8
    for (int w = 0; w < kWidth; ++w) {
      const __m256 unit = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(acc + w * kLanes), mean[w]), factor[w]);
      _mm256_storeu_ps(acc + w * kLanes, _mm256_fmadd_ps(unit, weight, offset));
    }
  }
}

using NormalizeKernel = void (*)(float*, int64_t, float, const float*, const float*);
constexpr NormalizeKernel kNormalizeKernels[kMaxWidth + 1] = {
    nullptr,           normalize_width<1>, normalize_width<2>, normalize_width<3>, normalize_width<4>,
    normalize_width<5>, normalize_width<6>, normalize_width<7>, normalize_width<8>};

void normalize(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
               const float* shift) {
  kNormalizeKernels[panel.width](acc, features, epsilon, scale, shift);
}

constexpr int kBurnRegisters = 12;  // enough independent sums to hide the latency of an FMA
constexpr int kBurnLoads = 16;

void burn_fma(int64_t rounds) {
  __m256 sums[kBurnRegisters];
  const __m256 factor = _mm256_set1_ps(0.5f);
#pragma GCC unroll 12
  for (int i = 0; i < kBurnRegisters; ++i) {
    sums[i] = factor;
    asm volatile("" : "+x"(sums[i]));  // or the compiler would see twelve equal sums and keep one
  }
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kBurnRegisters; ++i) sums[i] = _mm256_fmadd_ps(sums[i], factor, factor);
  }
#pragma GCC unroll 12
  for (int i = 0; i < kBurnRegisters; ++i) asm volatile("" : : "x"(sums[i]));
}

void burn_load(int64_t rounds) {
  alignas(64) static const float data[kBurnLoads * kLanes] = {};
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kBurnLoads; ++i) {
      __m256 value;
      asm volatile("vmovaps %1, %0" : "=x"(value) : "m"(*reinterpret_cast<const __m256*>(data + i * kLanes)));
    }
  }
}

}  // namespace

const Kernels avx2_kernels = {"avx2",         supported,    pack,      pad,       multiply_avx2,
                              multiply4_avx2, finish,       finish_panel, add,    normalize,
                              attend_avx2,    burn_fma,     burn_load, 2 * kLanes * kBurnRegisters, 4 * kLanes * kBurnLoads};

}  // namespace platon

#include "avx2/end.h"
#endif
