// How activations lie in memory: row by row, or in the panels that the kernels work on.
#pragma once
#include <cstdint>

#include "core/kernels.h"
#include "core/work.h"

namespace platon {

// kPanels: the panels of Panels one after the other, [features][panel.rows], so that neighbouring layers need not
// transpose; fewer than kLanes rows stay kRows.
enum class Layout : int { kRows, kPanels };

// Rows in groups of kLanes, cut into panels as equal as possible (197 rows: 7 + 6 + 6 + 6 groups).
class Panels {
 public:
  explicit Panels(int64_t rows);
  int64_t count() const { return count_; }
  int64_t groups() const { return groups_; }
  int64_t first_row(int64_t panel) const { return first_group(panel) * kLanes; }
  Panel operator[](int64_t panel) const;
  int64_t index_of(int64_t row) const;  // of the panel that holds it

 private:
  int64_t first_group(int64_t panel) const;
  int64_t rows_, groups_, count_;
};

// Brings x[rows][features] into Layout::kPanels, once for all the layers that read it.
void pack_rows(const Kernels& kernels, const float* x, int64_t rows, int64_t features, float* out,
               ParallelFor parallel_for, void* pool);

constexpr int64_t kTileColumns = 64;  // columns that one thread packs at a time
inline int64_t tile_count(int64_t features) { return (features + kTileColumns - 1) / kTileColumns; }

}  // namespace platon
