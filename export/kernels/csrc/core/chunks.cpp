#include "core/chunks.h"

#include <algorithm>
#include <thread>

namespace platon {
namespace {

constexpr int64_t kMaxChunkRows = 384;  // x 256 bytes of accumulators = 96 KiB of the second-level cache
constexpr int64_t kRowLimit = 512;      // where rows are uneven
constexpr int64_t kMinChunkRows = 48;   // each length's runs are fewer in fewer rows: benchmarks/threads.py
constexpr int64_t kRowCost = 4;         // a row costs about as much as this many non-zeros beside its own

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// As few chunks as the cache allows, but one for each core even where a call has a single panel.
int64_t chunk_target(int64_t rows, const Cut& cut) {
  const int64_t cores = cut.cores ? cut.cores : std::thread::hardware_concurrency();
  const int64_t least = cut.least_rows ? cut.least_rows : kMinChunkRows;
  return std::max(divide_up(rows, kMaxChunkRows), std::min(cores, divide_up(rows, least)));
}

}  // namespace

Chunks::Chunks(const CsrView& csr, const Cut& cut) {
  const int64_t total = csr.value_count + kRowCost * csr.out_features;
  const int64_t target = divide_up(total, chunk_target(csr.out_features, cut));
  rows_.push_back(0);
  int64_t cost = 0;
  for (int64_t row = 0; row < csr.out_features; ++row) {
    cost += csr.row_starts[row + 1] - csr.row_starts[row] + kRowCost;
    const int64_t rows = row + 1 - rows_.back();
    const bool aligned = rows % 8 == 0 || cost >= 2 * target;
    if (row + 1 == csr.out_features || rows == kRowLimit || (cost >= target && aligned)) {
      rows_.push_back(row + 1);
      cost = 0;
    }
  }
}

}  // namespace platon
