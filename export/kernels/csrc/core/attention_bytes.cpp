// Attention whose two products are of 8-bit numbers. Every token of a head has its own scales, so that nothing depends
// on what other sequences or hidden tokens hold.
#include <cmath>
#include <limits>

#include "core/heads.h"

namespace platon {
namespace {

constexpr float kLeastScale = 1e-30f;  // has an inverse

// How up to kLineBytes rows of one head become numbers from -most to most. Rows that are not finite have the scale NaN.
struct HeadScales {
  float scale[kLineBytes], inverse[kLineBytes];
};

HeadScales head_scales(const Kernels& kernels, const float* x, int64_t stride, int64_t features, int rows, int most) {
  RowRanges ranges;
  kernels.measure_rows(x, stride, features, {rows, (rows + kLanes - 1) / kLanes}, ranges);
  HeadScales scales;
  for (int row = 0; row < kLineBytes; ++row) {
    const bool finite = ranges.poison[row] == 0.0f;
    const float largest = std::max(-ranges.low[row], ranges.high[row]);
    const float scale = std::max(largest / static_cast<float>(most), kLeastScale);
    scales.scale[row] = finite ? scale : std::numeric_limits<float>::quiet_NaN();
    scales.inverse[row] = finite ? 1.0f / scale : 0.0f;
  }
  return scales;
}

// Consecutive pieces of one buffer.
class Pieces {
 public:
  explicit Pieces(float* data) : data_(data) {}
  template <class Number = float>
  Number* take(int64_t words) {
    float* const piece = data_;
    data_ += words;
    return reinterpret_cast<Number*>(piece);
  }

 private:
  float* data_;
};

// Keys and values of one head as bytes.
class ByteKeys {
 public:
  ByteKeys(const AttentionCall& call, const Sequence& sequence, int64_t head, const HeadMask& mask)
      : length_(sequence.length),
        stride_((length_ + kByteBehind) / (kByteBehind + 1) * (kByteBehind + 1) + kByteBehind + 1),
        memory_(static_cast<size_t>(stride_ * (quads(call.data.k.size) + quads(call.data.v.size) + 4))) {
    Pieces pieces(memory_.data());
    k_ = pieces.take<int8_t>(stride_ * quads(call.data.k.size));
    v_ = pieces.take<int8_t>(stride_ * quads(call.data.v.size));
    starts_ = pieces.take<int32_t>(stride_);
    k_scale_ = pieces.take(stride_);
    v_inverse_ = pieces.take(stride_);
    add_ = pieces.take(stride_);
    const Keys keys(call, sequence, head);
    int64_t first = 0;
    for (const KeySegment* segment = keys.data(); segment < keys.data() + keys.count(); ++segment) {
      read_keys(call, *segment, first);
      read_values(call, *segment, first, mask);
      first += segment->count;
    }
  }

  void give(ByteAttentionBlock& block) const {
    block.keys = length_, block.key_stride = stride_;
    block.k = k_, block.v = v_, block.k_start = starts_;
    block.k_scale = k_scale_, block.v_inverse = v_inverse_, block.key_add = add_;
  }

 private:
  void read_keys(const AttentionCall& call, const KeySegment& segment, int64_t first) {
    const int rows = static_cast<int>(segment.count);
    const int64_t size = call.data.k.size;
    const HeadScales scales = head_scales(call.kernels, segment.k, segment.stride, size, rows, kMostKey);
    int32_t sums[kLineBytes + kByteBehind];
    call.kernels.quantize_quads(segment.k, segment.stride, size, rows, scales.inverse, 0,
                                reinterpret_cast<uint8_t*>(k_) + first * kDot, stride_, sums);
    for (int row = 0; row < rows; ++row) {
      const bool finite = scales.scale[row] == scales.scale[row];
      starts_[first + row] = finite ? -kQueryZero * sums[row] : 0;
      k_scale_[first + row] = scales.scale[row];
    }
  }

  void read_values(const AttentionCall& call, const KeySegment& segment, int64_t first, const HeadMask& mask) {
    const int rows = static_cast<int>(segment.count);
    const int64_t size = call.data.v.size;
    const HeadScales scales = head_scales(call.kernels, segment.v, segment.stride, size, rows, kMostKey);
    call.kernels.quantize_columns(segment.v, segment.stride, size, rows, scales.inverse, v_ + first, stride_);
    for (int row = 0; row < rows; ++row) {
      v_inverse_[first + row] = 1.0f / scales.scale[row];
      add_[first + row] = mask.of_key(first + row) * kLog2E + std::log2(scales.scale[row]);
    }
  }

  const int64_t length_, stride_;
  const Scratch memory_;
  int8_t *k_, *v_;
  int32_t* starts_;
  float *k_scale_, *v_inverse_, *add_;
};

// Blocks of queries of one head, one after the other.
class ByteBlocks {
 public:
  ByteBlocks(const AttentionCall& call, const Sequence& sequence, int64_t head, const HeadMask& mask)
      : call_(call),
        sequence_(sequence),
        head_(head),
        mask_(mask),
        memory_(static_cast<size_t>(kQueries * words(call.data, sequence.length, mask.per_query()))) {
    const int64_t size = call.data.q.size, keys = sequence.length;
    Pieces pieces(memory_.data());
    q_ = pieces.take(kQueries * size);
    bytes_ = pieces.take<uint8_t>(kQueries * quads(size));
    scores_ = pieces.take(kQueries * keys);
    weights_ = pieces.take<uint8_t>(kQueries * quads(keys));
    results_ = pieces.take(kQueries * call.data.v.size);
    packed_mask_ = mask.per_query() ? pieces.take(kQueries * keys) : nullptr;
  }

  void run(const Part& part, const ByteKeys& keys) {
    const int64_t size = call_.data.q.size;
    const Panel queries = own_panel(part);
    read_queries(call_, part, head_, q_);
    HeadScales scales = head_scales(call_.kernels, q_, queries.stride(), size, queries.rows, kMostQuery);
    call_.kernels.quantize_quads(q_, queries.stride(), size, queries.stride(), scales.inverse, kQueryZero, bytes_,
                                 queries.stride(), nullptr);
    for (int row = 0; row < queries.stride(); ++row) scales.scale[row] *= call_.spec.scale * kLog2E;
    if (packed_mask_) mask_.pack(call_, part, sequence_.start, sequence_.length, packed_mask_);
    ByteAttentionBlock block{};
    keys.give(block);
    block.queries = queries;
    block.size = size, block.value_size = call_.data.v.size;
    block.q = bytes_, block.q_scale = scales.scale, block.query_mask = packed_mask_;
    block.scores = scores_, block.weights = weights_, block.out = results_;
    call_.kernels.attend_bytes(block);
    write_results(call_, part, head_, results_);
  }

 private:
  static int64_t words(const AttentionData& data, int64_t keys, bool per_query) {
    return data.q.size + quads(data.q.size) + keys + quads(keys) + data.v.size + (per_query ? keys : 0);
  }

  const AttentionCall& call_;
  const Sequence& sequence_;
  const int64_t head_;
  const HeadMask& mask_;
  const Scratch memory_;
  float *q_, *scores_, *results_, *packed_mask_;
  uint8_t *bytes_, *weights_;
};

}  // namespace

void attend_bytes(const AttentionCall& call, size_t number, int64_t head) {
  const Sequence& sequence = call.sequences[number];
  const HeadMask mask(call, number, head);
  const ByteKeys keys(call, sequence, head, mask);
  ByteBlocks blocks(call, sequence, head, mask);
  each_block(call, sequence, [&](const Part& part) { blocks.run(part, keys); });
}

}  // namespace platon
