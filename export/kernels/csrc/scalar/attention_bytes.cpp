// Portable attention of one block of queries in bytes: it defines the whole numbers that every set computes.
#include <algorithm>
#include <cmath>

#include "core/kernels.h"

namespace platon::scalar {
namespace {

// Rows that are not finite get some number: their scale is NaN.
int32_t to_number(float x, float inverse) {
  const float rounded = std::nearbyint(x * inverse);
  return std::fabs(rounded) <= kMostQuery ? static_cast<int32_t>(rounded) : 0;
}

// Scores of one query into column `row`; returns the largest.
float score(const ByteAttentionBlock& block, int row) {
  const int64_t stride = block.queries.stride();
  float largest = -INFINITY;
  for (int64_t key = 0; key < block.keys; ++key) {
    int32_t sum = block.k_start[key];
    for (int64_t quad = 0; quad < quads(block.size); ++quad)
      for (int j = 0; j < kDot; ++j)
        sum += block.q[(quad * stride + row) * kDot + j] * block.k[(quad * block.key_stride + key) * kDot + j];
    float score = static_cast<float>(sum) * block.q_scale[row] * block.k_scale[key] + block.key_add[key];
    if (block.query_mask) score += block.query_mask[key * stride + row] * kLog2E;
    block.scores[key * stride + row] = score;
    largest = std::max(largest, score);
  }
  return largest;
}

// Scores to weights; returns what the sum of weights times values is divided by.
float weigh(const ByteAttentionBlock& block, int row, float largest) {
  const int64_t stride = block.queries.stride();
  float total = 0.0f;
  for (int64_t key = 0; key < block.keys; ++key) {
    const float value = std::exp2(block.scores[key * stride + row] - largest);
    total += value * block.v_inverse[key];
    const float weight = std::nearbyint(value * kMostWeight);
    block.weights[(key / kDot * stride + row) * kDot + key % kDot] =
        weight <= kMostWeight ? static_cast<uint8_t>(weight) : 0;
  }
  return total * kMostWeight;
}

}  // namespace

void quantize_quads(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int zero,
                    uint8_t* out, int64_t out_stride, int32_t* sums) {
  if (sums) std::fill(sums, sums + rows, 0);
  for (int64_t f = 0; f < quads(features) * kDot; ++f)
    for (int row = 0; row < rows; ++row) {
      const int32_t number = f < features ? to_number(x[f * x_stride + row], inverse[row]) : 0;
      if (sums) sums[row] += number;
      out[(f / kDot * out_stride + row) * kDot + f % kDot] = static_cast<uint8_t>(number + zero);
    }
}

void quantize_columns(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int8_t* out,
                      int64_t out_stride) {
  for (int64_t f = 0; f < features; ++f)
    for (int row = 0; row < rows; ++row)
      out[f * out_stride + row] = static_cast<int8_t>(to_number(x[f * x_stride + row], inverse[row]));
}

void attend_bytes(const ByteAttentionBlock& block) {
  const int64_t stride = block.queries.stride();
  for (int row = 0; row < block.queries.rows; ++row) {
    const float total = weigh(block, row, score(block, row));
    for (int64_t f = 0; f < block.value_size; ++f) {
      int32_t sum = 0;
      for (int64_t key = 0; key < block.keys; ++key)
        sum += block.weights[(key / kDot * stride + row) * kDot + key % kDot] * block.v[f * block.key_stride + key];
      block.out[f * stride + row] = static_cast<float>(sum) / total;
    }
  }
}

}  // namespace platon::scalar
