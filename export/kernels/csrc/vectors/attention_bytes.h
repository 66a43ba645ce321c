// Attention of one block of queries in bytes, kVectors vectors wide; everything lies as in vectors/attention.h. For
// inclusion behind a set's vector.h only.
#pragma once
#include "vectors/attention.h"

namespace platon::PLATON_SET {
namespace {

// Keys, or value features, whose sums fit in the registers beside kVectors vectors of bytes.
constexpr int byte_tile_size(int vectors) {
  const int fit = (kRegisters - kDotRegisters - vectors) / vectors, most = kRegisters > 16 ? 6 : 4;
  return fit < most ? fit : most;
}

template <int kRows, int kVectors>
using Counts = Numbers[kRows][kVectors];

// The first kCount bytes of each number, from 0 to 255, as the products want them.
template <int kCount>
inline Numbers without_zero(Numbers bytes) {
  if constexpr (kByteZero == 0) return bytes;
  return differing(bytes, all_numbers(static_cast<int>(0x80808080u >> (32 - 8 * kCount))));
}
static_assert(kByteZero == 0 || kByteZero == 128);

// The lowest byte of each number moved to place kPlace, zeros around it.
template <int kPlace>
inline Numbers low_byte_at(Numbers v) {
  if constexpr (kPlace == 3) return shifted<24>(v);
  return shifted<8 * kPlace>(both(v, all_numbers(255)));
}

// sums[i][w] += the quads of left + i * left_row times those of right[w], `depth` of them.
template <int kRows, int kVectors>
inline void multiply_quads(const int8_t* left, int64_t left_row, int64_t left_step, const uint8_t* right, int64_t depth,
                           Counts<kRows, kVectors>& sums) {
#pragma GCC unroll 2
  for (int64_t d = 0; d < depth; ++d, left += left_step, right += kRow<kVectors> * kDot) {
    Numbers held[kVectors];
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) held[w] = load_numbers(right + w * kVectorLanes * kDot);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const auto four = four_bytes(left + i * left_row);
#pragma GCC unroll 8
      for (int w = 0; w < kVectors; ++w) add_dot(sums[i][w], held[w], four);
      keep_loads_behind();
    }
  }
}

// Scores of kRows keys from number `key` on; `largest` gets the maximum of each query.
template <int kRows, int kVectors, bool kMasked>
void score_bytes(const ByteAttentionBlock& block, int64_t key, const Vector q_scale[kVectors],
                 Vector largest[kVectors]) {
  Counts<kRows, kVectors> sums;
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) sums[i][w] = all_numbers(kByteZero == kQueryZero ? 0 : block.k_start[key + i]);
  multiply_quads<kRows, kVectors>(block.k + key * kDot, kDot, block.key_stride * kDot, block.q, quads(block.size),
                                  sums);
  const Vector to_log2 = all(kLog2E);
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = (key + i) * kRow<kVectors>;
    const Vector k_scale = all_of(block.k_scale + key + i);
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) {
      Vector added = all_of(block.key_add + key + i);
      if constexpr (kMasked) added = multiply_add(load(block.query_mask + row + w * kVectorLanes), to_log2, added);
      const Vector score = multiply_add(floats_of(sums[i][w]) * q_scale[w], k_scale, added);
      largest[w] = larger(score, largest[w]);
      store(block.scores + row + w * kVectorLanes, score);
    }
  }
}

// The quad of weights that begins with number `key`, of which kRows exist.
template <int kRows, int kVectors>
inline void weigh_quad(const ByteAttentionBlock& block, int64_t key, const Vector largest[kVectors],
                       Vector total[kVectors]) {
  Numbers words[kVectors];
#pragma GCC unroll 8
  for (int w = 0; w < kVectors; ++w) words[w] = all_numbers(0);
  const auto add = [&](auto place) {
    constexpr int kPlace = decltype(place)::value;
    const float* scores = block.scores + (key + kPlace) * kRow<kVectors>;
    const Vector v_inverse = all_of(block.v_inverse + key + kPlace);
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) {
      const Vector value = exp2(load(scores + w * kVectorLanes) - largest[w]);
      total[w] = multiply_add(value, v_inverse, total[w]);
      words[w] = either(words[w], low_byte_at<kPlace>(rounded(value * all(kMostWeight))));
    }
  };
  add(Rows<0>());
  if constexpr (kRows > 1) add(Rows<1>());
  if constexpr (kRows > 2) add(Rows<2>());
  if constexpr (kRows > 3) add(Rows<3>());
  uint8_t* weights = block.weights + key * kRow<kVectors>;
