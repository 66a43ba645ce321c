// The innermost layer: kernels on raw pointers, one table of functions per instruction set.
//
// Y[rows][features] = X[rows][columns] W^T. Rows are those of the activations (tokens, patches); what W has one row for
// is called a feature. Work unit: a chunk of features times a panel of rows, feature-major. The accumulators of a chunk
// are acc[feature][width * kLanes], one group of kLanes lanes for each group of the panel.
// Callers guarantee every index: weights are validated when they are packed, never here.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace platon {

constexpr int kLanes = 8;              // rows in one group (one 256-bit vector)
constexpr int kMaxWidth = 8;           // groups in the widest panel: 8 accumulator registers
constexpr int kMaxBlockColumns = 256;  // an offset inside a column block is one byte
constexpr int kQuad = 4;               // features of a 4x1 block
constexpr int kReadBehind = 7;         // offsets and values that may be read, but not used, behind a block's last
constexpr int kDot = 4;                // non-zeros of 8-bit weights that are multiplied and added together
constexpr int kLineBytes = 64;         // one column of a panel of bytes, whatever the panel's width
static_assert(kLineBytes == kMaxWidth * kLanes);

enum class Activation : int { kNone, kGelu, kGeluTanh, kRelu };

// `count` runs of a block that hold the same number of non-zeros: one loop without mispredicted exits.
struct RunGroup {
  uint16_t length;
  uint16_t count;
};

// Non-zeros of one (chunk, column block): runs sorted by length; feature, offsets and values follow run by run.
// A run belongs to one feature, or to kQuad neighbours that hold non-zeros in the same columns (4x1 blocks).
struct Block {
  int run_features;        // 1: for Kernels::multiply, or kQuad: for multiply4
  bool starts;             // the runs start their features' sums, with bias[feature], or 0 where bias is null
  const RunGroup* groups;  // lengths are numbers of columns
  int group_count;
  const uint16_t* features;  // (first) feature inside the chunk, one per run
  const uint8_t* offsets;    // column inside the block, one per column of a run
  const float* values;       // [column of a run][run_features]
};

// The same of 8-bit weights: runs of whole steps of kDot non-zeros, filled up with weights of 0. Their sums start with
// 0.
struct ByteBlock {
  bool starts;
  const RunGroup* groups;  // lengths are numbers of steps
  int group_count;
  const uint16_t* features;
  const uint8_t* steps;  // 2 kDot bytes each: columns inside the block, then weights (int8)
};

// Up to kMaxWidth * kLanes rows, feature-major: panel[column][stride()], zeros behind the last row. Between layers
// (Layout::kPanels) the same panel lies as [column][rows], without them.
struct Panel {
  int rows, width;
  int stride() const { return width * kLanes; }
  bool whole() const { return rows == stride(); }
};

// What the rows of a panel hold. poison is 0, or NaN where a row holds NaN or infinity.
struct RowRanges {
  float low[kLineBytes] = {}, high[kLineBytes] = {}, poison[kLineBytes] = {};
};

// How the rows of a panel become bytes: q = round(x * inverse) + zero, cut to 0..255, so that x is about
// (q - zero) * scale.
struct RowScales {
  float scale[kLineBytes], inverse[kLineBytes];
  int32_t zero[kLineBytes];
};

constexpr int kAttentionWidth = 4;  // groups in the widest block of queries
constexpr float kHidden = -1e30f;   // where masks are cut off: a query from which all is hidden spreads evenly
constexpr float kLog2E = 1.44269504f;

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
  float* scores;            // working memory, [keys]
  float* out;               // [value_size]
};

constexpr int kMostQuery = 127, kMostKey = 63;  // so that 16-bit sums of two products do not saturate
constexpr int kQueryZero = 128;
constexpr float kMostWeight = 255.0f;
constexpr int kByteBehind = 15;  // keys that ByteAttentionBlock's arrays have room for behind the last one

// A quad is kDot neighbours: of features for q and k, of keys for v and the weights.
constexpr int64_t quads(int64_t count) { return (count + kDot - 1) / kDot; }

// The same in bytes.
struct ByteAttentionBlock {
  Panel queries;
  int64_t size, value_size, keys, key_stride;
  const uint8_t* q;                            // [quads][queries.stride()][kDot], as this set's QuantizeQuads writes it
  const float* q_scale;                        // [queries.stride()], the scores' scale and log2(e) included
  const int8_t* k;                             // [quads][key_stride][kDot]
  const int32_t* k_start;                      // [keys], -kQueryZero times the sum of a key's bytes
  const int8_t* v;                             // [value_size][key_stride]
  const float *k_scale, *v_inverse, *key_add;  // [keys]; added to the scores, which are logarithms to base 2
  const float* query_mask;                     // [keys] rows, or null; times log2(e) it is added to the scores
  float* scores;                               // working memory, [keys]
  uint8_t* weights;                            // working memory, [quads][queries.stride()][kDot]
  float* out;                                  // [value_size]
};

