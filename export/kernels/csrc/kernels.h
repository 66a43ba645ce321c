// The innermost layer: kernels on raw pointers, one table of functions per instruction set.
//
// Work unit: a chunk of output rows times a panel of tokens. A panel holds `width` groups of kLanes tokens,
// feature-major: panel[column][width * kLanes]. The accumulators of a chunk are acc[row][width * kLanes].
// Callers guarantee every index: weights are validated when they are packed, never here.
#pragma once
#include <cstdint>

namespace platon {

constexpr int kLanes = 8;         // tokens in one group (one 256-bit vector)
constexpr int kMaxWidth = 8;      // groups in the widest panel: 8 accumulator registers
constexpr int kMaxBlockColumns = 256;  // an offset inside a column block is one byte

enum class Activation : int { kNone, kGelu, kGeluTanh, kRelu };

// `count` rows of a block that hold the same number of non-zeros: one loop without mispredicted exits.
struct RunGroup {
  uint16_t length;
  uint16_t count;
};

// Non-zeros of one (row chunk, column block): runs sorted by length; row, offsets and values follow run by run.
struct Block {
  const RunGroup* groups;
  int group_count;
  const uint16_t* rows;    // row inside the chunk, one per run
  const uint8_t* offsets;  // column inside the block, one per non-zero
  const float* values;     // one per non-zero
};

struct Kernels {
  const char* name;
  bool (*supported)();
  // x[tokens][stride] (tokens <= width * kLanes; absent ones become 0) -> panel[columns][width * kLanes]
  void (*pack)(const float* x, int64_t stride, int tokens, int64_t columns, int width, float* panel);
  // acc[rows][width * kLanes] = bias[row] (or 0 where bias is null)
  void (*start)(const float* bias, int rows, int width, float* acc);
  // acc += block * panel; `panel` points at the block's first column
  void (*multiply)(const Block& block, int width, const float* panel, float* acc);
  // out[token][stride] = activation(acc[row][token]) for `tokens` tokens and `rows` rows
  void (*finish)(const float* acc, int rows, int width, int tokens, Activation activation, float* out,
                 int64_t stride);
  // What this processor can do at most with these instructions, for benchmarks: one call does `rounds` rounds of
  // fma_flops floating-point operations on registers, or of load_bytes read from the first-level cache.
  void (*burn_fma)(int64_t rounds);
  void (*burn_load)(int64_t rounds);
  int fma_flops, load_bytes;
};

// The list that declares, dispatches, tests and benchmarks the kernels; the last supported one is the default.
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define PLATON_KERNELS(X) X(scalar) X(avx2)
#else
#define PLATON_KERNELS(X) X(scalar)
#endif

#define PLATON_DECLARE(name) extern const Kernels name##_kernels;
PLATON_KERNELS(PLATON_DECLARE)
#undef PLATON_DECLARE

}  // namespace platon
