#include "core/linear.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>

#include "core/scratch.h"

namespace platon {
namespace {

// Up to so many values, the caller packs before other threads begin: a few microseconds, and nobody waits for a thread
// that lost its core to another process.
constexpr size_t kPackedAlone = 32768;

// How far a panel is packed, and how many of its features have their sums. Whoever needs a panel first packs tiles;
// whoever comes meanwhile packs others; whoever packs the last one makes the panel ready.
struct PanelProgress {
  std::atomic<int64_t> taken{0}, done{0}, features{0};
  std::atomic<bool> ready{false};
};

// Everything that the work items of one call share.
struct Call {
  const Kernels& kernels;
  const PackedWeights& weights;
  const LinearSpec& spec;
  const LinearData& data;
  const Panels panels;
  const bool in_panels;  // layouts say rows or panels; false: too few rows for panels
  float* packed;         // x in padded panels, from the panel first_packed on; those before are read where they are
  const int64_t first_packed;
  float* normed;  // the same behind the norm in front of the product, or null
  float* sums;    // accumulators of the whole output where more follows than an activation, else null
  std::vector<PanelProgress> progress;

  bool panel_layout(Layout layout) const { return in_panels && layout == Layout::kPanels; }
};

// `x` and `out` begin with the panel's first row and its first column.
void pack_tile(const Call& call, const float* x, const Panel& panel, int64_t tile, float* out) {
  const int64_t in = call.weights.in_features(), column = tile * kTileColumns;
  const int64_t columns = std::min(kTileColumns, in - column);
  if (call.panel_layout(call.spec.input))
    call.kernels.pad(x + column * panel.rows, panel, columns, out + column * panel.stride());
  else
    call.kernels.pack(x + column, in, panel, columns, out + column * panel.stride());
}

// What a product multiplies: `packed`, or its copy behind the norm.
void make_ready(const Call& call, int64_t index, const float* packed, float* normed) {
  if (!normed) return;
  const Panel panel = call.panels[index];
  const NormSpec& norm = call.spec.prenorm;
  const int64_t in = call.weights.in_features();
  std::copy(packed, packed + in * panel.stride(), normed);
  call.kernels.normalize(normed, in, panel, norm.epsilon, norm.scale.data(), norm.shift.data());
}

// The panel's data, packed by this thread and others. Waiting threads wait only for tiles that a running thread has
// taken, so this cannot deadlock however few threads there are.
const float* packed_panel(Call& call, int64_t index) {
  const int64_t in = call.weights.in_features();
  const float* x = call.data.x + call.panels.first_row(index) * in;
  if (index < call.first_packed) return x;
  const int64_t place = (call.panels.first_row(index) - call.panels.first_row(call.first_packed)) * in;
  float* const packed = call.packed + place;
  float* const normed = call.normed ? call.normed + place : nullptr;
  PanelProgress& progress = call.progress[index];
  const int64_t tiles = tile_count(in);
  for (int64_t tile; (tile = progress.taken.fetch_add(1, std::memory_order_relaxed)) < tiles;) {
    pack_tile(call, x, call.panels[index], tile, packed);
    if (progress.done.fetch_add(1, std::memory_order_acq_rel) + 1 < tiles) continue;
    make_ready(call, index, packed, normed);
    progress.ready.store(true, std::memory_order_release);
  }
  for (int spins = 0; !progress.ready.load(std::memory_order_acquire); ++spins)
    if (spins > 1000) std::this_thread::yield();
  return normed ? normed : packed;
}

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

// `acc` holds the item's part of call.sums. Whoever brings a panel's last features normalises the panel.
void finish_sums(Call& call, const Item& item, float* acc) {
  const LinearSpec& spec = call.spec;
  const NormSpec& norm = spec.norm;
  const int64_t features = call.weights.out_features();
  if (call.data.residual || call.data.packed_residual) add_residual(call, item, acc);
  if (call.data.sum) write(call, item, acc, spec.sum, call.data.sum);
  if (norm.scale.empty()) return write(call, item, acc, spec.output, call.data.out);
  if (call.progress[item.index].features.fetch_add(item.features, std::memory_order_acq_rel) + item.features < features)
    return;
  float* panel_sums = call.sums + call.panels.first_row(item.index) * features;
  call.kernels.normalize(panel_sums, features, item.panel, norm.epsilon, norm.scale.data(), norm.shift.data());
  const Item whole{item.panel, item.index, 0, features};
  write(call, whole, panel_sums, spec.output, call.data.out);
}

// Work item: one chunk times one panel. Neighbours in the order share the panel: the weights, read in sequence, can
// come from afar, but the panel is read at random and should stay near.
void multiply_item(void* data, size_t number) {
  Call& call = *static_cast<Call*>(data);
  const PackedWeights& weights = call.weights;
  const int64_t chunk = static_cast<int64_t>(number) % weights.chunk_count();
  const int64_t index = static_cast<int64_t>(number) / weights.chunk_count();
  const Item item{call.panels[index], index, weights.first_feature(chunk), weights.features(chunk)};
  const size_t lanes = static_cast<size_t>(item.panel.stride());
  const float* bias = call.spec.bias.empty() ? nullptr : call.spec.bias.data() + item.first_feature;
  const float* x = packed_panel(call, index);
  const Scratch own(call.sums ? 0 : item.features * lanes);
  float* acc = call.sums ? call.sums + call.panels.first_row(index) * weights.out_features() +
                               item.first_feature * static_cast<int64_t>(lanes)
                         : own.data();
  weights.each_block(chunk, [&](int64_t column, const Block& block) {
    const auto multiply = block.run_features == 1 ? call.kernels.multiply : call.kernels.multiply4;
    multiply(block, item.panel, bias, x + column * item.panel.stride(), acc);
  });
  if (call.sums)
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

SparseLinear::SparseLinear(const CsrView& csr, LinearSpec spec) : weights_(csr), spec_(std::move(spec)) {
  check_length(spec_.bias, "bias", "out_features", csr.out_features, false);
  check_norm(spec_.norm, "", "out_features", csr.out_features);
  check_norm(spec_.prenorm, "prenorm_", "in_features", csr.in_features);
  if (!spec_.norm.scale.empty() && spec_.activation != Activation::kNone)
    throw InputError("a norm cannot follow an activation");
}

size_t SparseLinear::packed_floats(int64_t rows) const {
  return static_cast<size_t>(Panels(rows).groups()) * kLanes * weights_.in_features();
}

void SparseLinear::run(const Kernels& kernels, const LinearData& data, ParallelFor parallel_for, void* pool) const {
  const int64_t rows = data.rows;
  if (rows <= 0) return;
  const bool residual = data.residual || data.packed_residual;
  if (residual && spec_.activation != Activation::kNone)
    throw InputError("a residual cannot be added behind an activation");
  const bool in_panels = rows >= kLanes;
  if ((data.packed || !spec_.prenorm.scale.empty()) && spec_.input == Layout::kPanels)
    throw InputError("what is packed or normed first must lie in rows");
  const Panels panels(rows);
  const size_t lanes = static_cast<size_t>(panels.groups()) * kLanes;
  // Of panels only the last one may need padding; rows are packed, all of them.
  const int64_t last = panels.count() - 1;
  const int64_t ready = panels[last].whole() ? panels.count() : last;
  const int64_t first_packed = in_panels && spec_.input == Layout::kPanels ? ready : 0;
  const size_t packed_lanes = lanes - static_cast<size_t>(first_packed > last ? lanes : panels.first_row(first_packed));
  const size_t packed_floats = packed_lanes * weights_.in_features();
  const Scratch packed(data.packed ? 0 : packed_floats), normed(spec_.prenorm.scale.empty() ? 0 : packed_floats);
  const bool more = residual || data.sum || !spec_.norm.scale.empty();
  const Scratch sums(more ? lanes * weights_.out_features() : 0);
  Call call{kernels,
            weights_,
            spec_,
            data,
            panels,
            in_panels,
            data.packed ? data.packed : packed.data(),
            first_packed,
            normed.data(),
            sums.data(),
            std::vector<PanelProgress>(panels.count())};
  if (packed_floats <= kPackedAlone)
    for (int64_t i = first_packed; i < panels.count(); ++i) packed_panel(call, i);
  run_items(parallel_for, pool, static_cast<size_t>(panels.count() * weights_.chunk_count()), multiply_item, &call);
}

}  // namespace platon
