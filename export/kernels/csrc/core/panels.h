// How activations lie in memory: token by token, or in the panels that the kernels work on.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/kernels.h"

namespace platon {

// Runs body(data, i) for every i in [0, total), in any order, on any thread; returns when all are done.
using ParallelFor = void (*)(void* pool, void (*body)(void* data, size_t i), size_t total, void* data);

// kPanels: the panels of Panels one after the other, [features][panel.tokens], so that neighbouring layers need not
// transpose; fewer than kLanes tokens stay kTokens.
enum class Layout : int { kTokens, kPanels };

// Tokens in groups of kLanes, cut into panels as equal as possible (197 tokens: 7 + 6 + 6 + 6 groups).
class Panels {
 public:
  explicit Panels(int64_t tokens);
  int64_t count() const { return count_; }
  int64_t groups() const { return groups_; }
  int64_t first_token(int64_t panel) const { return first_group(panel) * kLanes; }
  Panel operator[](int64_t panel) const;
  int64_t index_of(int64_t token) const;  // of the panel that holds it

 private:
  int64_t first_group(int64_t panel) const;
  int64_t tokens_, groups_, count_;
};

// Brings x[tokens][features] into Layout::kPanels, once for all the layers that read it.
void pack_tokens(const Kernels& kernels, const float* x, int64_t tokens, int64_t features, float* out,
                 ParallelFor parallel_for, void* pool);

constexpr int64_t kTileColumns = 64;  // columns that one thread packs at a time
inline int64_t tile_count(int64_t features) { return (features + kTileColumns - 1) / kTileColumns; }

}  // namespace platon
