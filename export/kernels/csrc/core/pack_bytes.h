// 8-bit weights as the kernels want them: chunks and column blocks as in pack.h, each row's non-zeros of a block in
// steps of kDot.
#pragma once
#include <cstdint>
#include <vector>

#include "core/chunks.h"
#include "core/csr.h"
#include "core/kernels.h"

namespace platon {

class PackedBytes {
 public:
  PackedBytes(const CsrView& csr, const Chunks& chunks);  // of a validated quantized matrix

  int64_t bytes() const;
  const float* scales() const { return scales_.data(); }  // of each feature
  const int32_t* sums() const { return sums_.data(); }    // of each feature's weights

  // Calls visit(first_column, block) for each block of the chunk that holds anything, columns ascending. The first one
  // starts the sums and has one run for every feature.
  template <class Visit>
  void each_block(int64_t chunk, Visit&& visit) const {
    for (int64_t i = chunk_blocks_[chunk]; i < chunk_blocks_[chunk + 1]; ++i) {
      const BlockStart &start = blocks_[i], &end = blocks_[i + 1];
      visit(start.first_column, ByteBlock{i == chunk_blocks_[chunk], groups_.data() + start.group,
                                          static_cast<int>(end.group - start.group), features_.data() + start.run,
                                          steps_.data() + start.step});
    }
  }

 private:
  struct BlockStart {
    int64_t first_column, group, run, step;  // step: in bytes
  };
  // Non-zeros [begin, end) of one row in one column block.
  struct Run {
    int32_t begin, end;
    uint16_t feature;
    int steps() const { return (end - begin + kDot - 1) / kDot; }
  };
  void append_chunk(const CsrView& csr, int64_t first_row, int64_t end_row);
  void append_block(const CsrView& csr, int64_t first_column, std::vector<Run>& runs);
  void append_run(const CsrView& csr, int64_t first_column, const Run& run);
  void start_block(int64_t first_column);

  std::vector<int64_t> chunk_blocks_;
  std::vector<BlockStart> blocks_;
  std::vector<RunGroup> groups_;
  std::vector<uint16_t> features_;
  std::vector<uint8_t> steps_;
  std::vector<float> scales_;
  std::vector<int32_t> sums_;
};

}  // namespace platon
