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

// Tokens in groups of kLanes, cut into panels as equal as possible (197 tokens: 7 + 6 + 6 + 6 groups).
struct Panels {
  int64_t tokens, groups, count;
  explicit Panels(int64_t token_count)
      : tokens(token_count),
        groups((token_count + kLanes - 1) / kLanes),
        count((groups + kMaxWidth - 1) / kMaxWidth) {}
  int64_t first_group(int64_t panel) const { return panel * (groups / count) + std::min(panel, groups % count); }
  int width(int64_t panel) const { return static_cast<int>(first_group(panel + 1) - first_group(panel)); }
  int64_t first_token(int64_t panel) const { return first_group(panel) * kLanes; }
  int valid(int64_t panel) const {
    return static_cast<int>(std::min<int64_t>(tokens - first_token(panel), int64_t{width(panel)} * kLanes));
  }
};

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
  float* out;
  float* packed;  // panels one after the other, each [in_features][width * kLanes]
  std::vector<PanelProgress> progress;
  std::atomic<bool> out_of_memory{false};

  float* panel(int64_t index) const { return packed + panels.first_token(index) * weights.in_features(); }
  int64_t items() const { return weights.chunk_count() * panels.count; }
};

void pack_tile(Call& call, int64_t panel, int64_t tile) {
  const int64_t in = call.weights.in_features(), column = tile * kTileColumns;
  const int width = call.panels.width(panel);
  call.kernels.pack(call.x + call.panels.first_token(panel) * in + column, in, call.panels.valid(panel),
                    std::min(kTileColumns, in - column), width, call.panel(panel) + column * width * kLanes);
}

// Returns when the whole panel is packed, by this thread and others. Waiting threads wait only for tiles that a
// running thread has taken, so this cannot deadlock however few threads there are.
void ensure_packed(Call& call, int64_t panel) {
  PanelProgress& progress = call.progress[panel];
  const int64_t tiles = (call.weights.in_features() + kTileColumns - 1) / kTileColumns;
  for (int64_t tile; (tile = progress.taken.fetch_add(1, std::memory_order_relaxed)) < tiles;) {
    pack_tile(call, panel, tile);
    progress.done.fetch_add(1, std::memory_order_release);
  }
  for (int spins = 0; progress.done.load(std::memory_order_acquire) < tiles; ++spins)
    if (spins > 1000) std::this_thread::yield();
}

// Work item: one row chunk times one panel; neighbours in the order share the chunk's weights.
void multiply_item(void* data, size_t index) {
  Call& call = *static_cast<Call*>(data);
  const PackedWeights& weights = call.weights;
  const int64_t chunk = static_cast<int64_t>(index) / call.panels.count;
  const int64_t panel = static_cast<int64_t>(index) % call.panels.count;
  const int64_t first_row = weights.first_row(chunk), out_features = weights.out_features();
  const int width = call.panels.width(panel), lanes = width * kLanes, rows = weights.rows(chunk);
  try {
    ensure_packed(call, panel);
    const Scratch acc(static_cast<size_t>(rows) * lanes);
    call.kernels.start(call.bias ? call.bias + first_row : nullptr, rows, width, acc.data());
    weights.each_block(chunk, [&](int64_t column, const Block& block) {
      call.kernels.multiply(block, width, call.panel(panel) + column * lanes, acc.data());
    });
    call.kernels.finish(acc.data(), rows, width, call.panels.valid(panel), call.activation,
                        call.out + call.panels.first_token(panel) * out_features + first_row, out_features);
  } catch (const std::bad_alloc&) {
    call.out_of_memory = true;
  }
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

SparseLinear::SparseLinear(const CsrView& csr, std::vector<float> bias, Activation activation)
    : weights_(csr), bias_(std::move(bias)), activation_(activation) {
  if (!bias_.empty() && static_cast<int64_t>(bias_.size()) != csr.out_features)
    throw InputError("bias must have out_features = " + std::to_string(csr.out_features) + " entries, got " +
                     std::to_string(bias_.size()));
}

void SparseLinear::run(const Kernels& kernels, const float* x, int64_t tokens, const float* bias, float* out,
                       ParallelFor parallel_for, void* pool) const {
  if (tokens <= 0) return;
  const Panels panels(tokens);
  const Scratch packed(static_cast<size_t>(panels.groups) * kLanes * static_cast<size_t>(weights_.in_features()));
  Call call{kernels, weights_, panels, x, bias ? bias : this->bias(), activation_, out, packed.data(),
            std::vector<PanelProgress>(panels.count)};
  parallel_for(pool, multiply_item, static_cast<size_t>(call.items()), &call);
  if (call.out_of_memory) throw std::bad_alloc();
}

}  // namespace platon
