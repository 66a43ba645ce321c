// Attention of one block of queries, kVectors vectors wide. Scores lie as [key][query]: the softmax needs no sum across
// lanes. They are kept times log2(e), because powers of two are cheaper. For inclusion behind a set's vector.h only.
#pragma once
#include "vectors/math.h"
#include "vectors/tiles.h"

namespace platon::PLATON_SET {
namespace {

// Keys, or value features, whose sums fit in the registers beside kVectors vectors of queries.
constexpr int tile_size(int vectors) {
  const int fit = kRegisters * 3 / 4 / vectors;
  return fit < 6 ? fit : 6;
}

template <int kVectors>
constexpr int kRow = kVectors * kVectorLanes;  // of queries, scores and results

template <int kRows, int kVectors>
using Sums = Vector[kRows][kVectors];

// add(h, p, held(h), passing(p)) for all pairs: the kHeld of one side stay in registers while the others pass.
template <int kHeld, int kPassing, class Held, class Passing, class Add>
inline void each_pair(const Held& held, const Passing& passing, const Add& add) {
  Vector kept[kHeld];
#pragma GCC unroll 8
  for (int h = 0; h < kHeld; ++h) kept[h] = held(h);
#pragma GCC unroll 8
  for (int p = 0; p < kPassing; ++p) {
    const Vector value = passing(p);
#pragma GCC unroll 8
    for (int h = 0; h < kHeld; ++h) add(h, p, kept[h], value);
  }
}

// sums[i][w] += left[i * left_row] * right[w] over `depth` steps, in which left and right move by their steps. The
// fewer are held, so that the sums leave registers enough; unrolled, because beside a busy neighbour on the same core
// every instruction counts.
template <int kRows, int kVectors>
inline void multiply_tile(const float* left, int64_t left_row, int64_t left_step, const float* right, int64_t depth,
                          Sums<kRows, kVectors>& sums) {
#pragma GCC unroll 4
  for (int64_t d = 0; d < depth; ++d, left += left_step, right += kRow<kVectors>) {
    const auto factor = [&](int i) { return all_of(left + i * left_row); };
    const auto vector = [&](int w) { return load(right + w * kVectorLanes); };
    const auto add = [&](int i, int w, Vector f, Vector v) { sums[i][w] = multiply_add(f, v, sums[i][w]); };
    if constexpr (kRows < kVectors)
      each_pair<kRows, kVectors>(factor, vector, add);
    else
      each_pair<kVectors, kRows>(vector, factor, [&](int w, int i, Vector v, Vector f) { add(i, w, f, v); });
  }
}

template <int kRows, int kVectors>
inline void clear(Sums<kRows, kVectors>& sums) {
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) sums[i][w] = all(0.0f);
}

enum class Mask { kNone, kPerKey, kPerQuery };

// Scores of kRows keys from `k` on, of which the first is number `key`; `largest` gets the maximum of each query.
template <int kRows, int kVectors, Mask kMask>
void score_tile(const AttentionBlock& block, const float* k, int64_t stride, int64_t key, Vector largest[kVectors]) {
  Sums<kRows, kVectors> sums;
  clear<kRows, kVectors>(sums);
  multiply_tile<kRows, kVectors>(k, 1, stride, block.q, block.size, sums);
  const Vector scale = all(block.scale * kLog2E), to_log2 = all(kLog2E);
  const int64_t place = key * kRow<kVectors>;
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = place + i * kRow<kVectors>;
    Vector mask = all(0.0f);
    if constexpr (kMask == Mask::kPerKey) mask = all_of(block.key_mask + key + i) * to_log2;
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) {
      if constexpr (kMask == Mask::kPerQuery) mask = load(block.query_mask + row + w * kVectorLanes) * to_log2;
      const Vector score = kMask == Mask::kNone ? sums[i][w] * scale : multiply_add(sums[i][w], scale, mask);
      largest[w] = larger(score, largest[w]);
      store(block.scores + row + w * kVectorLanes, score);
    }
  }
}

// Features [feature, feature + kRows) of the result.
template <int kRows, int kVectors>
void value_tile(const AttentionBlock& block, int64_t feature, const Vector factor[kVectors]) {
  Sums<kRows, kVectors> sums;
  clear<kRows, kVectors>(sums);
  const float* scores = block.scores;
  for (int64_t i = 0; i < block.segment_count; ++i) {
    const KeySegment& segment = block.segments[i];
    multiply_tile<kRows, kVectors>(segment.v + feature * segment.stride, segment.stride, 1, scores, segment.count,
                                   sums);
    scores += segment.count * kRow<kVectors>;
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w)
      store(block.out + (feature + i) * kRow<kVectors> + w * kVectorLanes, sums[i][w] * factor[w]);
}

template <int kVectors, Mask kMask>
void score(const AttentionBlock& block, Vector largest[kVectors]) {
  int64_t first = 0;
  for (int64_t i = 0; i < block.segment_count; ++i) {
    const KeySegment& segment = block.segments[i];
    each_tile<tile_size(kVectors)>(segment.count, [&](int64_t key, auto rows) {
      score_tile<decltype(rows)::value, kVectors, kMask>(block, segment.k + key, segment.stride, first + key, largest);
    });
    first += segment.count;
  }
}

// Scores to 2^(score - largest); factor gets one over their sum.
template <int kVectors>
void exponentiate(const AttentionBlock& block, const Vector largest[kVectors], Vector factor[kVectors]) {
  Vector total[kVectors];
#pragma GCC unroll 8
  for (int w = 0; w < kVectors; ++w) total[w] = all(0.0f);
  int64_t keys = 0;
  for (int64_t i = 0; i < block.segment_count; ++i) keys += block.segments[i].count;
  float* scores = block.scores;
  for (int64_t key = 0; key < keys; ++key, scores += kRow<kVectors>)
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) {
      const Vector value = exp2(load(scores + w * kVectorLanes) - largest[w]);
      total[w] = total[w] + value;
      store(scores + w * kVectorLanes, value);
    }
#pragma GCC unroll 8
  for (int w = 0; w < kVectors; ++w) factor[w] = all(1.0f) / total[w];
}

template <int kVectors>
void attend_vectors(const AttentionBlock& block) {
  Vector largest[kVectors], factor[kVectors];
#pragma GCC unroll 8
  for (int w = 0; w < kVectors; ++w) largest[w] = all(-__builtin_inff());
  if (block.key_mask)
    score<kVectors, Mask::kPerKey>(block, largest);
  else if (block.query_mask)
    score<kVectors, Mask::kPerQuery>(block, largest);
  else
    score<kVectors, Mask::kNone>(block, largest);
  exponentiate<kVectors>(block, largest, factor);
  each_tile<tile_size(kVectors)>(block.value_size, [&](int64_t feature, auto rows) {
    value_tile<decltype(rows)::value, kVectors>(block, feature, factor);
  });
}

// attend(Rows<kVectors>()) for the vectors that the block of queries is wide, without half ones.
template <class Attend>
inline void by_width(const Panel& queries, const Attend& attend) {
  constexpr int kMost = kAttentionWidth * kLanes / kVectorLanes / kGroupVectors;
  last_tile<kMost>(0, queries.stride() / kVectorLanes / kGroupVectors,
                   [&](int64_t, auto groups) { attend(Rows<decltype(groups)::value * kGroupVectors>()); });
}

inline void attend_in(const AttentionBlock& block) {
  by_width(block.queries, [&](auto vectors) { attend_vectors<decltype(vectors)::value>(block); });
}

}  // namespace
}  // namespace platon::PLATON_SET
