// Portable kernels: no intrinsics, plain loops that a compiler may vectorise for any target.
#include <algorithm>
#include <cmath>

#include "core/kernels.h"

namespace platon {
namespace {

bool supported() { return true; }

void pack(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out) {
  for (int64_t column = 0; column < columns; ++column, out += panel.stride()) {
    for (int t = 0; t < panel.tokens; ++t) out[t] = x[t * x_stride + column];
    for (int t = panel.tokens; t < panel.stride(); ++t) out[t] = 0.0f;
  }
}

void pad(const float* x, const Panel& panel, int64_t columns, float* out) {
  for (int64_t column = 0; column < columns; ++column, x += panel.tokens, out += panel.stride()) {
    for (int t = 0; t < panel.tokens; ++t) out[t] = x[t];
    for (int t = panel.tokens; t < panel.stride(); ++t) out[t] = 0.0f;
  }
}

template <int kRows>
void multiply_runs(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  const int lanes = panel.stride();
  const uint16_t* rows = block.rows;
  const uint8_t* offsets = block.offsets;
  const float* values = block.values;
  for (int g = 0; g < block.group_count; ++g) {
    const int length = block.groups[g].length;
    for (int i = 0; i < block.groups[g].count; ++i, ++rows, offsets += length, values += length * kRows)
      for (int r = 0; r < kRows; ++r) {
        float* out = acc + static_cast<int64_t>(*rows + r) * lanes;
        if (block.starts)
          for (int t = 0; t < lanes; ++t) out[t] = bias ? bias[*rows + r] : 0.0f;
        for (int j = 0; j < length; ++j)
          for (int t = 0; t < lanes; ++t) out[t] += values[j * kRows + r] * x[offsets[j] * lanes + t];
      }
  }
}

float activate(float x, Activation activation) {
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

void finish(const float* acc, int rows, const Panel& panel, Activation activation, float* out, int64_t out_stride) {
  for (int t = 0; t < panel.tokens; ++t)
    for (int row = 0; row < rows; ++row)
      out[t * out_stride + row] = activate(acc[row * panel.stride() + t], activation);
}

void finish_panel(const float* acc, int rows, const Panel& panel, Activation activation, float* out) {
  for (int row = 0; row < rows; ++row, acc += panel.stride(), out += panel.tokens)
    for (int t = 0; t < panel.tokens; ++t) out[t] = activate(acc[t], activation);
}

void add(const float* x, int64_t x_stride, int rows, const Panel& panel, float* acc) {
  for (int row = 0; row < rows; ++row, x += x_stride, acc += panel.stride())
    for (int t = 0; t < panel.tokens; ++t) acc[t] += x[t];
}

void normalize(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
               const float* shift) {
  const int lanes = panel.stride();
  for (int t = 0; t < lanes; ++t) {
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < features; ++i) sum += acc[i * lanes + t];
    const double mean = sum / static_cast<double>(features);
    for (int64_t i = 0; i < features; ++i) {
      const double distance = acc[i * lanes + t] - mean;
      squares += distance * distance;
    }
    const double factor = 1.0 / std::sqrt(squares / static_cast<double>(features) + epsilon);
    for (int64_t i = 0; i < features; ++i) {
      float& value = acc[i * lanes + t];
      value = static_cast<float>((value - mean) * factor) * scale[i] + shift[i];
    }
  }
}

// visit(segment, key in the segment, number of the key), for every key in order.
template <class Visit>
void each_key(const AttentionBlock& block, const Visit& visit) {
  int64_t number = 0;
  for (int64_t i = 0; i < block.segment_count; ++i)
    for (int64_t key = 0; key < block.segments[i].count; ++key) visit(block.segments[i], key, number++);
}

// Scores of one query into column `t`; returns the largest.
float score(const AttentionBlock& block, int t) {
  float largest = -INFINITY;
  each_key(block, [&](const KeySegment& segment, int64_t key, int64_t number) {
    float sum = 0.0f;
    for (int64_t f = 0; f < block.size; ++f) sum += block.q[f * block.queries.stride() + t] * segment.k[f * segment.stride + key];
    sum *= block.scale;
    if (block.key_mask) sum += block.key_mask[number];
    if (block.query_mask) sum += block.query_mask[number * block.queries.stride() + t];
    block.scores[number * block.queries.stride() + t] = sum;
    largest = std::max(largest, sum);
  });
  return largest;
}

void attend(const AttentionBlock& block) {
  for (int t = 0; t < block.queries.tokens; ++t) {
    const float largest = score(block, t);
    float total = 0.0f;
    each_key(block, [&](const KeySegment&, int64_t, int64_t number) {
      float& value = block.scores[number * block.queries.stride() + t];
      value = std::exp(value - largest);
      total += value;
    });
    for (int64_t f = 0; f < block.value_size; ++f) {
      float sum = 0.0f;
      each_key(block, [&](const KeySegment& segment, int64_t key, int64_t number) {
        sum += segment.v[f * segment.stride + key] * block.scores[number * block.queries.stride() + t];
      });
      block.out[f * block.queries.stride() + t] = sum / total;
    }
  }
}

constexpr int kBurnTerms = 8;

void burn_fma(int64_t rounds) {
  volatile float seed = 1.0f;
  float sums[kBurnTerms];
  for (float& sum : sums) sum = seed;
  const float factor = seed;
  for (int64_t i = 0; i < rounds; ++i)
    for (float& sum : sums) sum = sum * factor + factor;
  for (const float sum : sums) seed = sum;
}

void burn_load(int64_t rounds) {
  static const volatile float data[kBurnTerms] = {};
  for (int64_t i = 0; i < rounds; ++i)
    for (const volatile float& value : data) {
      const float loaded = value;
      (void)loaded;
    }
}

}  // namespace

const Kernels scalar_kernels = {"scalar",
                                supported,
                                pack,
                                pad,
                                multiply_runs<1>,
                                multiply_runs<kQuadRows>,
                                finish,
                                finish_panel,
                                add,
                                normalize,
                                attend,
                                burn_fma,
                                burn_load,
                                2 * kBurnTerms,
                                kBurnTerms * static_cast<int>(sizeof(float))};

}  // namespace platon
