// The innermost layer: kernels on raw pointers, one table of functions per instruction set.
//
// Work unit: a chunk of output rows times a panel of tokens, feature-major. The accumulators of a chunk are
// acc[row][width * kLanes], one group of kLanes lanes for each group of the panel.
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
// The first block of a chunk has a run for every row, empty ones too, because it starts the sums.
struct Block {
  const RunGroup* groups;
  int group_count;
  const uint16_t* rows;    // row inside the chunk, one per run
  const uint8_t* offsets;  // column inside the block, one per non-zero
  const float* values;     // one per non-zero
};

// Up to kMaxWidth * kLanes tokens, feature-major: panel[column][stride]. Group g holds the kLanes tokens from
// offset(g) on. Either the tokens are padded to whole groups (stride = width * kLanes, zeros behind the last token),
// or nothing is padded (stride = tokens >= kLanes) and the last group overlaps the one before it.
struct Panel {
  int tokens, width, stride, last;
  int offset(int group) const { return group + 1 < width ? group * kLanes : last; }
};

struct Kernels {
  const char* name;
  bool (*supported)();
  // x[tokens][x_stride] -> out[columns][panel.stride]
  void (*pack)(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out);
  // acc += block * x, where `x` is the panel's data from the block's first column on. The first block of a chunk
  // starts the sums instead: with bias[row], or 0 where bias is null.
  void (*multiply)(const Block& block, const Panel& panel, bool first, const float* bias, const float* x, float* acc);
  // out[token][out_stride] = activation(acc[row][token])
  void (*finish)(const float* acc, int rows, const Panel& panel, Activation activation, float* out,
                 int64_t out_stride);
  // out[row][panel.stride] = activation(acc[row][token]), for a panel without padding
  void (*finish_panel)(const float* acc, int rows, const Panel& panel, Activation activation, float* out);
  // acc += x[row][panel.stride], for the panel's tokens; padding behind them may hold anything afterwards
  void (*add)(const float* x, int rows, const Panel& panel, float* acc);
  // Each token of acc[features][width * kLanes] to mean 0 and variance 1 over the features (biased variance plus
  // epsilon, as ONNX LayerNormalization), times scale[feature], plus shift[feature].
  void (*normalize)(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
                    const float* shift);
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
