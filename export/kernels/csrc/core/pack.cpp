#include "core/pack.h"

namespace platon {

PackedWeights::PackedWeights(const CsrView& csr, const Chunks& chunks) {
  values_.reserve(csr.value_count + kReadBehind);
  offsets_.reserve(csr.value_count + kReadBehind);
  ChunkRuns runs(csr);
  chunk_blocks_.push_back(0);
  for (int64_t chunk = 0; chunk < chunks.count(); ++chunk) {
    runs.collect(chunks.first(chunk), chunks.first(chunk + 1));
    append(csr, runs);
    chunk_blocks_.push_back(static_cast<int64_t>(blocks_.size()));
  }
  start_block(0, 1, false);  // where the last one ends
  values_.resize(values_.size() + kReadBehind);
  offsets_.resize(offsets_.size() + kReadBehind);
  offsets_.shrink_to_fit();  // quads have fewer of them than non-zeros
}

int64_t PackedWeights::bytes() const {
  return static_cast<int64_t>(chunk_blocks_.size() * sizeof(int64_t) + blocks_.size() * sizeof(BlockStart) +
                              groups_.size() * sizeof(RunGroup) + features_.size() * sizeof(uint16_t) +
                              offsets_.size() + values_.size() * sizeof(float));
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
