// The middle layer: one linear layer, and how its work is cut for threads.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/kernels.h"
#include "core/panels.h"
#include "core/weights.h"

namespace platon {

Activation parse_activation(const std::string& name);

// A layer norm over all features: mean 0 and variance 1, times scale, plus shift.
struct NormSpec {
  std::vector<float> scale, shift;  // both empty: no norm
  float epsilon = 0.0f;
};

// What a layer does beside the product: Y = norm(activation(prenorm(X) W^T + bias) + residual).
struct LinearSpec {
  std::vector<float> bias;  // empty, or out_features values
  Activation activation = Activation::kNone;
  Layout input = Layout::kRows, output = Layout::kRows;
  Layout residual = Layout::kRows, sum = Layout::kRows;
  NormSpec prenorm, norm;  // over in_features and over out_features
};

// The activations of one call, each in the layout that the spec names.
struct LinearData {
  const float* x;  // [rows][in_features]
  int64_t rows;
  float* out;                       // [rows][out_features]
  const float* residual = nullptr;  // [rows][out_features]; not together with an activation
  float* sum = nullptr;             // [rows][out_features]: gets what goes into the norm
  // Memory of packed_floats(rows): gets x in padded panels, for a later layer to add as its packed_residual.
  float* packed = nullptr;
  const float* packed_residual = nullptr;  // instead of residual
};

class SparseLinear {
 public:
  SparseLinear(const CsrView& csr, LinearSpec spec, const Cut& cut = {});  // throws InputError

  // The result does not depend on how parallel_for distributes the work. Throws InputError and std::bad_alloc.
  void run(const Kernels& kernels, const LinearData& data, ParallelFor parallel_for, void* pool) const;

  // What x takes in padded panels.
  size_t packed_floats(int64_t rows) const;

  const Weights& weights() const { return weights_; }
  const LinearSpec& spec() const { return spec_; }

 private:
  void check_call(const LinearData& data) const;

  Weights weights_;
  LinearSpec spec_;
};

}  // namespace platon
