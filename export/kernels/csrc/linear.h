// The middle layer: one linear layer, its choice of kernels, and how its work is cut for threads.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels.h"
#include "pack.h"

namespace platon {

// The kernels to use: the last supported of PLATON_KERNELS, or the one that PLATON_FORCE_ISA names.
const Kernels& select_kernels();
// By name; throws InputError when there is none such or the processor lacks it.
const Kernels& find_kernels(const std::string& name);

Activation parse_activation(const std::string& name);

// Runs body(data, i) for every i in [0, total), in any order, on any thread; returns when all are done.
using ParallelFor = void (*)(void* pool, void (*body)(void* data, size_t i), size_t total, void* data);

class SparseLinear {
 public:
  // `bias` is empty or holds out_features values. Throws InputError.
  SparseLinear(const CsrView& csr, std::vector<float> bias, Activation activation);

  // out[tokens][out_features] = activation(x[tokens][in_features] W^T + bias). `bias` overrides the stored one.
  // The result does not depend on how parallel_for distributes the work. Throws std::bad_alloc.
  void run(const Kernels& kernels, const float* x, int64_t tokens, const float* bias, float* out,
           ParallelFor parallel_for, void* pool) const;

  const PackedWeights& weights() const { return weights_; }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }

 private:
  PackedWeights weights_;
  std::vector<float> bias_;
  Activation activation_;
};

}  // namespace platon
