// The halves of an encoder block: layers one behind the other, whose activations in between are nobody else's and stay
// in panels.
#pragma once
#include "core/attention.h"
#include "core/linear.h"

namespace platon {

class FeedForward {
 public:
  // inner: panels out; outer: panels in. With a norm in front of inner, the result is added to x as it was in front of
  // the norm. Throws InputError when their sizes do not fit.
  FeedForward(SparseLinear inner, SparseLinear outer);

  // data: x of the inner layer, everything else of the outer one.
  void run(const Kernels& kernels, LinearData data, ParallelFor parallel_for, void* pool) const;

  const SparseLinear& inner() const { return inner_; }
  const SparseLinear& outer() const { return outer_; }

 private:
  SparseLinear inner_, outer_;
};

class SelfAttention {
 public:
  // projections: Q, K and V one below the other, panels out; spec: panels in and out; outer: panels in. A norm in
  // front as in FeedForward. Throws InputError when their sizes do not fit.
  SelfAttention(SparseLinear projections, AttentionSpec spec, SparseLinear outer);

  // data: x of the projections, everything else of the outer layer. lengths: rows of each sequence.
  void run(const Kernels& kernels, LinearData data, std::vector<int64_t> lengths, const AttentionMask& mask,
           ParallelFor parallel_for, void* pool) const;

  const AttentionSpec& spec() const { return spec_; }
  const SparseLinear& projections() const { return projections_; }
  const SparseLinear& outer() const { return outer_; }

 private:
  SparseLinear projections_;
  AttentionSpec spec_;
  SparseLinear outer_;
};

}  // namespace platon
