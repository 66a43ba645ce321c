// The weights of a node, read from its constant inputs.
#pragma once
#include <string>

#include "core/linear.h"
#include "ort/kernel.h"

namespace platon {

// The norm whose vectors and epsilon have names that begin with `prefix`.
NormSpec read_norm(const Node& node, const std::string& prefix);

// The layer whose arrays and bias have names that begin with `prefix`; `spec` says everything else about it.
SparseLinear read_linear(const Node& node, const std::string& prefix, int64_t in_features, int64_t out_features,
                         LinearSpec spec);

// The first layer of several, with the norm in front of it where the operator has one.
SparseLinear read_first_linear(const Node& node, const std::string& prefix, int64_t out_features, LinearSpec spec);

// The last layer of a node, with the norm where the operator has one.
SparseLinear read_last_linear(const Node& node, int64_t in_features, LinearSpec spec);

// What a node's last layer reads and writes beside its product.
class Ends {
 public:
  explicit Ends(const Node& node);
  // Of a call whose X is `x`: rows, residual and the outputs, which have the shape of X but for the last size.
  LinearData data(Context& context, const SparseLinear& layer, const Tensor& x) const;

 private:
  size_t residual_ = 0;
  bool has_residual_, sum_;
};

}  // namespace platon
