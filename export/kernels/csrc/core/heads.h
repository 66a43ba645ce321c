// One call of attention, as its work items see it: parts of sequences, and what of one head lies where.
#pragma once
#include <algorithm>
#include <vector>

#include "core/attention.h"
#include "core/scratch.h"

namespace platon {

struct Sequence {
  int64_t start, length;
};

constexpr int64_t kQueries = kAttentionWidth * kLanes;  // in the widest block

// Everything that the work items of one call share.
struct AttentionCall {
  const Kernels& kernels;
  const AttentionSpec& spec;
  const AttentionData& data;
  const Panels panels;
  const bool in_panels;  // layouts say rows or panels; false: too few rows for panels
  std::vector<Sequence> sequences;

  bool panel_layout(Layout layout) const { return in_panels && layout == Layout::kPanels; }
};

// Rows [first, first + count) of the call, all in one panel, which starts with the row panel_first.
struct Part {
  Panel panel;
  int64_t panel_first, first, count;
};

// The parts of a sequence, in order.
template <class Visit>
void each_part(const AttentionCall& call, const Sequence& sequence, const Visit& visit) {
  const int64_t end = sequence.start + sequence.length;
  for (int64_t i = call.panels.index_of(sequence.start), first = sequence.start; first < end; ++i) {
    const int64_t panel_first = call.panels.first_row(i);
    const int64_t count = std::min(panel_first + call.panels[i].rows, end) - first;
    visit(Part{call.panels[i], panel_first, first, count});
    first += count;
  }
}

// Up to kQueries rows at a time; blocks never cross a panel.
template <class Visit>
void each_block(const AttentionCall& call, const Sequence& sequence, const Visit& visit) {
  each_part(call, sequence, [&](const Part& part) {
    for (int64_t done = 0; done < part.count; done += kQueries)
      visit(Part{part.panel, part.panel_first, part.first + done, std::min(kQueries, part.count - done)});
  });
}

// The part's rows as a panel of their own.
inline Panel own_panel(const Part& part) {
  return {static_cast<int>(part.count), static_cast<int>((part.count + kLanes - 1) / kLanes)};
}

// Keys and values of one head: where they lie, or copied out of a row-major input.
class Keys {
 public:
  Keys(const AttentionCall& call, const Sequence& sequence, int64_t head);
  const KeySegment* data() const { return segments_.data(); }
  int64_t count() const { return static_cast<int64_t>(segments_.size()); }

 private:
  Scratch copies_;
  std::vector<KeySegment> segments_;
};

// The mask of one head of one sequence, cut off at kHidden.
class HeadMask {
 public:
  HeadMask(const AttentionCall& call, size_t number, int64_t head);
  bool per_query() const { return data_ && mask_.query_stride != 0; }
  // What is added to the scores of a key, of every query; 0 without a mask or with one for each query.
  float of_key(int64_t key) const { return data_ && !per_query() ? cut_off(data_[key * mask_.key_stride]) : 0.0f; }
  // The block's part of a mask that has a row for each query, as `keys` rows of queries.
  void pack(const AttentionCall& call, const Part& block, int64_t start, int64_t keys, float* out) const;
  explicit operator bool() const { return data_; }

 private:
  // std::max returns its first operand for NaN.
  static float cut_off(float mask) { return std::max(mask, kHidden); }

  const AttentionMask& mask_;
  const float* const data_;
};

// Queries of one block, feature-major.
void read_queries(const AttentionCall& call, const Part& block, int64_t head, float* q);

void write_results(const AttentionCall& call, const Part& block, int64_t head, const float* results);

// One head of one sequence with 8-bit products (attention_bytes.cpp).
void attend_bytes(const AttentionCall& call, size_t number, int64_t head);

}  // namespace platon
