// Softmax attention of every head over the activations that SparseLinear writes and reads.
#pragma once
#include <cstdint>
#include <vector>

#include "core/kernels.h"
#include "core/panels.h"

namespace platon {

struct AttentionSpec {
  int64_t heads = 0;
  float scale = 0.0f;  // of the scores, before the mask is added
  Layout input = Layout::kRows, output = Layout::kRows;
  bool bytes = false;  // products of 8-bit numbers, as docs/operator.md defines them
};

// Q, K or V: rows of `features` values, of which the heads' features lie side by side from `first` on, `size` each.
struct AttentionOperand {
  const float* data = nullptr;  // [rows][features]
  int64_t features = 0, first = 0, size = 0;
};

// Added to the scores; a stride of 0 repeats that dimension. `data` may be null: no mask.
struct AttentionMask {
  const float* data = nullptr;
  int64_t sequence_stride = 0, head_stride = 0, query_stride = 0, key_stride = 0;
};

struct AttentionData {
  AttentionOperand q, k, v;      // all in spec.input; q.size == k.size
  std::vector<int64_t> lengths;  // rows of each sequence; the sequences lie one behind the other
  AttentionMask mask;
  float* out = nullptr;  // [rows][heads * v.size], in spec.output
};

// Each row attends to the rows of its own sequence: softmax(scale * q k^T + mask) v. The result does not depend on
// how parallel_for distributes the work. Throws InputError and std::bad_alloc.
void attend(const Kernels& kernels, const AttentionSpec& spec, const AttentionData& data, ParallelFor parallel_for,
            void* pool);

}  // namespace platon
