// Portable attention of one block of queries: plain loops, the same data as the vector kernels.
#include <algorithm>
#include <cmath>

#include "kernels.h"

namespace platon {
namespace {

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
    for (int64_t f = 0; f < block.size; ++f) sum += block.q[f * kAttentionQueries + t] * segment.k[f * segment.stride + key];
    sum *= block.scale;
    if (block.mask)  // std::max returns its first operand when one is NaN
      sum += std::max(block.mask[number * block.mask_key_stride + (block.mask_per_query ? t : 0)], kHidden);
    block.scores[number * kAttentionQueries + t] = sum;
    largest = std::max(largest, sum);
  });
  return largest;
}

}  // namespace

void scalar_attend(const AttentionBlock& block) {
  for (int t = 0; t < block.queries; ++t) {
    const float largest = score(block, t);
    float total = 0.0f;
    each_key(block, [&](const KeySegment&, int64_t, int64_t number) {
      float& value = block.scores[number * kAttentionQueries + t];
      value = std::exp(value - largest);
      total += value;
    });
    for (int64_t f = 0; f < block.value_size; ++f) {
      float sum = 0.0f;
      each_key(block, [&](const KeySegment& segment, int64_t key, int64_t number) {
        sum += segment.v[f * segment.stride + key] * block.scores[number * kAttentionQueries + t];
      });
      block.out[f * kAttentionQueries + t] = sum / total;
    }
  }
}

}  // namespace platon
