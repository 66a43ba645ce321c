#include "core/pack.h"

#include <algorithm>
#include <thread>

namespace platon {
namespace {

constexpr int64_t kMaxChunkRows = 384;  // x 256 bytes of accumulators = 96 KiB of the second-level cache
constexpr int64_t kRowLimit = 512;      // where rows are uneven
constexpr int64_t kMinChunkRows = 96;   // fewer rows make each length's runs too few
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
  cut_chunks(csr);
  values_.reserve(csr.value_count + kReadBehind);
  offsets_.reserve(csr.value_count + kReadBehind);
  ChunkRuns runs(csr);
  chunk_blocks_.push_back(0);
  for (int64_t chunk = 0; chunk < chunk_count(); ++chunk) {
    runs.collect(chunk_rows_[chunk], chunk_rows_[chunk + 1]);
    append(csr, runs);
    chunk_blocks_.push_back(static_cast<int64_t>(blocks_.size()));
  }
  start_block(0, 1, false);  // where the last one ends
  values_.resize(values_.size() + kReadBehind);
  offsets_.resize(offsets_.size() + kReadBehind);
  offsets_.shrink_to_fit();  // quads have fewer of them than non-zeros
}

int64_t PackedWeights::bytes() const {
  return static_cast<int64_t>(chunk_rows_.size() * sizeof(int64_t) + chunk_blocks_.size() * sizeof(int64_t) +
                              blocks_.size() * sizeof(BlockStart) + groups_.size() * sizeof(RunGroup) +
                              features_.size() * sizeof(uint16_t) + offsets_.size() + values_.size() * sizeof(float));
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

void PackedWeights::start_block(int64_t first_column, int run_features, bool starts) {
  blocks_.push_back({first_column, static_cast<int64_t>(groups_.size()), static_cast<int64_t>(features_.size()),
                     static_cast<int64_t>(offsets_.size()), static_cast<int64_t>(values_.size()), run_features,
                     starts});
}

void PackedWeights::append(const CsrView& csr, const ChunkRuns& chunk) {
  const Run* before = nullptr;
  for (const Run& run : chunk.runs()) {
    const bool same_block = before && run.first_column == before->first_column && run.kind == before->kind;
    if (!same_block) start_block(run.first_column, run.features(), run.starts);
    if (!same_block || groups_.back().length != run.length) groups_.push_back({run.length, 0});
    append_run(csr, chunk, run);
    before = &run;
  }
}

void PackedWeights::append_run(const CsrView& csr, const ChunkRuns& chunk, const Run& run) {
  ++groups_.back().count;
  features_.push_back(run.feature);
  const int32_t* index = chunk.indices().data() + run.first;
  for (int j = 0; j < run.length; ++j, index += run.features()) {
    offsets_.push_back(static_cast<uint8_t>(csr.column(*index) - run.first_column));
    for (int r = 0; r < run.features(); ++r) values_.push_back(csr.values[index[r]]);
  }
}

}  // namespace platon