#pragma GCC unroll 8
  for (int w = 0; w < kVectors; ++w) store_numbers(weights + w * kVectorLanes * kDot, without_zero<kRows>(words[w]));
}

// What the sums of a feature lack because kByteZero is taken off every weight.
inline int32_t zero_sum(const int8_t* v, int64_t keys) {
  if constexpr (kByteZero == 0) return 0;
  int32_t sum = 0;
  for (int64_t key = 0; key < keys; ++key) sum += v[key];
  return kByteZero * sum;
}

// Features [feature, feature + kRows) of the result.
template <int kRows, int kVectors>
void value_bytes(const ByteAttentionBlock& block, int64_t feature, const Vector factor[kVectors]) {
  Counts<kRows, kVectors> sums;
  const int8_t* v = block.v + feature * block.key_stride;
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    const Numbers start = all_numbers(zero_sum(v + i * block.key_stride, block.keys));
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) sums[i][w] = start;
  }
  multiply_quads<kRows, kVectors>(v, block.key_stride, kDot, block.weights, quads(block.keys), sums);
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w)
      store(block.out + (feature + i) * kRow<kVectors> + w * kVectorLanes, floats_of(sums[i][w]) * factor[w]);
}

template <int kVectors>
void attend_byte_vectors(const ByteAttentionBlock& block) {
  Vector q_scale[kVectors], largest[kVectors], total[kVectors];
  for (int w = 0; w < kVectors; ++w) {
    q_scale[w] = load(block.q_scale + w * kVectorLanes);
    largest[w] = all(-__builtin_inff());
    total[w] = all(0.0f);
  }
  each_tile<byte_tile_size(kVectors)>(block.keys, [&](int64_t key, auto rows) {
    constexpr int kRows = decltype(rows)::value;
    if (block.query_mask)
      score_bytes<kRows, kVectors, true>(block, key, q_scale, largest);
    else
      score_bytes<kRows, kVectors, false>(block, key, q_scale, largest);
  });
  each_tile<kDot>(block.keys, [&](int64_t key, auto rows) {
    weigh_quad<decltype(rows)::value, kVectors>(block, key, largest, total);
  });
  for (int w = 0; w < kVectors; ++w) total[w] = all(1.0f) / (total[w] * all(kMostWeight));
  each_tile<byte_tile_size(kVectors)>(block.value_size, [&](int64_t feature, auto rows) {
    value_bytes<decltype(rows)::value, kVectors>(block, feature, total);
  });
}

inline void attend_bytes_in(const ByteAttentionBlock& block) {
  by_width(block.queries, [&](auto vectors) { attend_byte_vectors<decltype(vectors)::value>(block); });
}

inline void quantize_quads_in(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse,
                              int zero, uint8_t* out, int64_t out_stride, int32_t* sums) {
  for (int row = 0; row < rows; row += kVectorLanes) {
    const Lanes lanes = first_lanes(rows - row);
    const Vector factor = load(inverse + row, lanes);
    const Numbers offset = all_numbers(zero ? zero - kByteZero : 0);
    Numbers sum = all_numbers(0);
    for (int64_t first = 0; first < features; first += kDot) {
      const auto number = [&](int64_t f) {
        const Numbers n = f < features ? rounded(load(x + f * x_stride + row, lanes) * factor) : all_numbers(0);
        sum = plus(sum, n);
        return plus(n, offset);
      };
      const Numbers n0 = number(first), n1 = number(first + 1), n2 = number(first + 2), n3 = number(first + 3);
      const Numbers word =
          either(either(low_byte_at<0>(n0), low_byte_at<1>(n1)), either(low_byte_at<2>(n2), low_byte_at<3>(n3)));
      uint8_t* const place = out + (first / kDot * out_stride + row) * kDot;
      if (rows - row >= kVectorLanes)
        store_numbers(place, word);
      else
        store_numbers(reinterpret_cast<int*>(place), lanes, word);
    }
    if (sums) store_numbers(sums + row, sum);
  }
}

inline void quantize_columns_in(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse,
                                int8_t* out, int64_t out_stride) {
  for (int row = 0; row < rows; row += kVectorLanes) {
    const Lanes lanes = first_lanes(rows - row);
    const Vector factor = load(inverse + row, lanes);
    for (int64_t f = 0; f < features; ++f)
      store_bytes(out + f * out_stride + row, rounded(load(x + f * x_stride + row, lanes) * factor));
  }
}

}  // namespace
}  // namespace platon::PLATON_SET
