#include "core/blocks.h"

#include <string>

#include "core/scratch.h"

namespace platon {
namespace {

void check_sizes(int64_t given, int64_t taken) {
  if (given != taken)
    throw InputError("inner_features must be what the last layer reads, " + std::to_string(taken) + ", got " +
                     std::to_string(given));
}

void check_prenorm(const SparseLinear& first, const SparseLinear& last) {
  const int64_t in = first.weights().in_features(), out = last.weights().out_features();
  if (!first.spec().prenorm.scale.empty() && in != out)
    throw InputError("with a norm in front, in_features and out_features must be equal, got " + std::to_string(in) +
                     " and " + std::to_string(out));
}

// The call of a block's first layer, into `out`. Where the last layer adds the block's own x, it takes it as the first
// one packs it; `data` says so from then on.
class First {
 public:
  First(const SparseLinear& layer, LinearData& data, float* out)
      : shared_(data.residual == data.x || !layer.spec().prenorm.scale.empty()),
        packed_(shared_ ? layer.packed_floats(data.rows) : 0) {
    call_.x = data.x;
    call_.rows = data.rows;
    call_.out = out;
    if (!shared_) return;
    call_.packed = packed_.data();
    data.residual = nullptr;
    data.packed_residual = packed_.data();
  }
  const LinearData& call() const { return call_; }

 private:
  const bool shared_;
  const Scratch packed_;
  LinearData call_{};
};

}  // namespace

FeedForward::FeedForward(SparseLinear inner, SparseLinear outer) : inner_(std::move(inner)), outer_(std::move(outer)) {
  check_prenorm(inner_, outer_);
  check_sizes(inner_.weights().out_features(), outer_.weights().in_features());
}

void FeedForward::run(const Kernels& kernels, LinearData data, ParallelFor parallel_for, void* pool) const {
  if (data.rows <= 0) return;
  const Scratch between(static_cast<size_t>(data.rows) * static_cast<size_t>(inner_.weights().out_features()));
  const First first(inner_, data, between.data());
  inner_.run(kernels, first.call(), parallel_for, pool);
  data.x = between.data();
  outer_.run(kernels, data, parallel_for, pool);
}

SelfAttention::SelfAttention(SparseLinear projections, AttentionSpec spec, SparseLinear outer)
    : projections_(std::move(projections)), spec_(spec), outer_(std::move(outer)) {
  const int64_t inner = outer_.weights().in_features();
  check_sizes(projections_.weights().out_features(), 3 * inner);
  check_prenorm(projections_, outer_);
  if (spec_.heads < 1 || inner % spec_.heads != 0)
    throw InputError(std::to_string(inner) + " features do not divide into " + std::to_string(spec_.heads) + " heads");
}

void SelfAttention::run(const Kernels& kernels, LinearData data, std::vector<int64_t> lengths,
                        const AttentionMask& mask, ParallelFor parallel_for, void* pool) const {
  if (data.rows <= 0) return;
  const int64_t inner = outer_.weights().in_features(), size = inner / spec_.heads;
  const size_t floats = static_cast<size_t>(data.rows) * static_cast<size_t>(inner);
  const Scratch stacked(3 * floats), attended(floats);
  const First first(projections_, data, stacked.data());
  projections_.run(kernels, first.call(), parallel_for, pool);
  AttentionData attention;
  AttentionOperand* const operands[] = {&attention.q, &attention.k, &attention.v};
  for (int64_t i = 0; i < 3; ++i) *operands[i] = {stacked.data(), 3 * inner, i * inner, size};
  attention.lengths = std::move(lengths);
  attention.mask = mask;
  attention.out = attended.data();
  attend(kernels, spec_, attention, parallel_for, pool);
  data.x = attended.data();
  outer_.run(kernels, data, parallel_for, pool);
}

}  // namespace platon
