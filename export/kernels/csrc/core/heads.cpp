#include "core/heads.h"

namespace platon {
namespace {

// Where a feature of the part's first row lies in panels; the next feature follows part.panel.rows further.
int64_t place(const Part& part, int64_t features, int64_t feature) {
  return part.panel_first * features + feature * part.panel.rows + part.first - part.panel_first;
}

// Lanes of copies, in which each part is padded to whole groups. Panels beside others are at least half as wide as the
// widest.
int64_t copied_lanes(int64_t length) {
  const int64_t parts = length / (kMaxWidth / 2 * kLanes) + 2;
  return length + parts * (kLanes - 1);
}

}  // namespace

Keys::Keys(const AttentionCall& call, const Sequence& sequence, int64_t head)
    : copies_(call.panel_layout(call.spec.input)
                  ? 0
                  : static_cast<size_t>(copied_lanes(sequence.length) * (call.data.k.size + call.data.v.size))) {
  const AttentionOperand &k = call.data.k, &v = call.data.v;
  const int64_t k_first = k.first + head * k.size, v_first = v.first + head * v.size;
  float* copy = copies_.data();
  each_part(call, sequence, [&](const Part& part) {
    if (call.panel_layout(call.spec.input))
      return segments_.push_back({k.data + place(part, k.features, k_first), v.data + place(part, v.features, v_first),
                                  part.panel.rows, part.count});
    const Panel panel = own_panel(part);
    float* v_copy = copy + k.size * panel.stride();
    call.kernels.pack(k.data + part.first * k.features + k_first, k.features, panel, k.size, copy);
    call.kernels.pack(v.data + part.first * v.features + v_first, v.features, panel, v.size, v_copy);
    segments_.push_back({copy, v_copy, panel.stride(), part.count});
    copy = v_copy + v.size * panel.stride();
  });
}

HeadMask::HeadMask(const AttentionCall& call, size_t number, int64_t head)
    : mask_(call.data.mask),
      data_(mask_.data ? mask_.data + static_cast<int64_t>(number) * mask_.sequence_stride + head * mask_.head_stride
                       : nullptr) {}

void HeadMask::pack(const AttentionCall& call, const Part& part, int64_t start, int64_t keys, float* out) const {
  const Panel block = own_panel(part);
  const float* rows = data_ + (part.first - start) * mask_.query_stride;
  const int64_t once = mask_.key_stride ? keys : 1;
  call.kernels.pack(rows, mask_.query_stride, block, once, out);
  for (int64_t i = 0; i < once * block.stride(); ++i) out[i] = cut_off(out[i]);
  for (int64_t key = once; key < keys; ++key) std::copy(out, out + block.stride(), out + key * block.stride());
}

void read_queries(const AttentionCall& call, const Part& part, int64_t head, float* q) {
  const AttentionOperand& x = call.data.q;
  const int64_t feature = x.first + head * x.size;
  const Panel block = own_panel(part);
  if (!call.panel_layout(call.spec.input))
    return call.kernels.pack(x.data + part.first * x.features + feature, x.features, block, x.size, q);
  const float* source = x.data + place(part, x.features, feature);
  if (!block.whole()) std::fill(q, q + x.size * block.stride(), 0.0f);
  for (int64_t f = 0; f < x.size; ++f, q += block.stride(), source += part.panel.rows)
    std::copy(source, source + part.count, q);
}

void write_results(const AttentionCall& call, const Part& part, int64_t head, const float* results) {
  const int64_t size = call.data.v.size, features = call.spec.heads * size;
  const Panel block = own_panel(part);
  if (!call.panel_layout(call.spec.output)) {
    float* target = call.data.out + part.first * features + head * size;
    return call.kernels.finish(results, static_cast<int>(size), block, Activation::kNone, target, features);
  }
  float* target = call.data.out + place(part, features, head * size);
  for (int64_t f = 0; f < size; ++f, results += block.stride(), target += part.panel.rows)
    std::copy(results, results + part.count, target);
}

}  // namespace platon
