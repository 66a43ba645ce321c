#include "core/runs.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace platon {
namespace {

// Modelled costs in eighths of a cycle (Zen 3, a panel of 64), of what lies in one cell.
constexpr int kSingleCost = 47, kQuadCost = 37;  // of a non-zero
constexpr int kSingleRunCost = 160;              // of two runs: kBlockColumns are half of a quad's
constexpr int kQuadRunCost = 640;                // doubled: columns complete by chance must not make quads

// Whether complete columns are faster as a quad; lengths of the rows, those columns included.
bool quad_pays(const int (&lengths)[kQuad], int complete) {
  int saved = complete * kQuad * (kSingleCost - kQuadCost) - kQuadRunCost;
  for (const int length : lengths)
    if (length == complete) saved += kSingleRunCost;
  return complete > 0 && saved > 0;
}

}  // namespace

void ChunkRuns::collect(int64_t first_row, int64_t end_row) {
  runs_.clear();
  indices_.clear();
  for (int64_t row = first_row; row < end_row;) {
    const int count = row % kQuad == 0 && row + kQuad <= end_row ? kQuad : 1;
    collect_rows(row, count, row - first_row);
    row += count;
  }
  start_rows(static_cast<int>(end_row - first_row));
  std::sort(runs_.begin(), runs_.end(), [](const Run& a, const Run& b) {
    return std::tie(a.first_column, a.kind, a.length, a.feature) <
           std::tie(b.first_column, b.kind, b.length, b.feature);
  });
}

void ChunkRuns::collect_rows(int64_t row, int count, int64_t row_in_chunk) {
  Cell cell{0, row_in_chunk, count, {}, {}};
  std::copy_n(csr_.row_starts + row, count, cell.end);
  while (next_cell(csr_.row_starts + row + 1, cell)) add_cell(cell);
}

// From the end of the cell before to the next one that holds anything; false: there is none.
bool ChunkRuns::next_cell(const int32_t* row_ends, Cell& cell) const {
  int64_t column = std::numeric_limits<int64_t>::max();
  for (int r = 0; r < cell.count; ++r) {
    cell.begin[r] = cell.end[r];
    if (cell.begin[r] < row_ends[r]) column = std::min(column, csr_.column(cell.begin[r]));
  }
  if (column == std::numeric_limits<int64_t>::max()) return false;
  cell.first_column = column / kQuadBlockColumns * kQuadBlockColumns;
  const int64_t limit = cell.first_column + kQuadBlockColumns;
  for (int r = 0; r < cell.count; ++r)
    while (cell.end[r] < row_ends[r] && csr_.column(cell.end[r]) < limit) ++cell.end[r];
  return true;
}

void ChunkRuns::add_cell(const Cell& cell) {
  uint8_t held[kMaxBlockColumns] = {};
  const int complete = cell.count == kQuad ? mark_complete(cell, held) : 0;
  if (complete > 0) add_quad(cell, held, complete);
  for (int r = 0; r < cell.count; ++r)
    if (complete > 0)
      add_singles(cell, r, [&](int32_t i) { return held[offset(cell, i)] < kQuad; });
    else
      add_singles(cell, r, [](int32_t) { return true; });
}

// How many rows hold each column; returns the number of columns that all hold, 0 where a quad does not pay.
int ChunkRuns::mark_complete(const Cell& cell, uint8_t* held) const {
  int lengths[kQuad], complete = 0;
  for (int r = 0; r < kQuad; ++r) {
    lengths[r] = cell.end[r] - cell.begin[r];
    for (int32_t i = cell.begin[r]; i < cell.end[r]; ++i) complete += ++held[offset(cell, i)] == kQuad;
  }
  return quad_pays(lengths, complete) ? complete : 0;
}

void ChunkRuns::add_quad(const Cell& cell, const uint8_t* held, int complete) {
  const size_t first = indices_.size();
  runs_.push_back({static_cast<int32_t>(cell.first_column), RunKind::kQuad, false, static_cast<uint16_t>(complete),
                   static_cast<uint16_t>(cell.row), static_cast<int64_t>(first)});
  indices_.resize(first + static_cast<size_t>(complete) * kQuad);
  for (int r = 0; r < kQuad; ++r) {
    int32_t* next = indices_.data() + first + r;
    for (int32_t i = cell.begin[r]; i < cell.end[r]; ++i)
      if (held[offset(cell, i)] == kQuad) {
        *next = i;
        next += kQuad;
      }
  }
}

template <class Keep>
void ChunkRuns::add_singles(const Cell& cell, int r, const Keep& keep) {
  int32_t i = cell.begin[r];
  for (int64_t column = cell.first_column; i < cell.end[r]; column += kBlockColumns) {
    const size_t first = indices_.size();
    for (; i < cell.end[r] && csr_.column(i) < column + kBlockColumns; ++i)
      if (keep(i)) indices_.push_back(i);
    const size_t length = indices_.size() - first;
    if (length > 0)
      runs_.push_back({static_cast<int32_t>(column), RunKind::kSingle, false, static_cast<uint16_t>(length),
                       static_cast<uint16_t>(cell.row + r), static_cast<int64_t>(first)});
  }
}

// The chunk's first block starts every sum, once: single runs do, then quads of rows without single runs there. Rows
// that have neither get an empty run.
void ChunkRuns::start_rows(int rows) {
  int32_t first = runs_.empty() ? 0 : runs_[0].first_column;
  for (const Run& run : runs_) first = std::min(first, run.first_column);
  std::vector<bool> started(rows);
  for (Run& run : runs_)
    if (run.first_column == first && run.kind == RunKind::kSingle) started[run.feature] = run.starts = true;
  for (Run& run : runs_) {
    if (run.first_column != first || run.kind == RunKind::kSingle) continue;
    const auto begin = started.begin() + run.feature;
    if (std::find(begin, begin + kQuad, true) != begin + kQuad) continue;
    run.kind = RunKind::kStartingQuad;
    run.starts = true;
    std::fill(begin, begin + kQuad, true);
  }
  for (int row = 0; row < rows; ++row)
    if (!started[row]) runs_.push_back({first, RunKind::kSingle, true, 0, static_cast<uint16_t>(row), 0});
}

}  // namespace platon
