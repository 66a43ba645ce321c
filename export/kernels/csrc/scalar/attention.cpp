// Portable attention of one block of queries.
#include <algorithm>
#include <cmath>

#include "core/kernels.h"

namespace platon::scalar {
namespace {

// visit(segment, key in the segment, number of the key), for every key in order.
template <class Visit>
void each_key(const AttentionBlock& block, const Visit& visit) {
  int64_t number = 0;
  for (int64_t i = 0; i < block.segment_count; ++i)
    for (int64_t key = 0; key < block.segments[i].count; ++key) visit(block.segments[i], key, number++);
}

// Scores of one query into column `row`; returns the largest.
float score(const AttentionBlock& block, int row) {
  float largest = -INFINITY;
  each_key(block, [&](const KeySegment& segment, int64_t key, int64_t number) {
    float sum = 0.0f;
    for (int64_t f = 0; f < block.size; ++f)
      sum += block.q[f * block.queries.stride() + row] * segment.k[f * segment.stride + key];
    sum *= block.scale;
    if (block.key_mask) sum += block.key_mask[number];
    if (block.query_mask) sum += block.query_mask[number * block.queries.stride() + row];
    block.scores[number * block.queries.stride() + row] = sum;
    largest = std::max(largest, sum);
  });
  return largest;
}

}  // namespace

void attend(const AttentionBlock& block) {
  for (int row = 0; row < block.queries.rows; ++row) {
    const float largest = score(block, row);
    float total = 0.0f;
    each_key(block, [&](const KeySegment&, int64_t, int64_t number) {
      float& value = block.scores[number * block.queries.stride() + row];
      value = std::exp(value - largest);
      total += value;
    });
    for (int64_t f = 0; f < block.value_size; ++f) {
      float sum = 0.0f;
      each_key(block, [&](const KeySegment& segment, int64_t key, int64_t number) {
        sum += segment.v[f * segment.stride + key] * block.scores[number * block.queries.stride() + row];
      });
      block.out[f * block.queries.stride() + row] = sum / total;
    }
  }
}

}  // namespace platon::scalar
