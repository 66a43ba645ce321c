#include "linear.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "scratch.h"

namespace platon {
namespace {

#define PLATON_ADDRESS(name) &name##_kernels,
constexpr const Kernels* kAllKernels[] = {PLATON_KERNELS(PLATON_ADDRESS)};
#undef PLATON_ADDRESS

std::string kernel_names() {
  std::string names;
  for (const Kernels* kernels : kAllKernels) names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  return names;
}

constexpr int64_t kTileColumns = 64;  // columns that one thread packs at a time

// How far a panel is packed. Whoever needs it first packs tiles; whoever comes meanwhile packs others.
struct PanelProgress {
  std::atomic<int64_t> taken{0}, done{0};
};

// Everything that the work items of one call share.
struct Call {
  const Kernels& kernels;
  const PackedWeights& weights;
  const Panels panels;
  const float* x;
  const float* bias;
  const Activation activation;
  const bool output_panels;
  float* out;
  float* packed;  // null where x lies in panels already
  std::vector<PanelProgress> progress;
  std::atomic<bool> out_of_memory{false};
};

int64_t tile_count(int64_t features) { return (features + kTileColumns - 1) / kTileColumns; }

// `x` and `out` begin with the panel's first token and its first column.
void pack_tile(const Kernels& kernels, const float* x, int64_t features, const Panel& panel, int64_t tile, float* out) {
  const int64_t column = tile * kTileColumns;
  kernels.pack(x + column, features, panel, std::min(kTileColumns, features - column), out + column * panel.stride);
}

// The panel's data, packed by this thread and others. Waiting threads wait only for tiles that a running thread has
// taken, so this cannot deadlock however few threads there are.
const float* packed_panel(Call& call, int64_t index) {
  const int64_t in = call.weights.in_features(), start = call.panels.first_token(index) * in;
  if (!call.packed) return call.x + start;
  PanelProgress& progress = call.progress[index];
  const int64_t tiles = tile_count(in);
  for (int64_t tile; (tile = progress.taken.fetch_add(1, std::memory_order_relaxed)) < tiles;) {
    pack_tile(call.kernels, call.x + start, in, call.panels[index], tile, call.packed + start);
    progress.done.fetch_add(1, std::memory_order_release);
  }
  for (int spins = 0; progress.done.load(std::memory_order_acquire) < tiles; ++spins)
    if (spins > 1000) std::this_thread::yield();
  return call.packed + start;
}

// Work item: one row chunk times one panel; neighbours in the order share the chunk's weights.
void multiply_item(void* data, size_t item) {
  Call& call = *static_cast<Call*>(data);
  const PackedWeights& weights = call.weights;
  const int64_t chunk = static_cast<int64_t>(item) / call.panels.count();
  const int64_t index = static_cast<int64_t>(item) % call.panels.count();
  const int64_t first_row = weights.first_row(chunk), out_features = weights.out_features();
  const Panel panel = call.panels[index];
  const int rows = weights.rows(chunk);
  const float* bias = call.bias ? call.bias + first_row : nullptr;
  float* out = call.out + call.panels.first_token(index) * out_features;
  try {
    const float* x = packed_panel(call, index);
    const Scratch acc(static_cast<size_t>(rows) * panel.width * kLanes);
    weights.each_block(chunk, [&](int64_t column, const Block& block, bool first) {
      call.kernels.multiply(block, panel, first, bias, x + column * panel.stride, acc.data());
    });
    if (call.output_panels)
      call.kernels.finish_panel(acc.data(), rows, panel, call.activation, out + first_row * panel.stride);
    else
      call.kernels.finish(acc.data(), rows, panel, call.activation, out + first_row, out_features);
  } catch (const std::bad_alloc&) {
    call.out_of_memory = true;
  }
}

struct PackCall {
  const Kernels& kernels;
  const Panels panels;
  const float* x;
  int64_t features;
  float* out;
};

void pack_item(void* data, size_t item) {
  const PackCall& call = *static_cast<PackCall*>(data);
  const int64_t tiles = tile_count(call.features), panel = static_cast<int64_t>(item) / tiles;
  const int64_t start = call.panels.first_token(panel) * call.features;
  pack_tile(call.kernels, call.x + start, call.features, call.panels[panel], static_cast<int64_t>(item) % tiles,
            call.out + start);
}

}  // namespace

const Kernels& find_kernels(const std::string& name) {
  for (const Kernels* kernels : kAllKernels)
    if (name == kernels->name) {
      if (kernels->supported()) return *kernels;
      throw InputError("this processor does not support the '" + name + "' kernels; unset PLATON_FORCE_ISA");
    }
  throw InputError("there are no '" + name + "' kernels; PLATON_FORCE_ISA must be one of " + kernel_names());
}

const Kernels& select_kernels() {
  const char* forced = std::getenv("PLATON_FORCE_ISA");
  if (forced && *forced) return find_kernels(forced);
  const Kernels* best = kAllKernels[0];
  for (const Kernels* kernels : kAllKernels)
    if (kernels->supported()) best = kernels;
  return *best;
}

Activation parse_activation(const std::string& name) {
  if (name.empty()) return Activation::kNone;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  throw InputError("activation must be one of '', 'gelu', 'gelu_tanh', 'relu', got '" + name.substr(0, 40) + "'");
}

Panels::Panels(int64_t tokens, bool padded)
    : tokens_(tokens),
      groups_((tokens + kLanes - 1) / kLanes),
      count_((groups_ + kMaxWidth - 1) / kMaxWidth),
      padded_(padded) {}

int64_t Panels::first_group(int64_t panel) const {
  return panel * (groups_ / count_) + std::min(panel, groups_ % count_);
}

Panel Panels::operator[](int64_t panel) const {
  const int width = static_cast<int>(first_group(panel + 1) - first_group(panel)), whole = width * kLanes;
  const int tokens = static_cast<int>(std::min<int64_t>(tokens_ - first_token(panel), whole));
  const int stride = padded_ ? whole : tokens;
  return {tokens, width, stride, stride - kLanes};
}

void pack_tokens(const Kernels& kernels, const float* x, int64_t tokens, int64_t features, float* out,
                 ParallelFor parallel_for, void* pool) {
  if (tokens <= 0 || features <= 0) return;
  if (tokens < kLanes) {
    std::copy(x, x + tokens * features, out);
    return;
  }
  PackCall call{kernels, Panels(tokens, false), x, features, out};
  parallel_for(pool, pack_item, static_cast<size_t>(call.panels.count() * tile_count(features)), &call);
}

SparseLinear::SparseLinear(const CsrView& csr, std::vector<float> bias, Activation activation, Layout input,
                           Layout output)
    : weights_(csr), bias_(std::move(bias)), activation_(activation), input_(input), output_(output) {
  if (!bias_.empty() && static_cast<int64_t>(bias_.size()) != csr.out_features)
    throw InputError("bias must have out_features = " + std::to_string(csr.out_features) + " entries, got " +
                     std::to_string(bias_.size()));
}

void SparseLinear::run(const Kernels& kernels, const float* x, int64_t tokens, const float* bias, float* out,
                       ParallelFor parallel_for, void* pool) const {
  if (tokens <= 0) return;
  const bool input_panels = input_ == Layout::kPanels && tokens >= kLanes;
  const bool output_panels = output_ == Layout::kPanels && tokens >= kLanes;
  const Panels panels(tokens, !input_panels && !output_panels);
  const int64_t packed_floats = input_panels ? 0 : panels.groups() * kLanes * weights_.in_features();
  const Scratch packed(static_cast<size_t>(packed_floats));
  Call call{kernels,     weights_,      panels, x,
            bias ? bias : this->bias(), activation_, output_panels, out,
            input_panels ? nullptr : packed.data(),  std::vector<PanelProgress>(panels.count())};
  parallel_for(pool, multiply_item, static_cast<size_t>(panels.count() * weights_.chunk_count()), &call);
  if (call.out_of_memory) throw std::bad_alloc();
}

}  // namespace platon
