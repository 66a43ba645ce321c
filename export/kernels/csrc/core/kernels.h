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
constexpr int kQuadRows = 4;      // rows of a 4x1 block
constexpr int kReadBehind = 7;    // offsets and values that may be read, but not used, behind a block's last

enum class Activation : int { kNone, kGelu, kGeluTanh, kRelu };

// `count` rows of a block that hold the same number of non-zeros: one loop without mispredicted exits.
struct RunGroup {
  uint16_t length;
  uint16_t count;
};

// Non-zeros of one (row chunk, column block): runs sorted by length; row, offsets and values follow run by run.
// A run belongs to one row, or to kQuadRows neighbouring rows that hold non-zeros in the same columns (4x1 blocks).
struct Block {
  int run_rows;            // 1: for Kernels::multiply, or kQuadRows: for multiply4
  bool starts;             // the runs start their rows' sums, with bias[row], or 0 where bias is null
  const RunGroup* groups;  // lengths are numbers of columns
  int group_count;
  const uint16_t* rows;    // (first) row inside the chunk, one per run
  const uint8_t* offsets;  // column inside the block, one per column of a run
  const float* values;     // [column of a run][run_rows]
};

// Up to kMaxWidth * kLanes tokens, feature-major: panel[column][stride()], zeros behind the last token. Between layers
// (Layout::kPanels) the same panel lies as [column][tokens], without them.
struct Panel {
  int tokens, width;
  int stride() const { return width * kLanes; }
  bool whole() const { return tokens == stride(); }
};

constexpr int kAttentionWidth = 4;  // groups in the widest block of queries
constexpr float kHidden = -1e30f;      // where masks are cut off: a query from which all is hidden spreads evenly

// Some of a head's keys and their values, feature-major: k[feature][stride] and v[feature][stride].
struct KeySegment {
  const float *k, *v;
  int64_t stride, count;
};

// One head's attention of up to kAttentionWidth groups of queries. q, scores, query_mask and out have rows of
// queries.stride(), whatever stands behind the last query.
struct AttentionBlock {
  Panel queries;
  int64_t size, value_size;  // features of q and k; of v and out
  const float* q;            // [size]
  const KeySegment* segments;
  int64_t segment_count;
  float scale;
  const float* key_mask;    // [keys], or null; added to the scores of all queries
  const float* query_mask;  // [keys] rows, or null; both are at least kHidden, and one of them is null
  float* scores;  // working memory, [keys]
  float* out;     // [value_size]
};

struct Kernels {
  const char* name;
  bool (*supported)();
  // x[tokens][x_stride] -> out[columns][panel.stride()]
  void (*pack)(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out);
  // x[columns][panel.tokens] -> out[columns][panel.stride()]
  void (*pad)(const float* x, const Panel& panel, int64_t columns, float* out);
  // acc += block * x (acc = bias + block * x where the block starts), where `x` is the panel's data from the block's
  // first column on.
  void (*multiply)(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc);
  void (*multiply4)(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc);
  // out[token][out_stride] = activation(acc[row][token])
  void (*finish)(const float* acc, int rows, const Panel& panel, Activation activation, float* out,
                 int64_t out_stride);
  // out[row][panel.tokens] = activation(acc[row][token])
  void (*finish_panel)(const float* acc, int rows, const Panel& panel, Activation activation, float* out);
  // acc[row][token] += x[row][x_stride]
  void (*add)(const float* x, int64_t x_stride, int rows, const Panel& panel, float* acc);
  // Each token of acc[features][width * kLanes] to mean 0 and variance 1 over the features (biased variance plus
  // epsilon, as ONNX LayerNormalization), times scale[feature], plus shift[feature].
  void (*normalize)(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
                    const float* shift);
  void (*attend)(const AttentionBlock& block);
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
