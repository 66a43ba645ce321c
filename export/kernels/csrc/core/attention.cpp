#include "core/attention.h"

#include <algorithm>
#include <string>

#include "core/csr.h"
#include "core/scratch.h"

namespace platon {
namespace {

struct Sequence {
  int64_t start, length;
};

constexpr int64_t kBlock = kAttentionWidth * kLanes;  // queries

// Everything that the work items of one call share.
struct Call {
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
void each_part(const Call& call, const Sequence& sequence, const Visit& visit) {
  const int64_t end = sequence.start + sequence.length;
  for (int64_t i = call.panels.index_of(sequence.start), first = sequence.start; first < end; ++i) {
    const int64_t panel_first = call.panels.first_row(i);
    const int64_t count = std::min(panel_first + call.panels[i].rows, end) - first;
    visit(Part{call.panels[i], panel_first, first, count});
    first += count;
  }
}

// Where a feature of the part's first row lies in panels; the next feature follows part.panel.rows further.
int64_t place(const Part& part, int64_t features, int64_t feature) {
  return part.panel_first * features + feature * part.panel.rows + part.first - part.panel_first;
}

// The part's rows as a panel of their own.
Panel own_panel(const Part& part) {
  return {static_cast<int>(part.count), static_cast<int>((part.count + kLanes - 1) / kLanes)};
}

// Keys and values of one head: where they lie, or copied out of a row-major input.
class Keys {
 public:
  Keys(const Call& call, const Sequence& sequence, int64_t head)
      : copies_(call.panel_layout(call.spec.input)
                    ? 0
                    : static_cast<size_t>(lanes(sequence.length) * (call.data.k.size + call.data.v.size))) {
    const AttentionOperand &k = call.data.k, &v = call.data.v;
    const int64_t k_first = k.first + head * k.size, v_first = v.first + head * v.size;
    float* copy = copies_.data();
    each_part(call, sequence, [&](const Part& part) {
      if (call.panel_layout(call.spec.input))
        return segments_.push_back({k.data + place(part, k.features, k_first),
                                    v.data + place(part, v.features, v_first), part.panel.rows, part.count});
      const Panel panel = own_panel(part);
      float* v_copy = copy + k.size * panel.stride();
      call.kernels.pack(k.data + part.first * k.features + k_first, k.features, panel, k.size, copy);
      call.kernels.pack(v.data + part.first * v.features + v_first, v.features, panel, v.size, v_copy);
      segments_.push_back({copy, v_copy, panel.stride(), part.count});
      copy = v_copy + v.size * panel.stride();
    });
  }

  const KeySegment* data() const { return segments_.data(); }
  int64_t count() const { return static_cast<int64_t>(segments_.size()); }

 private:
  // Each part is padded to whole groups. Panels beside others are at least half as wide as the widest.
  static int64_t lanes(int64_t length) {
    const int64_t parts = length / (kMaxWidth / 2 * kLanes) + 2;
    return length + parts * (kLanes - 1);
  }

  Scratch copies_;
  std::vector<KeySegment> segments_;
};

// Queries of one block, feature-major.
void read_queries(const Call& call, const Part& part, int64_t head, float* q) {
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

void write_results(const Call& call, const Part& part, int64_t head, const float* results) {
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

inline float cut_off(float mask) { return std::max(mask, kHidden); }  // std::max returns its first operand for NaN

// One head of one sequence.
class Head {
 public:
  Head(const Call& call, const Sequence& sequence, int64_t number, int64_t head)
      : call_(call),
        sequence_(sequence),
        head_(head),
        keys_(call, sequence, head),
        per_query_(call.data.mask.data && call.data.mask.query_stride != 0),
        memory_(floats(call.data, sequence.length, per_query_)) {
    const AttentionMask& mask = call.data.mask;
    if (!mask.data) return;
    mask_ = mask.data + number * mask.sequence_stride + head * mask.head_stride;
    if (!per_query_)
      for (int64_t key = 0; key < sequence.length; ++key) packed_mask()[key] = cut_off(mask_[key * mask.key_stride]);
  }

  // Blocks of queries never cross a panel.
  void run() {
    each_part(call_, sequence_, [&](const Part& part) {
      for (int64_t done = 0; done < part.count; done += kBlock)
        run_block({part.panel, part.panel_first, part.first + done, std::min(kBlock, part.count - done)});
    });
  }

 private:
  // Queries, results, scores and mask of one block.
  static size_t floats(const AttentionData& data, int64_t keys, bool per_query) {
    const int64_t mask = data.mask.data ? keys * (per_query ? kBlock : 1) : 0;
    return static_cast<size_t>(kBlock * (data.q.size + data.v.size + keys) + mask);
  }
  float* results() const { return memory_.data() + kBlock * call_.data.q.size; }
  float* scores() const { return results() + kBlock * call_.data.v.size; }
  float* packed_mask() const { return scores() + kBlock * sequence_.length; }

  void run_block(const Part& part) {
    const AttentionData& data = call_.data;
    read_queries(call_, part, head_, memory_.data());
    if (per_query_) pack_mask(part);
    const float* mask = mask_ ? packed_mask() : nullptr;
    call_.kernels.attend({own_panel(part), data.q.size, data.v.size, memory_.data(), keys_.data(), keys_.count(),
                          call_.spec.scale, per_query_ ? nullptr : mask, per_query_ ? mask : nullptr, scores(),
                          results()});
    write_results(call_, part, head_, results());
  }

  // The block's part of a mask that has a row for each query, as rows of keys.
  void pack_mask(const Part& part) const {
    const AttentionMask& mask = call_.data.mask;
    const Panel block = own_panel(part);
    const float* rows = mask_ + (part.first - sequence_.start) * mask.query_stride;
    const int64_t keys = sequence_.length, once = mask.key_stride ? keys : 1;
    float* packed = packed_mask();
    call_.kernels.pack(rows, mask.query_stride, block, once, packed);
    for (int64_t i = 0; i < once * block.stride(); ++i) packed[i] = cut_off(packed[i]);
    for (int64_t key = once; key < keys; ++key)
      std::copy(packed, packed + block.stride(), packed + key * block.stride());
  }

  const Call& call_;
  const Sequence& sequence_;
  const int64_t head_;
  const Keys keys_;
  const bool per_query_;
  const Scratch memory_;
  const float* mask_ = nullptr;
};

void attend_item(void* data, size_t item) {
  Call& call = *static_cast<Call*>(data);
  const int64_t number = static_cast<int64_t>(item) / call.spec.heads,
                head = static_cast<int64_t>(item) % call.spec.heads;
  const Sequence& sequence = call.sequences[number];
  if (sequence.length == 0) return;
  Head(call, sequence, number, head).run();
}

}  // namespace

void attend(const Kernels& kernels, const AttentionSpec& spec, const AttentionData& data, ParallelFor parallel_for,
            void* pool) {
  int64_t rows = 0;
  std::vector<Sequence> sequences;
  for (const int64_t length : data.lengths) {
    if (length < 0) throw InputError("lengths must not be negative, got " + std::to_string(length));
    sequences.push_back({rows, length});
    rows += length;
  }
  if (rows == 0) return;
  Call call{kernels, spec, data, Panels(rows), rows >= kLanes, std::move(sequences)};
  run_items(parallel_for, pool, call.sequences.size() * static_cast<size_t>(spec.heads), attend_item, &call);
}

}  // namespace platon
