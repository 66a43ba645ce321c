// AVX2 + FMA attention of one block of queries. Scores lie as [key][query]: the softmax needs no sum across lanes.
#include <type_traits>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include "avx2/begin.h"
#include "avx2/math.h"

namespace platon::avx2 {
namespace {

// Keys, or value features, whose sums fit in the registers beside kWidth groups of queries.
constexpr int tile_size(int width) { return width == 4 ? 3 : width == 3 ? 4 : 6; }

template <int kWidth>
constexpr int kRow = kWidth * kLanes;  // of queries, scores and results

template <int kRows, int kWidth>
using Sums = __m256[kRows][kWidth];

// add(h, p, held(h), passing(p)) for all pairs: the kHeld of one side stay in registers while the others pass.
template <int kHeld, int kPassing, class Held, class Passing, class Add>
inline void each_pair(const Held& held, const Passing& passing, const Add& add) {
  __m256 kept[kHeld];
#pragma GCC unroll 6
  for (int h = 0; h < kHeld; ++h) kept[h] = held(h);
#pragma GCC unroll 6
  for (int p = 0; p < kPassing; ++p) {
    const __m256 value = passing(p);
#pragma GCC unroll 6
    for (int h = 0; h < kHeld; ++h) add(h, p, kept[h], value);
  }
}

// sums[i][w] += left[i * left_row] * right[w] over `depth` steps, in which left and right move by their steps. The
// fewer are held, so that 12 sums leave registers enough; unrolled, because beside a busy neighbour on the same core
// every instruction counts.
template <int kRows, int kWidth>
inline void multiply_tile(const float* left, int64_t left_row, int64_t left_step, const float* right, int64_t depth,
                          Sums<kRows, kWidth>& sums) {
#pragma GCC unroll 4
  for (int64_t d = 0; d < depth; ++d, left += left_step, right += kRow<kWidth>) {
    const auto factor = [&](int i) { return _mm256_broadcast_ss(left + i * left_row); };
    const auto vector = [&](int w) { return _mm256_loadu_ps(right + w * kLanes); };
    const auto add = [&](int i, int w, __m256 f, __m256 v) { sums[i][w] = _mm256_fmadd_ps(f, v, sums[i][w]); };
    if constexpr (kRows < kWidth)
      each_pair<kRows, kWidth>(factor, vector, add);
    else
      each_pair<kWidth, kRows>(vector, factor, [&](int w, int i, __m256 v, __m256 f) { add(i, w, f, v); });
  }
}

template <int kRows, int kWidth>
inline void clear(Sums<kRows, kWidth>& sums) {
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int w = 0; w < kWidth; ++w) sums[i][w] = _mm256_setzero_ps();
}

constexpr float kLog2E = 1.44269504f;  // scores are kept times this, because powers of two are cheaper

enum class Mask { kNone, kPerKey, kPerQuery };

// Scores of kRows keys from `k` on, of which the first is number `key`; `largest` gets the maximum of each query.
template <int kRows, int kWidth, Mask kMask>
void score_tile(const AttentionBlock& block, const float* k, int64_t stride, int64_t key, __m256 largest[kWidth]) {
  Sums<kRows, kWidth> sums;
  clear<kRows, kWidth>(sums);
  multiply_tile<kRows, kWidth>(k, 1, stride, block.q, block.size, sums);
  const __m256 scale = _mm256_set1_ps(block.scale * kLog2E), to_log2 = _mm256_set1_ps(kLog2E);
  const int64_t place = key * kRow<kWidth>;
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = place + i * kRow<kWidth>;
    __m256 mask = _mm256_setzero_ps();
    if constexpr (kMask == Mask::kPerKey) mask = _mm256_mul_ps(_mm256_broadcast_ss(block.key_mask + key + i), to_log2);
#pragma GCC unroll 4
    for (int w = 0; w < kWidth; ++w) {
      if constexpr (kMask == Mask::kPerQuery)
        mask = _mm256_mul_ps(_mm256_loadu_ps(block.query_mask + row + w * kLanes), to_log2);
      const __m256 score =
          kMask == Mask::kNone ? _mm256_mul_ps(sums[i][w], scale) : _mm256_fmadd_ps(sums[i][w], scale, mask);
      largest[w] = _mm256_max_ps(score, largest[w]);
      _mm256_storeu_ps(block.scores + row + w * kLanes, score);
    }
  }
}

