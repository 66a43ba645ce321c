// The runs of a chunk of rows of W (features, in the kernels' words): which non-zeros the kernels take together. Four
// rows that share columns (4x1 blocks) become quads of whole blocks; what is left of them stays single, so nothing is
// computed that the weights do not hold.
#pragma once
#include <cstdint>
#include <vector>

#include "core/csr.h"
#include "core/kernels.h"

namespace platon {

constexpr int kBlockColumns = 128;      // x 256 bytes per column of the widest panel = a first-level cache
constexpr int kQuadBlockColumns = 256;  // four rows share each load, so that longer runs win more than the cache does
static_assert(kQuadBlockColumns % kBlockColumns == 0 && kQuadBlockColumns <= kMaxBlockColumns);

// In the order in which a column block is multiplied.
enum class RunKind : uint8_t { kSingle, kStartingQuad, kQuad };

// Non-zeros of one row, or of kQuad rows in the same columns, in one column block.
struct Run {
  int32_t first_column;  // of the block
  RunKind kind;
  bool starts;               // this run starts the sums of its rows: those of the chunk's first block, once per row
  uint16_t length, feature;  // columns; (first) row inside the chunk
  int64_t first;             // into ChunkRuns::indices()

  int features() const { return kind == RunKind::kSingle ? 1 : kQuad; }
};

class ChunkRuns {
 public:
  explicit ChunkRuns(const CsrView& csr) : csr_(csr) {}

  // The runs of rows [first_row, end_row) of a validated matrix, sorted by block, kind, length and row, instead of
  // those of the chunk before.
  void collect(int64_t first_row, int64_t end_row);

  const std::vector<Run>& runs() const { return runs_; }
  // Non-zeros of the matrix, [column of a run][Run::features()], run by run in no order.
  const std::vector<int32_t>& indices() const { return indices_; }

 private:
  // The non-zeros [begin[r], end[r]) of `count` neighbouring rows in one block of kQuadBlockColumns.
  struct Cell {
    int64_t first_column;
    int64_t row;  // inside the chunk
    int count;
    int32_t begin[kQuad], end[kQuad];
  };
  void collect_rows(int64_t row, int count, int64_t row_in_chunk);
  bool next_cell(const int32_t* row_ends, Cell& cell) const;
  void add_cell(const Cell& cell);
  int mark_complete(const Cell& cell, uint8_t* held) const;
  void add_quad(const Cell& cell, const uint8_t* held, int complete);
  template <class Keep>
  void add_singles(const Cell& cell, int r, const Keep& keep);
  void start_rows(int rows);
  int offset(const Cell& cell, int32_t i) const { return static_cast<int>(csr_.column(i) - cell.first_column); }

  const CsrView& csr_;
  std::vector<Run> runs_;
  std::vector<int32_t> indices_;
};

}  // namespace platon
