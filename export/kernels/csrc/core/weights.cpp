#include "core/weights.h"

namespace platon {
namespace {

const CsrView& validated(const CsrView& csr) {
  validate(csr);
  return csr;
}

std::variant<PackedWeights, PackedBytes> pack(const CsrView& csr, const Chunks& chunks) {
  if (csr.quantized) return PackedBytes(csr, chunks);
  return PackedWeights(csr, chunks);
}

}  // namespace

Weights::Weights(const CsrView& csr, const Cut& cut)
    : in_features_(csr.in_features),
      out_features_(csr.out_features),
      chunks_(validated(csr), cut),
      packed_(pack(csr, chunks_)) {}

int64_t Weights::bytes() const {
  return chunks_.bytes() + std::visit([](const auto& packed) { return packed.bytes(); }, packed_);
}

}  // namespace platon
