#include "core/pack_bytes.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace platon {
namespace {

constexpr int64_t kBlockColumns = kMaxBlockColumns;  // x kLineBytes = 16 KiB: a half of a first-level cache

}  // namespace

PackedBytes::PackedBytes(const CsrView& csr, const Chunks& chunks)
    : scales_(csr.row_scales, csr.row_scales + csr.row_scale_count) {
  chunk_blocks_.push_back(0);
  for (int64_t chunk = 0; chunk < chunks.count(); ++chunk) {
    append_chunk(csr, chunks.first(chunk), chunks.first(chunk + 1));
    chunk_blocks_.push_back(static_cast<int64_t>(blocks_.size()));
  }
  start_block(0);  // where the last one ends
  steps_.shrink_to_fit();
  for (int64_t row = 0; row < csr.out_features; ++row)
    sums_.push_back(std::accumulate(csr.bytes + csr.row_starts[row], csr.bytes + csr.row_starts[row + 1], 0));
}

int64_t PackedBytes::bytes() const {
  return static_cast<int64_t>(chunk_blocks_.size() * sizeof(int64_t) + blocks_.size() * sizeof(BlockStart) +
                              groups_.size() * sizeof(RunGroup) + features_.size() * sizeof(uint16_t) + steps_.size() +
                              scales_.size() * sizeof(float) + sums_.size() * sizeof(int32_t));
}

void PackedBytes::start_block(int64_t first_column) {
  blocks_.push_back({first_column, static_cast<int64_t>(groups_.size()), static_cast<int64_t>(features_.size()),
                     static_cast<int64_t>(steps_.size())});
}

// Block by block, each from where its rows' last one ended. The first holds every row, the others those that have
// non-zeros in it; blocks in which no row has any are left out.
void PackedBytes::append_chunk(const CsrView& csr, int64_t first_row, int64_t end_row) {
  std::vector<int32_t> next(csr.row_starts + first_row, csr.row_starts + end_row);
  for (bool first = true;; first = false) {
    int64_t column = std::numeric_limits<int64_t>::max();
    for (int64_t row = first_row; row < end_row; ++row)
      if (next[row - first_row] < csr.row_starts[row + 1])
        column = std::min(column, csr.column(next[row - first_row]) / kBlockColumns * kBlockColumns);
    const bool empty = column == std::numeric_limits<int64_t>::max();
    if (empty && !first) return;
    std::vector<Run> runs;
    for (int64_t row = first_row; row < end_row; ++row) {
      int32_t& end = next[row - first_row];
      const int32_t begin = end;
      while (end < csr.row_starts[row + 1] && csr.column(end) < column + kBlockColumns) ++end;
      if (first || begin < end) runs.push_back({begin, end, static_cast<uint16_t>(row - first_row)});
    }
    append_block(csr, empty ? 0 : column, runs);
  }
}

void PackedBytes::append_block(const CsrView& csr, int64_t first_column, std::vector<Run>& runs) {
  std::stable_sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.steps() < b.steps(); });
  start_block(first_column);
  for (size_t i = 0; i < runs.size(); ++i) {
    if (i == 0 || runs[i].steps() != runs[i - 1].steps())
      groups_.push_back({static_cast<uint16_t>(runs[i].steps()), 0});
    append_run(csr, first_column, runs[i]);
  }
}

void PackedBytes::append_run(const CsrView& csr, int64_t first_column, const Run& run) {
  ++groups_.back().count;
  features_.push_back(run.feature);
  for (int32_t i = run.begin; i < run.end; i += kDot) {
    uint8_t step[2 * kDot] = {};
    for (int j = 0; j < kDot && i + j < run.end; ++j) {
      step[j] = static_cast<uint8_t>(csr.column(i + j) - first_column);
      step[kDot + j] = static_cast<uint8_t>(csr.bytes[i + j]);
    }
    steps_.insert(steps_.end(), step, step + 2 * kDot);
  }
}

}  // namespace platon
