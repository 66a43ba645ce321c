// A new kernel set, to copy: this file becomes export/kernels/csrc/mine/kernel.cpp. The name of the folder is that of
// the set; put yours in the place of `mine` here, and `X(mine)` behind the sets that it beats in core/kernels.h.
//
// Only the product of sparse weights is written out. The rest belongs to another set until it has a better form.
#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

namespace platon::mine {

// Asked once, before anything of the set runs.
bool supported() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

void pack(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out) {
  scalar::pack(x, x_stride, panel, columns, out);
}

void pad(const float* x, const Panel& panel, int64_t columns, float* out) { scalar::pad(x, panel, columns, out); }

void multiply4(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  scalar::multiply4(block, panel, bias, x, acc);
}

void finish(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out,
            int64_t out_stride) {
  scalar::finish(acc, features, panel, activation, out, out_stride);
}

void finish_panel(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out) {
  scalar::finish_panel(acc, features, panel, activation, out);
}

void add(const float* x, int64_t x_stride, int64_t features, const Panel& panel, float* acc) {
  scalar::add(x, x_stride, features, panel, acc);
}

void normalize(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
               const float* shift) {
  scalar::normalize(acc, features, panel, epsilon, scale, shift);
}

void measure_rows(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, RowRanges& ranges) {
  scalar::measure_rows(x, x_stride, columns, panel, ranges);
}

// Bytes are laid and multiplied by one set: take `quantize`, `multiply_bytes` and `dequantize` over together.
void quantize(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, const RowScales& scales,
              uint8_t* out) {
  scalar::quantize(x, x_stride, columns, panel, scales, out);
}

void multiply_bytes(const ByteBlock& block, const Panel& panel, const uint8_t* x, int32_t* acc) {
  scalar::multiply_bytes(block, panel, x, acc);
}

void dequantize(void* acc, int64_t features, const Panel& panel, const RowScales& rows, const float* scales,
                const int32_t* sums, const float* bias) {
  scalar::dequantize(acc, features, panel, rows, scales, sums, bias);
}

void attend(const AttentionBlock& block) { scalar::attend(block); }

// So are the bytes of attention.
void quantize_quads(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int zero,
                    uint8_t* out, int64_t out_stride, int32_t* sums) {
  scalar::quantize_quads(x, x_stride, features, rows, inverse, zero, out, out_stride, sums);
}

void quantize_columns(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int8_t* out,
                      int64_t out_stride) {
  scalar::quantize_columns(x, x_stride, features, rows, inverse, out, out_stride);
}

void attend_bytes(const ByteAttentionBlock& block) { scalar::attend_bytes(block); }

int burn_fma(int64_t rounds) { return scalar::burn_fma(rounds); }

int burn_load(int64_t rounds) { return scalar::burn_load(rounds); }

}  // namespace platon::mine

// What uses the instructions stands from here on, behind all headers: no inline function of theirs is compiled for them
// and then shared with code that runs on older processors. In a set of several files this part is begin.h.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include <immintrin.h>

namespace platon::mine {
namespace {

// One run after the other: the sums of its feature stay in kWidth registers, one for each group of the panel.
template <int kWidth>
void multiply_width(const Block& block, const float* bias, const float* x, float* acc) {
  constexpr int kRows = kWidth * kLanes;
  const uint16_t* feature = block.features;
  const uint8_t* offsets = block.offsets;
  const float* values = block.values;
  for (int g = 0; g < block.group_count; ++g) {
    const int length = block.groups[g].length;
    for (int i = 0; i < block.groups[g].count; ++i, ++feature, offsets += length, values += length) {
      float* out = acc + static_cast<int64_t>(*feature) * kRows;
      const __m256 first = _mm256_set1_ps(bias ? bias[*feature] : 0.0f);
      __m256 sums[kWidth];
      for (int w = 0; w < kWidth; ++w) sums[w] = block.starts ? first : _mm256_loadu_ps(out + w * kLanes);
      for (int j = 0; j < length; ++j) {
        const __m256 value = _mm256_set1_ps(values[j]);
        const float* column = x + static_cast<int64_t>(offsets[j]) * kRows;
        for (int w = 0; w < kWidth; ++w)
          sums[w] = _mm256_fmadd_ps(value, _mm256_loadu_ps(column + w * kLanes), sums[w]);
      }
      for (int w = 0; w < kWidth; ++w) _mm256_storeu_ps(out + w * kLanes, sums[w]);
    }
  }
}

// The form for the panel's width. Where a set has none, another set's does: scalar::multiply(block, panel, ...).
template <int kWidth>
void multiply_from(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  if (panel.width == kWidth)
    multiply_width<kWidth>(block, bias, x, acc);
  else if constexpr (kWidth > 1)
    multiply_from<kWidth - 1>(block, panel, bias, x, acc);
}

}  // namespace

void multiply(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  multiply_from<kMaxWidth>(block, panel, bias, x, acc);
}

}  // namespace platon::mine

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
