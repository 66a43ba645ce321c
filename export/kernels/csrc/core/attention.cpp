#include "core/attention.h"

#include <string>

#include "core/csr.h"
#include "core/heads.h"

namespace platon {
namespace {

// One head of one sequence.
class Head {
 public:
  Head(const AttentionCall& call, size_t number, int64_t head)
      : call_(call),
        sequence_(call.sequences[number]),
        head_(head),
        keys_(call, sequence_, head),
        mask_(call, number, head),
        memory_(floats(call.data, sequence_.length, mask_)) {
    if (mask_ && !mask_.per_query())
      for (int64_t key = 0; key < sequence_.length; ++key) packed_mask()[key] = mask_.of_key(key);
  }

  void run() {
    each_block(call_, sequence_, [&](const Part& block) { run_block(block); });
  }

 private:
  // Queries, results, scores and mask of one block.
  static size_t floats(const AttentionData& data, int64_t keys, const HeadMask& mask) {
    const int64_t of_mask = mask ? keys * (mask.per_query() ? kQueries : 1) : 0;
    return static_cast<size_t>(kQueries * (data.q.size + data.v.size + keys) + of_mask);
  }
  float* results() const { return memory_.data() + kQueries * call_.data.q.size; }
  float* scores() const { return results() + kQueries * call_.data.v.size; }
  float* packed_mask() const { return scores() + kQueries * sequence_.length; }

  void run_block(const Part& part) {
    const AttentionData& data = call_.data;
    read_queries(call_, part, head_, memory_.data());
    if (mask_.per_query()) mask_.pack(call_, part, sequence_.start, sequence_.length, packed_mask());
    const float* mask = mask_ ? packed_mask() : nullptr;
    call_.kernels.attend({own_panel(part), data.q.size, data.v.size, memory_.data(), keys_.data(), keys_.count(),
                          call_.spec.scale, mask_.per_query() ? nullptr : mask, mask_.per_query() ? mask : nullptr,
                          scores(), results()});
    write_results(call_, part, head_, results());
  }

  const AttentionCall& call_;
  const Sequence& sequence_;
  const int64_t head_;
  const Keys keys_;
  const HeadMask mask_;
  const Scratch memory_;
};

void attend_item(void* data, size_t item) {
  AttentionCall& call = *static_cast<AttentionCall*>(data);
  const size_t heads = static_cast<size_t>(call.spec.heads), number = item / heads;
  const int64_t head = static_cast<int64_t>(item % heads);
  if (call.sequences[number].length == 0) return;
  if (call.spec.bytes) return attend_bytes(call, number, head);
  Head(call, number, head).run();
}

constexpr int64_t kMostSummed = 131072;  // products of bytes, each below 2^14, whose sum fits into 32 bits

void check_sums(const char* what, int64_t count) {
  if (count > kMostSummed)
    throw InputError("attention in 8 bits takes at most " + std::to_string(kMostSummed) + " " + what + ", got " +
                     std::to_string(count));
}

}  // namespace

void attend(const Kernels& kernels, const AttentionSpec& spec, const AttentionData& data, ParallelFor parallel_for,
            void* pool) {
  if (spec.bytes) check_sums("features of a head", data.k.size);
  int64_t rows = 0;
  std::vector<Sequence> sequences;
  for (const int64_t length : data.lengths) {
    if (length < 0) throw InputError("lengths must not be negative, got " + std::to_string(length));
    if (spec.bytes) check_sums("tokens of a sequence", length);
    sequences.push_back({rows, length});
    rows += length;
  }
  if (rows == 0) return;
  AttentionCall call{kernels, spec, data, Panels(rows), rows >= kLanes, std::move(sequences)};
  run_items(parallel_for, pool, call.sequences.size() * static_cast<size_t>(spec.heads), attend_item, &call);
}

}  // namespace platon