// Whether this processor can run the set.
using Supported = bool();
// x[rows][x_stride] -> out[columns][panel.stride()]
using Pack = void(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out);
// x[columns][panel.rows] -> out[columns][panel.stride()]
using Pad = void(const float* x, const Panel& panel, int64_t columns, float* out);
// acc += block * x (acc = bias + block * x where the block starts), where `x` is the panel's data from the block's
// first column on.
using Multiply = void(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc);
// out[row][out_stride] = activation(acc[feature][row])
using Finish = void(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out,
                    int64_t out_stride);
// out[feature][panel.rows] = activation(acc[feature][row])
using FinishPanel = void(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out);
// acc[feature][row] += x[feature][x_stride]
using Add = void(const float* x, int64_t x_stride, int64_t features, const Panel& panel, float* acc);
// Each row of acc[features][width * kLanes] to mean 0 and variance 1 over the features (biased variance plus epsilon,
// as ONNX LayerNormalization), times scale[feature], plus shift[feature].
using Normalize = void(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
                       const float* shift);
// Widens the ranges by x[columns][x_stride].
using MeasureRows = void(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, RowRanges& ranges);
// x[columns][x_stride] -> out[columns][kLineBytes]. In which order a set lays the rows into a line, and from which zero
// it counts its bytes, is its own matter.
using Quantize = void(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, const RowScales& scales,
                      uint8_t* out);
// As Multiply, in whole numbers; `x` as this set's Quantize writes it.
using MultiplyBytes = void(const ByteBlock& block, const Panel& panel, const uint8_t* x, int32_t* acc);
// acc[feature][row], whole numbers, in place to floats: (acc - zero * sums[feature]) * (scale * scales[feature]) +
// bias[feature] (nothing where bias is null), each operation rounded by itself.
using Dequantize = void(void* acc, int64_t features, const Panel& panel, const RowScales& rows, const float* scales,
                        const int32_t* sums, const float* bias);
using Attend = void(const AttentionBlock& block);
// x[features][x_stride] of `rows` rows -> out[quads of features][out_stride][kDot], round(x * inverse[row]) + zero;
// sums[row]: of a row's numbers without `zero`, where not null, with room for kByteBehind more. `zero` is 0 for keys
// and kQueryZero for queries; a set that multiplies signed bytes leaves that out, here and where k_start makes up for
// it.
using QuantizeQuads = void(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int zero,
                           uint8_t* out, int64_t out_stride, int32_t* sums);
// The same as out[features][out_stride], without sums. Up to kByteBehind rows behind the last are written too.
using QuantizeColumns = void(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse,
                             int8_t* out, int64_t out_stride);
using AttendBytes = void(const ByteAttentionBlock& block);
// What this processor can do at most with these instructions, for benchmarks: `rounds` rounds of floating-point
// operations on registers (burn_fma), or of bytes read from the first-level cache (burn_load); how many one round does.
using Burn = int(int64_t rounds);

struct Kernels {
  const char* name;
  Supported* supported;
  Pack* pack;
  Pad* pad;
  Multiply *multiply, *multiply4;
  Finish* finish;
  FinishPanel* finish_panel;
  Add* add;
  Normalize* normalize;
  MeasureRows* measure_rows;
  Quantize* quantize;
  MultiplyBytes* multiply_bytes;
  Dequantize* dequantize;
  Attend* attend;
  QuantizeQuads* quantize_quads;
  QuantizeColumns* quantize_columns;
  AttendBytes* attend_bytes;
  Burn *burn_fma, *burn_load;
};

// The list that declares, dispatches, tests and benchmarks the kernels, in order of preference. Each is a folder of
// this name; README.md tells how to add one.
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define PLATON_KERNELS(X) X(scalar) X(avx2) X(avx512vnni)
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define PLATON_KERNELS(X) X(scalar) X(neon) X(neondot)
#else
#define PLATON_KERNELS(X) X(scalar)
#endif

// What a folder defines.
#define PLATON_DECLARE(set)         \
  namespace set {                   \
  Supported supported;              \
  Pack pack;                        \
  Pad pad;                          \
  Multiply multiply, multiply4;     \
  Finish finish;                    \
  FinishPanel finish_panel;         \
  Add add;                          \
  Normalize normalize;              \
  MeasureRows measure_rows;         \
  Quantize quantize;                \
  MultiplyBytes multiply_bytes;     \
  Dequantize dequantize;            \
  Attend attend;                    \
  QuantizeQuads quantize_quads;     \
  QuantizeColumns quantize_columns; \
  AttendBytes attend_bytes;         \
  Burn burn_fma, burn_load;         \
  }
PLATON_KERNELS(PLATON_DECLARE)
#undef PLATON_DECLARE

// Those that this processor can run, in the order of PLATON_KERNELS; without the plain loops where there is another.
std::vector<const Kernels*> vector_kernels();
// The kernels to use: of vector_kernels() the fastest by a measurement, once in a process (core/choice.h), or the one
// that PLATON_FORCE_ISA names.
const Kernels& select_kernels();
// By name; throws InputError when there is none such or the processor lacks it.
const Kernels& find_kernels(const std::string& name);

}  // namespace platon
