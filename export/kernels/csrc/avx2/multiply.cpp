// The AVX2 + FMA products of one block of weights and one panel: single features, and four that share their columns.
#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

#include <cstring>
#include <utility>

#include "avx2/begin.h"

namespace platon::avx2 {
namespace {

constexpr int kUnrolledLength = 16;  // runs up to this length have straight-line code of their own
constexpr int kStep = 8;             // non-zeros whose offsets are read at once
// Loads bound wide panels; what else it takes to find a column and a weight bounds narrow ones.
constexpr bool load_bound(int width) { return width > 4; }

inline __m256 load(const char* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }

template <int kWidth>
inline const char* column_of(const char* panel, uint64_t offset) {
  return panel + offset * (kWidth * kLanes * sizeof(float));
}

template <int kWidth>
inline void add_nonzero(__m256 weight, const char* column, __m256 sum[kWidth]) {
  // One register: Intel splits an FMA whose operand in memory needs two.
  if constexpr (load_bound(kWidth)) asm("" : "+r"(column));
#pragma GCC unroll 8
  for (int w = 0; w < kWidth; ++w) sum[w] = _mm256_fmadd_ps(weight, load(column + w * 32), sum[w]);
}

// Non-zeros kIndex to kCount - 1 of at most kStep. Four weights come with one load, and where loads are scarce eight
// offsets too, to be taken apart in registers: `four` holds the weights around kIndex, `eight` the offsets.
template <int kWidth, int kChains, int kCount, int kIndex = 0>
__attribute__((always_inline)) inline void add_step(const float* values, const uint8_t* offsets, __m256 four,
                                                    uint64_t eight, const char* panel, __m256 (&sum)[kChains][kWidth]) {
  constexpr int kLane = kIndex % 4;
  constexpr bool kAlone = kLane == 0 && kIndex + 1 == kCount;
  if constexpr (kAlone)
    four = _mm256_broadcast_ss(values + kIndex);
  else if constexpr (kLane == 0)
    four = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(values + kIndex));
  const __m256 weight = kAlone ? four : _mm256_permute_ps(four, kLane * 0x55);
  const uint64_t offset = load_bound(kWidth) ? eight >> (8 * kIndex) & 0xff : offsets[kIndex];
  add_nonzero<kWidth>(weight, column_of<kWidth>(panel, offset), sum[kIndex % kChains]);
  if constexpr (kIndex + 1 < kCount)
    add_step<kWidth, kChains, kCount, kIndex + 1>(values, offsets, four, eight, panel, sum);
}

// kCount non-zeros one behind the other.
template <int kWidth, int kChains, int kCount>
__attribute__((always_inline)) inline void add_nonzeros(const float* values, const uint8_t* offsets, const char* panel,
                                                        __m256 (&sum)[kChains][kWidth]) {
  if constexpr (kCount > 0) {
    constexpr int kNow = kCount < kStep ? kCount : kStep;
    static_assert(kStep == sizeof(uint64_t) && kStep <= kReadBehind + 1);
    uint64_t eight;
    std::memcpy(&eight, offsets, sizeof eight);
    add_step<kWidth, kChains, kNow>(values, offsets, _mm256_setzero_ps(), eight, panel, sum);
    add_nonzeros<kWidth, kChains, kCount - kNow>(values + kNow, offsets + kNow, panel, sum);
  }
}

// Narrow panels sum in several chains, because each FMA waits four cycles for the one before it.
constexpr int chains(int width) { return width == 1 ? 4 : width <= 3 ? 2 : 1; }

// `count` runs of kLength non-zeros each (kLength 0: `length` of them, any number). With kStarts the sums start with
// the bias instead of what is in `acc`.
template <bool kStarts, int kWidth, int kLength>
void multiply_runs(int length, int count, const uint16_t* features, const uint8_t* offsets, const float* values,
                   const char* panel, const float* bias, float* acc) {
  constexpr int kChains = chains(kWidth);
  const int step = kLength ? kLength : length;
  for (int i = 0; i < count; ++i, offsets += step, values += step) {
    float* out = acc + static_cast<uintptr_t>(features[i]) * (kWidth * kLanes);
    __m256 sum[kChains][kWidth];
    if constexpr (kStarts) sum[0][0] = bias ? _mm256_broadcast_ss(bias + features[i]) : _mm256_setzero_ps();
#pragma GCC unroll 8
    for (int w = 0; w < kWidth; ++w) sum[0][w] = kStarts ? sum[0][0] : _mm256_loadu_ps(out + w * kLanes);
#pragma GCC unroll 4
    for (int c = 1; c < kChains; ++c)
#pragma GCC unroll 8
      for (int w = 0; w < kWidth; ++w) sum[c][w] = _mm256_setzero_ps();
    if constexpr (kLength > 0) {
      add_nonzeros<kWidth, kChains, kLength>(values, offsets, panel, sum);
    } else {
      int j = 0;
      for (; j + kStep <= length; j += kStep) add_nonzeros<kWidth, kChains, kStep>(values + j, offsets + j, panel, sum);
      for (; j < length; ++j)
        add_nonzero<kWidth>(_mm256_broadcast_ss(values + j), column_of<kWidth>(panel, offsets[j]), sum[0]);
    }
    constexpr int kUsed = kLength == 0 || kLength > kChains ? kChains : kLength;
#pragma GCC unroll 8
    for (int w = 0; w < kWidth; ++w) {
#pragma GCC unroll 4
      for (int c = 1; c < kUsed; ++c) sum[0][w] = _mm256_add_ps(sum[0][w], sum[c][w]);
      _mm256_storeu_ps(out + w * kLanes, sum[0][w]);
    }
  }
}

using RunKernel = void (*)(int, int, const uint16_t*, const uint8_t*, const float*, const char*, const float*, float*);

// Tables are constant data (nothing here runs when the library is loaded) and call no function: clang 14 does not
// instantiate in time what the constructor of a constant calls.
template <bool kStarts, int kWidth, class = std::make_integer_sequence<int, kUnrolledLength + 1>>
struct ByLength;
template <bool kStarts, int kWidth, int... kLengths>
struct ByLength<kStarts, kWidth, std::integer_sequence<int, kLengths...>> {
  static constexpr RunKernel kernels[] = {multiply_runs<kStarts, kWidth, kLengths>...};
};

template <bool kStarts, class = std::make_integer_sequence<int, kMaxWidth>>
struct ByWidth;
template <bool kStarts, int... kNarrower>
struct ByWidth<kStarts, std::integer_sequence<int, kNarrower...>> {
  static constexpr const RunKernel* runs[] = {nullptr, ByLength<kStarts, kNarrower + 1>::kernels...};
};

template <int kWidth, int kFrom, int kGroups>
inline void add_quad(const uint8_t* offset, const float* values, const char* panel, __m256 (&sum)[kQuad][kGroups]) {
  const char* column = column_of<kWidth>(panel, *offset);
  __m256 x[kGroups];
#pragma GCC unroll 3
  for (int g = 0; g < kGroups; ++g) x[g] = load(column + (kFrom + g) * 32);
#pragma GCC unroll 4
  for (int r = 0; r < kQuad; ++r) {
    const __m256 weight = _mm256_broadcast_ss(values + r);
#pragma GCC unroll 3
    for (int g = 0; g < kGroups; ++g) sum[r][g] = _mm256_fmadd_ps(weight, x[g], sum[r][g]);
  }
  asm volatile("" : : : "memory");  // the next column's loads stay behind: hoisted, they push sums out of registers
}

// kGroups groups of rows from the kFrom-th on times one run of four features. One load of the activations serves
// four, so that FMAs bound a non-zero, not loads: 4 x 3 sums, 3 activations and a weight fill the 16 registers.
template <bool kStarts, int kWidth, int kFrom, int kGroups>
inline void multiply_quad_groups(int length, const uint8_t* offsets, const float* values, const char* panel,
                                 const float* bias, float* out) {
  constexpr int kChains = kGroups == 1 ? 2 : 1, kUnroll = 4;
  __m256 sum[kChains][kQuad][kGroups];
#pragma GCC unroll 4
  for (int r = 0; r < kQuad; ++r) {
    const __m256 start = kStarts && bias ? _mm256_broadcast_ss(bias + r) : _mm256_setzero_ps();
#pragma GCC unroll 3
    for (int g = 0; g < kGroups; ++g)
      sum[0][r][g] = kStarts ? start : _mm256_loadu_ps(out + (r * kWidth + kFrom + g) * kLanes);
    if constexpr (kChains > 1) sum[1][r][0] = _mm256_setzero_ps();
  }
  for (; length >= kUnroll; length -= kUnroll, offsets += kUnroll, values += kUnroll * kQuad) {
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u) add_quad<kWidth, kFrom>(offsets + u, values + u * kQuad, panel, sum[u % kChains]);
  }
  for (; length > 0; --length, ++offsets, values += kQuad) add_quad<kWidth, kFrom>(offsets, values, panel, sum[0]);
#pragma GCC unroll 4
  for (int r = 0; r < kQuad; ++r) {
    if constexpr (kChains > 1) sum[0][r][0] = _mm256_add_ps(sum[0][r][0], sum[1][r][0]);
#pragma GCC unroll 3
    for (int g = 0; g < kGroups; ++g) _mm256_storeu_ps(out + (r * kWidth + kFrom + g) * kLanes, sum[0][r][g]);
  }
}

