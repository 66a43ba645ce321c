// What the operators with attention have in common.
#pragma once
#include <vector>

#include "core/attention.h"
#include "ort/kernel.h"

namespace platon {

AttentionSpec attention_spec(const Node& node);  // throws InputError

// Which keys a query sees: an input of the node, or nothing.
class Masked {
 public:
  explicit Masked(const Node& node);
  // Rows of each sequence of a call on [batch, tokens, features]; throws InputError.
  std::vector<int64_t> lengths(const Context& context, const std::vector<int64_t>& shape) const;
  // Added to the scores of [batch, heads, queries, keys], broadcast from the right; throws InputError.
  AttentionMask mask(const Context& context, const std::vector<int64_t>& shape, int64_t heads) const;

 private:
  Masking masking_;
  size_t place_ = 0;
};

}  // namespace platon