// Features [feature, feature + kRows) of the result.
template <int kRows, int kWidth>
void value_tile(const AttentionBlock& block, int64_t feature, const __m256 factor[kWidth]) {
  Sums<kRows, kWidth> sums;
  clear<kRows, kWidth>(sums);
  const float* scores = block.scores;
  for (int64_t i = 0; i < block.segment_count; ++i) {
    const KeySegment& segment = block.segments[i];
    multiply_tile<kRows, kWidth>(segment.v + feature * segment.stride, segment.stride, 1, scores, segment.count, sums);
    scores += segment.count * kRow<kWidth>;
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int w = 0; w < kWidth; ++w)
      _mm256_storeu_ps(block.out + (feature + i) * kRow<kWidth> + w * kLanes, _mm256_mul_ps(sums[i][w], factor[w]));
}

template <int kRows>
using Rows = std::integral_constant<int, kRows>;

// body(first, Rows) for what is left of full tiles, at most kRows of them.
template <int kRows, class Body>
inline void last_tile(int64_t first, int64_t left, const Body& body) {
  if constexpr (kRows > 0) {
    if (left == kRows) return body(first, Rows<kRows>());
    last_tile<kRows - 1>(first, left, body);
  }
}

// body(first, Rows) for full tiles of `count`, then once for what is left.
template <int kSize, class Body>
inline void each_tile(int64_t count, const Body& body) {
  int64_t first = 0;
  for (; first + kSize <= count; first += kSize) body(first, Rows<kSize>());
  last_tile<kSize - 1>(first, count - first, body);
}

template <int kWidth, Mask kMask>
void score(const AttentionBlock& block, __m256 largest[kWidth]) {
  int64_t first = 0;
  for (int64_t i = 0; i < block.segment_count; ++i) {
    const KeySegment& segment = block.segments[i];
    each_tile<tile_size(kWidth)>(segment.count, [&](int64_t key, auto rows) {
      score_tile<decltype(rows)::value, kWidth, kMask>(block, segment.k + key, segment.stride, first + key, largest);
    });
    first += segment.count;
  }
}

// Scores to 2^(score - largest); factor gets one over their sum.
template <int kWidth>
void exponentiate(const AttentionBlock& block, const __m256 largest[kWidth], __m256 factor[kWidth]) {
  __m256 total[kWidth];
#pragma GCC unroll 4
  for (int w = 0; w < kWidth; ++w) total[w] = _mm256_setzero_ps();
  int64_t keys = 0;
  for (int64_t i = 0; i < block.segment_count; ++i) keys += block.segments[i].count;
  float* scores = block.scores;
  for (int64_t key = 0; key < keys; ++key, scores += kRow<kWidth>)
#pragma GCC unroll 4
    for (int w = 0; w < kWidth; ++w) {
      const __m256 value = exp2_8(_mm256_sub_ps(_mm256_loadu_ps(scores + w * kLanes), largest[w]));
      total[w] = _mm256_add_ps(total[w], value);
      _mm256_storeu_ps(scores + w * kLanes, value);
    }
#pragma GCC unroll 4
  for (int w = 0; w < kWidth; ++w) factor[w] = _mm256_div_ps(_mm256_set1_ps(1.0f), total[w]);
}

template <int kWidth>
void attend_width(const AttentionBlock& block) {
  __m256 largest[kWidth], factor[kWidth];
#pragma GCC unroll 4
  for (int w = 0; w < kWidth; ++w) largest[w] = _mm256_set1_ps(-__builtin_inff());
  if (block.key_mask)
    score<kWidth, Mask::kPerKey>(block, largest);
  else if (block.query_mask)
    score<kWidth, Mask::kPerQuery>(block, largest);
  else
    score<kWidth, Mask::kNone>(block, largest);
  exponentiate<kWidth>(block, largest, factor);
  each_tile<tile_size(kWidth)>(block.value_size, [&](int64_t feature, auto rows) {
    value_tile<decltype(rows)::value, kWidth>(block, feature, factor);
  });
}

}  // namespace

void attend(const AttentionBlock& block) {
  switch (block.queries.width) {
    case 4:
      return attend_width<4>(block);
    case 3:
      return attend_width<3>(block);
    case 2:
      return attend_width<2>(block);
    default:
      return attend_width<1>(block);
  }
}

}  // namespace platon::avx2

#include "avx2/end.h"
#endif
