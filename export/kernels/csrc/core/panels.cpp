#include "core/panels.h"

#include <algorithm>

namespace platon {
namespace {

struct PackCall {
  const Kernels& kernels;
  const Panels panels;
  const float* x;
  int64_t features;
  float* out;
};

void pack_item(void* data, size_t item) {
  PackCall& call = *static_cast<PackCall*>(data);
  const int64_t tiles = tile_count(call.features), index = static_cast<int64_t>(item) / tiles;
  const int64_t start = call.panels.first_row(index) * call.features;
  const int64_t column = static_cast<int64_t>(item) % tiles * kTileColumns;
  const int64_t columns = std::min(kTileColumns, call.features - column);
  const Panel panel = call.panels[index];
  const float* x = call.x + start + column;
  float* out = call.out + start + column * panel.rows;
  if (panel.whole()) return call.kernels.pack(x, call.features, panel, columns, out);
  float padded[kTileColumns * kMaxWidth * kLanes];
  call.kernels.pack(x, call.features, panel, columns, padded);
  call.kernels.finish_panel(padded, static_cast<int>(columns), panel, Activation::kNone, out);
}

}  // namespace

Panels::Panels(int64_t rows)
    : rows_(rows), groups_((rows + kLanes - 1) / kLanes), count_((groups_ + kMaxWidth - 1) / kMaxWidth) {}

int64_t Panels::first_group(int64_t panel) const {
  return panel * (groups_ / count_) + std::min(panel, groups_ % count_);
}

Panel Panels::operator[](int64_t panel) const {
  const int width = static_cast<int>(first_group(panel + 1) - first_group(panel));
  return {static_cast<int>(std::min<int64_t>(rows_ - first_row(panel), width * kLanes)), width};
}

int64_t Panels::index_of(int64_t row) const {
  const int64_t group = row / kLanes, width = groups_ / count_, wider = groups_ % count_;
  const int64_t guess = group / (width + 1);  // the first `wider` panels have one group more
  return guess < wider ? guess : (group - wider) / width;
}

void pack_rows(const Kernels& kernels, const float* x, int64_t rows, int64_t features, float* out,
               ParallelFor parallel_for, void* pool) {
  if (rows <= 0 || features <= 0) return;
  if (rows < kLanes) {
    std::copy(x, x + rows * features, out);
    return;
  }
  PackCall call{kernels, Panels(rows), x, features, out};
  run_items(parallel_for, pool, static_cast<size_t>(call.panels.count() * tile_count(features)), pack_item, &call);
}

}  // namespace platon
