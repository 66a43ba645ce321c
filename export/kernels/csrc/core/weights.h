// A weight of a layer, checked, cut and packed, whatever its values are.
#pragma once
#include <cstdint>
#include <variant>

#include "core/chunks.h"
#include "core/csr.h"
#include "core/pack.h"
#include "core/pack_bytes.h"

namespace platon {

class Weights {
 public:
  Weights(const CsrView& csr, const Cut& cut);  // throws InputError

  int64_t in_features() const { return in_features_; }
  int64_t out_features() const { return out_features_; }
  const Chunks& chunks() const { return chunks_; }
  int64_t bytes() const;  // of memory

  // One of them is null.
  const PackedWeights* floats() const { return std::get_if<PackedWeights>(&packed_); }
  const PackedBytes* quantized() const { return std::get_if<PackedBytes>(&packed_); }

 private:
  int64_t in_features_, out_features_;
  Chunks chunks_;
  std::variant<PackedWeights, PackedBytes> packed_;
};

}  // namespace platon