// A panel's groups by twos and threes, so that eight FMAs or more run side by side.
template <bool kStarts, int kWidth, int kFrom = 0>
inline void multiply_quad(int length, const uint8_t* offsets, const float* values, const char* panel, const float* bias,
                          float* out) {
  constexpr int kLeft = kWidth - kFrom, kGroups = kLeft == 4 ? 2 : kLeft < 3 ? kLeft : 3;
  multiply_quad_groups<kStarts, kWidth, kFrom, kGroups>(length, offsets, values, panel, bias, out);
  if constexpr (kLeft > kGroups)
    multiply_quad<kStarts, kWidth, kFrom + kGroups>(length, offsets, values, panel, bias, out);
}

template <bool kStarts, int kWidth>
void multiply_quads(const Block& block, const float* bias, const char* panel, float* acc) {
  const uint16_t* features = block.features;
  const uint8_t* offsets = block.offsets;
  const float* values = block.values;
  for (int g = 0; g < block.group_count; ++g) {
    const int length = block.groups[g].length;
    for (int i = 0; i < block.groups[g].count; ++i, ++features, offsets += length, values += length * kQuad)
      multiply_quad<kStarts, kWidth>(length, offsets, values, panel, bias ? bias + *features : nullptr,
                                     acc + static_cast<uintptr_t>(*features) * (kWidth * kLanes));
  }
}

