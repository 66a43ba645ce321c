// How a weight's features, the rows of W, are cut for threads.
#pragma once
#include <cstdint>
#include <vector>

#include "core/csr.h"

namespace platon {

// What a weight is cut for; 0: this machine's cores, and the fewest rows of a chunk that pay.
struct Cut {
  int cores = 0, least_rows = 0;
};

// Chunks of about equal cost, so that threads finish together even when rows are very uneven.
class Chunks {
 public:
  Chunks(const CsrView& csr, const Cut& cut);  // of a validated matrix

  int64_t count() const { return static_cast<int64_t>(rows_.size()) - 1; }
  // Of the chunk, or behind the last one.
  int64_t first(int64_t chunk) const { return rows_[chunk]; }
  int64_t features(int64_t chunk) const { return rows_[chunk + 1] - rows_[chunk]; }
  int64_t bytes() const { return static_cast<int64_t>(rows_.size() * sizeof(int64_t)); }

 private:
  std::vector<int64_t> rows_;
};

}  // namespace platon
