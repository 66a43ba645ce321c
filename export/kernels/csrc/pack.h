// Weights as the kernels want them: cut into row chunks (the unit of parallel work, balanced by non-zeros) and
// column blocks (so that a block of a panel stays in the first-level cache), runs of one length side by side.
#pragma once
#include <cstdint>
#include <vector>

#include "csr.h"
#include "kernels.h"

namespace platon {

class PackedWeights {
 public:
  explicit PackedWeights(const CsrView& csr);  // validates first

  int64_t in_features() const { return in_features_; }
  int64_t out_features() const { return out_features_; }
  int64_t nnz() const { return static_cast<int64_t>(values_.size()); }
  int64_t bytes() const;

  int64_t chunk_count() const { return static_cast<int64_t>(chunk_rows_.size()) - 1; }
  int64_t first_row(int64_t chunk) const { return chunk_rows_[chunk]; }
  int rows(int64_t chunk) const { return static_cast<int>(chunk_rows_[chunk + 1] - chunk_rows_[chunk]); }

  // Calls visit(first_column, block, first) for each block of the chunk that holds anything, columns ascending.
  // The first one, which always exists, has a run for every row.
  template <class Visit>
  void each_block(int64_t chunk, Visit&& visit) const {
    for (int64_t i = chunk_blocks_[chunk]; i < chunk_blocks_[chunk + 1]; ++i) {
      const BlockStart &start = blocks_[i], &end = blocks_[i + 1];
      visit(start.first_column, Block{groups_.data() + start.group, static_cast<int>(end.group - start.group),
                                      rows_.data() + start.run, offsets_.data() + start.nonzero,
                                      values_.data() + start.nonzero},
            i == chunk_blocks_[chunk]);
    }
  }

 private:
  struct BlockStart {
    int64_t first_column, group, run, nonzero;
  };
  struct Run {
    int32_t block;
    uint16_t length, row;
    int32_t start;
  };
  void cut_chunks(const CsrView& csr);
  void collect_runs(const CsrView& csr, int64_t chunk, std::vector<Run>& runs) const;
  static void add_empty_runs(int rows, std::vector<Run>& runs);
  void append_runs(const CsrView& csr, const std::vector<Run>& runs);

  int64_t in_features_ = 0, out_features_ = 0;
  int block_columns_ = 0;
  std::vector<int64_t> chunk_rows_, chunk_blocks_;
  std::vector<BlockStart> blocks_;
  std::vector<RunGroup> groups_;
  std::vector<uint16_t> rows_;
  std::vector<uint8_t> offsets_;
  std::vector<float> values_;
};

}  // namespace platon
