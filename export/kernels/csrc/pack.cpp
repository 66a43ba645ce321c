#include "pack.h"

#include <algorithm>
#include <thread>
#include <tuple>

namespace platon {
namespace {

constexpr int kBlockColumns = 128;      // x 256 bytes per column of the widest panel = a first-level cache
constexpr int64_t kMaxChunkRows = 384;  // x 256 bytes of accumulators = 96 KiB of the second-level cache
constexpr int64_t kRowLimit = 512;      // where rows are uneven
constexpr int64_t kMinChunkRows = 96;   // fewer rows make each length's runs too few: 17 % slower at 90 % zeros
constexpr int64_t kRowCost = 4;         // a row costs about as much as this many non-zeros beside its own

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// As few chunks as the cache allows, but one for each core even where a call has a single panel.
int64_t chunk_target(int64_t rows) {
  const int64_t cores = std::thread::hardware_concurrency();
  return std::max(divide_up(rows, kMaxChunkRows), std::min(cores, divide_up(rows, kMinChunkRows)));
}

}  // namespace

PackedWeights::PackedWeights(const CsrView& csr) {
  validate(csr);
  in_features_ = csr.in_features;
  out_features_ = csr.out_features;
  block_columns_ = kBlockColumns;
  cut_chunks(csr);
  values_.reserve(csr.value_count);
  offsets_.reserve(csr.value_count);
  std::vector<Run> runs;
  chunk_blocks_.push_back(0);
  for (int64_t chunk = 0; chunk < chunk_count(); ++chunk) {
    collect_runs(csr, chunk, runs);
    append_runs(csr, runs);
    chunk_blocks_.push_back(static_cast<int64_t>(blocks_.size()));
  }
  blocks_.push_back({0, static_cast<int64_t>(groups_.size()), static_cast<int64_t>(rows_.size()), nnz()});
}

int64_t PackedWeights::bytes() const {
  return static_cast<int64_t>(chunk_rows_.size() * sizeof(int64_t) + chunk_blocks_.size() * sizeof(int64_t) +
                              blocks_.size() * sizeof(BlockStart) + groups_.size() * sizeof(RunGroup) +
                              rows_.size() * sizeof(uint16_t) + offsets_.size() + values_.size() * sizeof(float));
}

// Chunks of about equal cost, so that threads finish together even when rows are very uneven.
void PackedWeights::cut_chunks(const CsrView& csr) {
  const int64_t total = csr.value_count + kRowCost * out_features_;
  const int64_t target = divide_up(total, chunk_target(out_features_));
  chunk_rows_.push_back(0);
  int64_t cost = 0;
  for (int64_t row = 0; row < out_features_; ++row) {
    cost += csr.row_starts[row + 1] - csr.row_starts[row] + kRowCost;
    const int64_t rows = row + 1 - chunk_rows_.back();
    const bool aligned = rows % 8 == 0 || cost >= 2 * target;
    if (row + 1 == out_features_ || rows == kRowLimit || (cost >= target && aligned)) {
      chunk_rows_.push_back(row + 1);
      cost = 0;
    }
  }
}

// Rows without a run in the chunk's first block get an empty one, because that block starts every sum.
void PackedWeights::add_empty_runs(int rows, std::vector<Run>& runs) {
  int32_t first = runs.empty() ? 0 : runs[0].block;
  for (const Run& run : runs) first = std::min(first, run.block);
  std::vector<bool> present(rows);
  for (const Run& run : runs)
    if (run.block == first) present[run.row] = true;
  for (int row = 0; row < rows; ++row)
    if (!present[row]) runs.push_back({first, 0, static_cast<uint16_t>(row), 0});
}

// The chunk's runs (the non-zeros of one row in one column block), sorted by block, then length, then row.
void PackedWeights::collect_runs(const CsrView& csr, int64_t chunk, std::vector<Run>& runs) const {
  runs.clear();
  for (int64_t row = chunk_rows_[chunk]; row < chunk_rows_[chunk + 1]; ++row) {
    const int64_t end = csr.row_starts[row + 1];
    for (int64_t i = csr.row_starts[row]; i < end;) {
      const int64_t block = csr.column(i) / block_columns_, start = i;
      while (i < end && csr.column(i) / block_columns_ == block) ++i;
      runs.push_back({static_cast<int32_t>(block), static_cast<uint16_t>(i - start),
                      static_cast<uint16_t>(row - chunk_rows_[chunk]), static_cast<int32_t>(start)});
    }
  }
  add_empty_runs(static_cast<int>(chunk_rows_[chunk + 1] - chunk_rows_[chunk]), runs);
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) {
    return std::tie(a.block, a.length, a.row) < std::tie(b.block, b.length, b.row);
  });
}

void PackedWeights::append_runs(const CsrView& csr, const std::vector<Run>& runs) {
  int64_t block = -1;
  for (const Run& run : runs) {
    const int64_t first_column = static_cast<int64_t>(run.block) * block_columns_;
    if (run.block != block) {
      block = run.block;
      blocks_.push_back({first_column, static_cast<int64_t>(groups_.size()), static_cast<int64_t>(rows_.size()), nnz()});
      groups_.push_back({run.length, 0});
    } else if (groups_.back().length != run.length) {
      groups_.push_back({run.length, 0});
    }
    ++groups_.back().count;
    rows_.push_back(run.row);
    for (int64_t i = run.start; i < run.start + run.length; ++i) {
      offsets_.push_back(static_cast<uint8_t>(csr.column(i) - first_column));
      values_.push_back(csr.values[i]);
    }
  }
}

}  // namespace platon
