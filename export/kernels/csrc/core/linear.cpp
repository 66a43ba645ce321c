#include "core/linear.h"

#include <algorithm>
#include <string>

#include "core/call.h"
#include "core/scratch.h"

namespace platon {
namespace {

// Up to so many values, the caller packs before other threads begin: a few microseconds, and nobody waits for a thread
// that lost its core to another process.
constexpr size_t kPackedAlone = 32768;

// One chunk of features times one panel.
struct Item {
  const Panel panel;
  const int64_t index, first_feature, features;
};

// Finished accumulators into `out`, the output of the whole layer.
void write(const Call& call, const Item& item, const float* acc, Layout layout, float* out) {
  const int64_t features = call.weights.out_features();
  out += call.panels.first_row(item.index) * features;
  if (call.panel_layout(layout))
    call.kernels.finish_panel(acc, item.features, item.panel, call.spec.activation,
                              out + item.first_feature * item.panel.rows);
  else
    call.kernels.finish(acc, item.features, item.panel, call.spec.activation, out + item.first_feature, features);
}

void add_residual(const Call& call, const Item& item, float* acc) {
  const int64_t features = call.weights.out_features(), first = call.panels.first_row(item.index) * features;
  if (const float* packed = call.data.packed_residual) {
    const int64_t stride = item.panel.stride();
    return call.kernels.add(packed + first + item.first_feature * stride, stride, item.features, item.panel, acc);
  }
  const float* residual = call.data.residual + first;
  if (call.panel_layout(call.spec.residual)) {
    const int64_t rows = item.panel.rows;
    call.kernels.add(residual + item.first_feature * rows, rows, item.features, item.panel, acc);
  } else {
    const Scratch packed(static_cast<size_t>(item.features) * item.panel.stride());
    call.kernels.pack(residual + item.first_feature, features, item.panel, item.features, packed.data());
    call.kernels.add(packed.data(), item.panel.stride(), item.features, item.panel, acc);
  }
}

// `acc` holds the item's part of call.memory.sums.data(). Whoever brings a panel's last features normalises the panel.
void finish_sums(Call& call, const Item& item, float* acc) {
  const LinearSpec& spec = call.spec;
  const NormSpec& norm = spec.norm;
  const int64_t features = call.weights.out_features();
  if (call.data.residual || call.data.packed_residual) add_residual(call, item, acc);
  if (call.data.sum) write(call, item, acc, spec.sum, call.data.sum);
  if (norm.scale.empty()) return write(call, item, acc, spec.output, call.data.out);
  if (call.progress[item.index].features.fetch_add(item.features, std::memory_order_acq_rel) + item.features < features)
    return;
  float* panel_sums = call.memory.sums.data() + call.panels.first_row(item.index) * features;
  call.kernels.normalize(panel_sums, features, item.panel, norm.epsilon, norm.scale.data(), norm.shift.data());
  const Item whole{item.panel, item.index, 0, features};
  write(call, whole, panel_sums, spec.output, call.data.out);
}

const float* bias_of(const Call& call, const Item& item) {
  return call.spec.bias.empty() ? nullptr : call.spec.bias.data() + item.first_feature;
}

void multiply_floats(Call& call, const Item& item, int64_t chunk, const PackedWeights& weights, float* acc) {
  const float *x = packed_panel(call, item.index), *bias = bias_of(call, item);
  weights.each_block(chunk, [&](int64_t column, const Block& block) {
    const auto multiply = block.run_features == 1 ? call.kernels.multiply : call.kernels.multiply4;
    multiply(block, item.panel, bias, x + column * item.panel.stride(), acc);
  });
}

void multiply_bytes(Call& call, const Item& item, int64_t chunk, const PackedBytes& weights, float* acc) {
  const uint8_t* x = quantized_panel(call, item.index);
  weights.each_block(chunk, [&](int64_t column, const ByteBlock& block) {
    call.kernels.multiply_bytes(block, item.panel, x + column * kLineBytes, reinterpret_cast<int32_t*>(acc));
  });
  call.kernels.dequantize(acc, item.features, item.panel, call.memory.scales()[item.index],
                          weights.scales() + item.first_feature, weights.sums() + item.first_feature,
                          bias_of(call, item));
}

void make_ready(Call& call, int64_t index) {
  if (call.weights.quantized())
    quantized_panel(call, index);
  else
    packed_panel(call, index);
}

// Panels of the input that products read where they lie: the last one may need padding, but not to become bytes.
int64_t panels_in_place(const SparseLinear& layer, const Panels& panels) {
  const int64_t last = panels.count() - 1;
  return layer.weights().quantized() || panels[last].whole() ? panels.count() : last;
}

// Work item: one chunk times one panel. Neighbours in the order share the panel: the weights, read in sequence, can
// come from afar, but the panel is read at random and should stay near.
void multiply_item(void* data, size_t number) {
  Call& call = *static_cast<Call*>(data);
  const Chunks& chunks = call.weights.chunks();
  const int64_t chunk = static_cast<int64_t>(number) % chunks.count();
  const int64_t index = static_cast<int64_t>(number) / chunks.count();
  const Item item{call.panels[index], index, chunks.first(chunk), chunks.features(chunk)};
  const size_t lanes = static_cast<size_t>(item.panel.stride());
  float* const sums = call.memory.sums.data();
  const Scratch own(sums ? 0 : item.features * lanes);
  float* acc = sums ? sums + call.panels.first_row(index) * call.weights.out_features() +
                          item.first_feature * static_cast<int64_t>(lanes)
                    : own.data();
  if (const PackedBytes* bytes = call.weights.quantized())
    multiply_bytes(call, item, chunk, *bytes, acc);
  else
    multiply_floats(call, item, chunk, *call.weights.floats(), acc);
  if (sums)
    finish_sums(call, item, acc);
  else
    write(call, item, acc, call.spec.output, call.data.out);
}

void check_length(const std::vector<float>& vector, const std::string& name, const char* size, int64_t features,
                  bool needed) {
  if (vector.size() != static_cast<size_t>(features) && (needed || !vector.empty()))
    throw InputError(name + " must have " + size + " = " + std::to_string(features) + " entries, got " +
                     std::to_string(vector.size()));
}

void check_norm(const NormSpec& norm, const std::string& prefix, const char* size, int64_t features) {
  const bool given = !norm.scale.empty() || !norm.shift.empty();
  check_length(norm.scale, prefix + "scale", size, features, given);
  check_length(norm.shift, prefix + "shift", size, features, given);
  if (!(norm.epsilon >= 0.0f && norm.epsilon <= 1.0f))
    throw InputError(prefix + "epsilon must lie in [0, 1], got " + std::to_string(norm.epsilon));
}

}  // namespace

Activation parse_activation(const std::string& name) {
  if (name.empty()) return Activation::kNone;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  throw InputError("activation must be one of '', 'gelu', 'gelu_tanh', 'relu', got '" + name.substr(0, 40) + "'");
}

SparseLinear::SparseLinear(const CsrView& csr, LinearSpec spec, const Cut& cut)
    : weights_(csr, cut), spec_(std::move(spec)) {
  check_length(spec_.bias, "bias", "out_features", csr.out_features, false);
  check_norm(spec_.norm, "", "out_features", csr.out_features);
  check_norm(spec_.prenorm, "prenorm_", "in_features", csr.in_features);
  if (!spec_.norm.scale.empty() && spec_.activation != Activation::kNone)
    throw InputError("a norm cannot follow an activation");
}

size_t SparseLinear::packed_floats(int64_t rows) const {
  return static_cast<size_t>(Panels(rows).groups()) * kLanes * weights_.in_features();
}

void SparseLinear::check_call(const LinearData& data) const {
  if ((data.residual || data.packed_residual) && spec_.activation != Activation::kNone)
    throw InputError("a residual cannot be added behind an activation");
  if ((data.packed || !spec_.prenorm.scale.empty()) && spec_.input == Layout::kPanels)
    throw InputError("what is packed or normed first must lie in rows");
}

void SparseLinear::run(const Kernels& kernels, const LinearData& data, ParallelFor parallel_for, void* pool) const {
  if (data.rows <= 0) return;
  check_call(data);
  const Panels panels(data.rows);
  const bool in_panels = data.rows >= kLanes;
  const int64_t first_packed = in_panels && spec_.input == Layout::kPanels ? panels_in_place(*this, panels) : 0;
  const Memory memory(*this, data, panels, first_packed);
  Call call{kernels,      weights_, spec_,
            data,         panels,   in_panels,
            first_packed, memory,   std::vector<PanelProgress>(static_cast<size_t>(panels.count()))};
  if (memory.packed_floats <= kPackedAlone)
    for (int64_t i = first_packed; i < panels.count(); ++i) make_ready(call, i);
  run_items(parallel_for, pool, static_cast<size_t>(panels.count() * weights_.chunks().count()), multiply_item, &call);
}

}  // namespace platon
