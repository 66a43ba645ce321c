// One call of a layer, as its work items see it, and the panels that they make ready together.
#pragma once
#include <atomic>
#include <thread>
#include <vector>

#include "core/linear.h"
#include "core/scratch.h"

namespace platon {

// Items of work that whoever needs the result shares with whoever else does.
class Stage {
 public:
  // Runs work(i) for what nobody has taken yet, and finish() once all are done; returns when that is. Waiting threads
  // wait only for items that a running thread has taken, so this cannot deadlock however few threads there are.
  template <class Work, class Finish>
  void complete(int64_t items, const Work& work, const Finish& finish) {
    for (int64_t item; (item = taken_.fetch_add(1, std::memory_order_relaxed)) < items;) {
      work(item);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 < items) continue;
      finish();
      ready_.store(true, std::memory_order_release);
    }
    for (int spins = 0; !ready_.load(std::memory_order_acquire); ++spins)
      if (spins > 1000) std::this_thread::yield();
  }

 private:
  std::atomic<int64_t> taken_{0}, done_{0};
  std::atomic<bool> ready_{false};
};

// How far a panel is, and how many of its features have their sums.
struct PanelProgress {
  Stage packed, quantized;
  std::atomic<int64_t> features{0};
};

// Working memory of one call. What the call does not need is null.
struct Memory {
  // Panels from first_packed on are packed.
  Memory(const SparseLinear& layer, const LinearData& data, const Panels& panels, int64_t first_packed);

  const size_t packed_floats;  // of x, whoever holds them
  const Scratch packed_;
  float* const packed;   // x in padded panels
  const Scratch normed;  // the same behind the norm in front of the product
  const Scratch sums;    // accumulators of the whole output, where more follows than an activation
  const Scratch bytes_, ranges_, scales_;

  uint8_t* bytes() const { return reinterpret_cast<uint8_t*>(bytes_.data()); }  // [panels][in_features][kLineBytes]
  RowRanges* ranges() const { return reinterpret_cast<RowRanges*>(ranges_.data()); }  // [panels][tiles]
  RowScales* scales() const { return reinterpret_cast<RowScales*>(scales_.data()); }  // [panels]
};

// Everything that the work items of one call share.
struct Call {
  const Kernels& kernels;
  const Weights& weights;
  const LinearSpec& spec;
  const LinearData& data;
  const Panels panels;
  const bool in_panels;        // layouts say rows or panels; false: too few rows for panels
  const int64_t first_packed;  // panels before it are read where they are
  const Memory& memory;
  std::vector<PanelProgress> progress;

  bool panel_layout(Layout layout) const { return in_panels && layout == Layout::kPanels; }
};

// What a product of floats multiplies: the panel's data, packed by this thread and others.
const float* packed_panel(Call& call, int64_t index);

// What a product of bytes multiplies; the panel's row scales say what it stands for.
const uint8_t* quantized_panel(Call& call, int64_t index);

}  // namespace platon
