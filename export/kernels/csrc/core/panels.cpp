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
  const int64_t start = call.panels.first_token(index) * call.features;
  const int64_t column = static_cast<int64_t>(item) % tiles * kTileColumns;
  const int64_t columns = std::min(kTileColumns, call.features - column);
  const Panel panel = call.panels[index];
  const float* x = call.x + start + column;
  float* out = call.out + start + column * panel.tokens;
  if (panel.whole()) return call.kernels.pack(x, call.features, panel, columns, out);
  float padded[kTileColumns * kMaxWidth * kLanes];
  call.kernels.pack(x, call.features, panel, columns, padded);
  call.kernels.finish_panel(padded, static_cast<int>(columns), panel, Activation::kNone, out);
}

}  // namespace

Panels::Panels(int64_t tokens)
    : tokens_(tokens), groups_((tokens + kLanes - 1) / kLanes), count_((groups_ + kMaxWidth - 1) / kMaxWidth) {}

int64_t Panels::first_group(int64_t panel) const {
  return panel * (groups_ / count_) + std::min(panel, groups_ % count_);
}

Panel Panels::operator[](int64_t panel) const {
  const int width = static_cast<int>(first_group(panel + 1) - first_group(panel));
  return {static_cast<int>(std::min<int64_t>(tokens_ - first_token(panel), width * kLanes)), width};
}

int64_t Panels::index_of(int64_t token) const {
  const int64_t group = token / kLanes, width = groups_ / count_, wider = groups_ % count_;
  const int64_t guess = group / (width + 1);  // the first `wider` panels have one group more
  return guess < wider ? guess : (group - wider) / width;
}

void pack_tokens(const Kernels& kernels, const float* x, int64_t tokens, int64_t features, float* out,
                 ParallelFor parallel_for, void* pool) {
  if (tokens <= 0 || features <= 0) return;
  if (tokens < kLanes) {
    std::copy(x, x + tokens * features, out);
    return;
  }
  PackCall call{kernels, Panels(tokens), x, features, out};
  parallel_for(pool, pack_item, static_cast<size_t>(call.panels.count() * tile_count(features)), &call);
}

}  // namespace platon