using QuadKernel = void (*)(const Block&, const float*, const char*, float*);

template <bool kStarts, class = std::make_integer_sequence<int, kMaxWidth>>
struct QuadsByWidth;
template <bool kStarts, int... kNarrower>
struct QuadsByWidth<kStarts, std::integer_sequence<int, kNarrower...>> {
  static constexpr QuadKernel kernels[] = {nullptr, multiply_quads<kStarts, kNarrower + 1>...};
};

}  // namespace

void multiply(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  const RunKernel* kernels = block.starts ? ByWidth<true>::runs[panel.width] : ByWidth<false>::runs[panel.width];
  const uint16_t* features = block.features;
  const uint8_t* offsets = block.offsets;
  const float* values = block.values;
  for (int g = 0; g < block.group_count; ++g) {
    const int length = block.groups[g].length;
    const int count = block.groups[g].count;
    const RunKernel kernel = kernels[length <= kUnrolledLength ? length : 0];
    kernel(length, count, features, offsets, values, reinterpret_cast<const char*>(x), bias, acc);
    features += count;
    offsets += static_cast<int64_t>(length) * count;
    values += static_cast<int64_t>(length) * count;
  }
}

void multiply4(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  const QuadKernel* kernels = block.starts ? QuadsByWidth<true>::kernels : QuadsByWidth<false>::kernels;
  kernels[panel.width](block, bias, reinterpret_cast<const char*>(x), acc);
}

}  // namespace platon::avx2

#include "avx2/end.h"
#endif
