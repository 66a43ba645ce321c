#include "core/linear.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/scratch.h"

namespace platon {
namespace {

// How far a panel is packed, and how many of its features have their sums. Whoever needs a panel first packs tiles;
// whoever comes meanwhile packs others.
struct PanelProgress {
  std::atomic<int64_t> taken{0}, done{0}, features{0};
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
  float* sums;  // accumulators of the whole output where more follows than an activation, else null
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

// The panel's data, packed by this thread and others. Waiting threads wait only for tiles that a running thread has
// taken, so this cannot deadlock however few threads there are.
const float* packed_panel(Call& call, int64_t index) {
  const int64_t in = call.weights.in_features();
  const float* x = call.data.x + call.panels.first_row(index) * in;
  if (index < call.first_packed) return x;
  float* packed = call.packed + (call.panels.first_row(index) - call.panels.first_row(call.first_packed)) * in;
  PanelProgress& progress = call.progress[index];
  const int64_t tiles = tile_count(in);
  for (int64_t tile; (tile = progress.taken.fetch_add(1, std::memory_order_relaxed)) < tiles;) {
    pack_tile(call, x, call.panels[index], tile, packed);
    progress.done.fetch_add(1, std::memory_order_release);
  }
  for (int spins = 0; progress.done.load(std::memory_order_acquire) < tiles; ++spins)
    if (spins > 1000) std::this_thread::yield();
  return packed;
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
  const int64_t features = call.weights.out_features();
  const float* residual = call.data.residual + call.panels.first_row(item.index) * features;
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
  const int64_t features = call.weights.out_features();
  if (call.data.residual) add_residual(call, item, acc);
  if (call.data.sum) write(call, item, acc, spec.sum, call.data.sum);
  if (spec.scale.empty()) return write(call, item, acc, spec.output, call.data.out);
  if (call.progress[item.index].features.fetch_add(item.features, std::memory_order_acq_rel) + item.features < features)
    return;
  float* panel_sums = call.sums + call.panels.first_row(item.index) * features;
  call.kernels.normalize(panel_sums, features, item.panel, spec.epsilon, spec.scale.data(), spec.shift.data());
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

}  // namespace

Activation parse_activation(const std::string& name) {
  if (name.empty()) return Activation::kNone;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  throw InputError("activation must be one of '', 'gelu', 'gelu_tanh', 'relu', got '" + name.substr(0, 40) + "'");
}

SparseLinear::SparseLinear(const CsrView& csr, LinearSpec spec) : weights_(csr), spec_(std::move(spec)) {
  const auto check = [&](const std::vector<float>& vector, const char* name, bool needed) {
    if (vector.size() != static_cast<size_t>(csr.out_features) && (needed || !vector.empty()))
      throw InputError(std::string(name) + " must have out_features = " + std::to_string(csr.out_features) +
                       " entries, got " + std::to_string(vector.size()));
  };
  const bool norm = !spec_.scale.empty() || !spec_.shift.empty();
  check(spec_.bias, "bias", false);
  check(spec_.scale, "scale", norm);
  check(spec_.shift, "shift", norm);
  if (norm && spec_.activation != Activation::kNone) throw InputError("a norm cannot follow an activation");
  if (!(spec_.epsilon >= 0.0f && spec_.epsilon <= 1.0f))
    throw InputError("epsilon must lie in [0, 1], got " + std::to_string(spec_.epsilon));
}

void SparseLinear::run(const Kernels& kernels, const LinearData& data, ParallelFor parallel_for, void* pool) const {
  const int64_t rows = data.rows;
  if (rows <= 0) return;
  if (data.residual && spec_.activation != Activation::kNone)
    throw InputError("a residual cannot be added behind an activation");
  const bool in_panels = rows >= kLanes;
  const Panels panels(rows);
  const size_t lanes = static_cast<size_t>(panels.groups()) * kLanes;
  // Of panels only the last one may need padding; rows are packed, all of them.
  const int64_t last = panels.count() - 1;
  const int64_t ready = panels[last].whole() ? panels.count() : last;
  const int64_t first_packed = in_panels && spec_.input == Layout::kPanels ? ready : 0;
  const size_t packed_lanes = lanes - static_cast<size_t>(first_packed > last ? lanes : panels.first_row(first_packed));
  const Scratch packed(packed_lanes * weights_.in_features());
  const bool more = data.residual || data.sum || !spec_.scale.empty();
  const Scratch sums(more ? lanes * weights_.out_features() : 0);
  Call call{kernels,   weights_,      spec_,        data,        panels,
            in_panels, packed.data(), first_packed, sums.data(), std::vector<PanelProgress>(panels.count())};
  run_items(parallel_for, pool, static_cast<size_t>(panels.count() * weights_.chunk_count()), multiply_item, &call);
}

}  // namespace platon
