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

// How activations lie in memory. kPanels: the panels of Panels one after the other, [features][panel.stride] without
// padding, so that neighbouring layers need not transpose; fewer than kLanes tokens stay kTokens.
enum class Layout : int { kTokens, kPanels };

// Tokens in groups of kLanes, cut into panels as equal as possible (197 tokens: 7 + 6 + 6 + 6 groups).
class Panels {
 public:
  Panels(int64_t tokens, bool padded);
  int64_t count() const { return count_; }
  int64_t groups() const { return groups_; }
  int64_t first_token(int64_t panel) const { return first_group(panel) * kLanes; }
  Panel operator[](int64_t panel) const;

 private:
  int64_t first_group(int64_t panel) const;
  int64_t tokens_, groups_, count_;
  bool padded_;
};

// Brings x[tokens][features] into Layout::kPanels, once for all the layers that read it.
void pack_tokens(const Kernels& kernels, const float* x, int64_t tokens, int64_t features, float* out,
                 ParallelFor parallel_for, void* pool);

class SparseLinear {
 public:
  // `bias` is empty or holds out_features values. Throws InputError.
  SparseLinear(const CsrView& csr, std::vector<float> bias, Activation activation, Layout input = Layout::kTokens,
               Layout output = Layout::kTokens);

  // out[tokens][out_features] = activation(x[tokens][in_features] W^T + bias), both in the layouts of this layer.
  // `bias` overrides the stored one.
  // The result does not depend on how parallel_for distributes the work. Throws std::bad_alloc.
  void run(const Kernels& kernels, const float* x, int64_t tokens, const float* bias, float* out,
           ParallelFor parallel_for, void* pool) const;

  const PackedWeights& weights() const { return weights_; }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }

 private:
  PackedWeights weights_;
  std::vector<float> bias_;
  Activation activation_;
  Layout input_, output_;
};

}  // namespace platon
