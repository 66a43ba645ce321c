// Weights as the kernels want them: cut into chunks of features, the rows of W (the unit of parallel work, balanced by
// non-zeros) and column blocks (so that a block of a panel stays in the first-level cache), runs of one length side by
// side. Where four rows hold the same columns, they share a run (runs.h).
#pragma once
#include <cstdint>
#include <vector>

#include "core/chunks.h"
#include "core/csr.h"
#include "core/kernels.h"
#include "core/runs.h"

namespace platon {

class PackedWeights {
 public:
  PackedWeights(const CsrView& csr, const Chunks& chunks);  // of a validated matrix

  int64_t bytes() const;

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
  void append(const CsrView& csr, const ChunkRuns& chunk);
  void append_run(const CsrView& csr, const ChunkRuns& chunk, const Run& run);
  void start_block(int64_t first_column, int run_features, bool starts);

  std::vector<int64_t> chunk_blocks_;
  std::vector<BlockStart> blocks_;
  std::vector<RunGroup> groups_;
  std::vector<uint16_t> features_;
  std::vector<uint8_t> offsets_;
  std::vector<float> values_;
};

}  // namespace platon
