// Weights as the kernels want them: cut into chunks of features, the rows of W (the unit of parallel work, balanced by
// non-zeros) and column blocks (so that a block of a panel stays in the first-level cache), runs of one length side by
// side. Where four rows hold the same columns, they share a run (runs.h).
#pragma once
#include <cstdint>
#include <vector>

#include "core/csr.h"
#include "core/kernels.h"
#include "core/runs.h"

namespace platon {

class PackedWeights {
 public:
  explicit PackedWeights(const CsrView& csr);  // validates first

  int64_t in_features() const { return in_features_; }
  int64_t out_features() const { return out_features_; }
  int64_t nnz() const { return blocks_.back().value; }
  int64_t bytes() const;

  int64_t chunk_count() const { return static_cast<int64_t>(chunk_rows_.size()) - 1; }
  int64_t first_feature(int64_t chunk) const { return chunk_rows_[chunk]; }
  int64_t features(int64_t chunk) const { return chunk_rows_[chunk + 1] - chunk_rows_[chunk]; }

  // Calls visit(first_column, block) for each block of the chunk that holds anything, columns ascending. The blocks
  // that start sums come first and have one run for every feature.
  template <class Visit>
  void each_block(int64_t chunk, Visit&& visit) const {
    for (int64_t i = chunk_blocks_[chunk]; i < chunk_blocks_[chunk + 1]; ++i) {
      const BlockStart &start = blocks_[i], &end = blocks_[i + 1];
      visit(start.first_column, Block{start.run_features, start.starts, groups_.data() + start.group,
                                      static_cast<int>(end.group - start.group), features_.data() + start.run,
                                      offsets_.data() + start.offset, values_.data() + start.value});
    }
  }

 private:
  struct BlockStart {
    int64_t first_column, group, run, offset, value;
    int run_features;
    bool starts;
  };
  void cut_chunks(const CsrView& csr);
  void append(const CsrView& csr, const ChunkRuns& chunk);
  void append_run(const CsrView& csr, const ChunkRuns& chunk, const Run& run);
  void start_block(int64_t first_column, int run_features, bool starts);

  int64_t in_features_ = 0, out_features_ = 0;
  std::vector<int64_t> chunk_rows_, chunk_blocks_;
  std::vector<BlockStart> blocks_;
  std::vector<RunGroup> groups_;
  std::vector<uint16_t> features_;
  std::vector<uint8_t> offsets_;
  std::vector<float> values_;
};

}  // namespace platon
