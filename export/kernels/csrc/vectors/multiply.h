// The products of one block of weights and one panel of kVectors vectors: single features, and four that share their
// columns. For inclusion behind a set's vector.h only.
#pragma once
#include <cstring>
#include <utility>

#include "vectors/tiles.h"

namespace platon::PLATON_SET {
namespace {

constexpr int kUnrolledLength = 16;  // runs up to this length have straight-line code of their own
constexpr int kStep = 8;             // non-zeros whose offsets are read at once
constexpr int kVectorBytes = kVectorLanes * sizeof(float);
constexpr int kMaxVectors = kMaxWidth * kLanes / kVectorLanes;
// Loads bound wide panels; what else it takes to find a column and a weight bounds narrow ones.
constexpr bool load_bound(int vectors) { return vectors * kVectorLanes > 4 * kLanes; }

inline Vector load(const char* p) { return load(reinterpret_cast<const float*>(p)); }

template <int kVectors>
inline const char* column_of(const char* panel, uint64_t offset) {
  return panel + offset * (kVectors * kVectorBytes);
}

// `weight` as all_of, one_of_four or quad_weight says it.
template <int kVectors, class Weight>
inline void add_nonzero(Weight weight, const char* column, Vector sum[kVectors]) {
  // One register: Intel splits an FMA whose operand in memory needs two.
  if constexpr (load_bound(kVectors)) asm("" : "+r"(column));
#pragma GCC unroll 16
  for (int w = 0; w < kVectors; ++w) {
    sum[w] = multiply_add(weight, load(column + w * kVectorBytes), sum[w]);
    if (w % 4 == 3) keep_loads_behind();
  }
}

// Non-zeros kIndex to kCount - 1 of at most kStep. Four weights come with one load, and where loads are scarce eight
// offsets too, to be taken apart in registers: `four` holds the weights around kIndex, `eight` the offsets.
template <int kVectors, int kChains, int kCount, int kIndex = 0>
__attribute__((always_inline)) inline void add_step(const float* values, const uint8_t* offsets, Vector four,
                                                    uint64_t eight, const char* panel,
                                                    Vector (&sum)[kChains][kVectors]) {
  constexpr int kLane = kIndex % 4;
  constexpr bool kAlone = kLane == 0 && kIndex + 1 == kCount;
  if constexpr (kAlone)
    four = all_of(values + kIndex);
  else if constexpr (kLane == 0)
    four = fours_of(values + kIndex);
  const uint64_t offset = load_bound(kVectors) ? eight >> (8 * kIndex) & 0xff : offsets[kIndex];
  const char* column = column_of<kVectors>(panel, offset);
  if constexpr (kAlone)
    add_nonzero<kVectors>(four, column, sum[kIndex % kChains]);
  else
    add_nonzero<kVectors>(one_of_four<kLane>(four), column, sum[kIndex % kChains]);
  if constexpr (kIndex + 1 < kCount)
    add_step<kVectors, kChains, kCount, kIndex + 1>(values, offsets, four, eight, panel, sum);
}

// kCount non-zeros one behind the other.
template <int kVectors, int kChains, int kCount>
__attribute__((always_inline)) inline void add_nonzeros(const float* values, const uint8_t* offsets, const char* panel,
                                                        Vector (&sum)[kChains][kVectors]) {
  if constexpr (kCount > 0) {
    constexpr int kNow = kCount < kStep ? kCount : kStep;
    static_assert(kStep == sizeof(uint64_t) && kStep <= kReadBehind + 1);
    uint64_t eight;
    std::memcpy(&eight, offsets, sizeof eight);
    add_step<kVectors, kChains, kNow>(values, offsets, all(0.0f), eight, panel, sum);
    add_nonzeros<kVectors, kChains, kCount - kNow>(values + kNow, offsets + kNow, panel, sum);
  }
}

// Narrow panels sum in several chains, because each FMA waits four cycles for the one before it.
constexpr int chains(int vectors) {
  const int groups = vectors / kGroupVectors;
  return groups == 1 ? 4 : groups <= (kRegisters > 16 ? 4 : 3) ? 2 : 1;
}

// `count` runs of kLength non-zeros each (kLength 0: `length` of them, any number). With kStarts the sums start with
// the bias instead of what is in `acc`.
template <bool kStarts, int kVectors, int kLength>
void multiply_runs(int length, int count, const uint16_t* features, const uint8_t* offsets, const float* values,
                   const char* panel, const float* bias, float* acc) {
  constexpr int kChains = chains(kVectors);
  const int step = kLength ? kLength : length;
  for (int i = 0; i < count; ++i, offsets += step, values += step) {
    float* out = acc + static_cast<uintptr_t>(features[i]) * (kVectors * kVectorLanes);
    Vector sum[kChains][kVectors];
    if constexpr (kStarts) sum[0][0] = bias ? all_of(bias + features[i]) : all(0.0f);
#pragma GCC unroll 16
    for (int w = 0; w < kVectors; ++w) sum[0][w] = kStarts ? sum[0][0] : load(out + w * kVectorLanes);
#pragma GCC unroll 4
    for (int c = 1; c < kChains; ++c)
#pragma GCC unroll 16
      for (int w = 0; w < kVectors; ++w) sum[c][w] = all(0.0f);
    if constexpr (kLength > 0) {
      add_nonzeros<kVectors, kChains, kLength>(values, offsets, panel, sum);
    } else {
      int j = 0;
      for (; j + kStep <= length; j += kStep)
        add_nonzeros<kVectors, kChains, kStep>(values + j, offsets + j, panel, sum);
      for (; j < length; ++j) add_nonzero<kVectors>(all_of(values + j), column_of<kVectors>(panel, offsets[j]), sum[0]);
    }
    constexpr int kUsed = kLength == 0 || kLength > kChains ? kChains : kLength;
#pragma GCC unroll 16
    for (int w = 0; w < kVectors; ++w) {
#pragma GCC unroll 4
      for (int c = 1; c < kUsed; ++c) sum[0][w] = sum[0][w] + sum[c][w];
      store(out + w * kVectorLanes, sum[0][w]);
    }
  }
}

using RunKernel = void (*)(int, int, const uint16_t*, const uint8_t*, const float*, const char*, const float*, float*);

// Tables are constant data (nothing here runs when the library is loaded) and call no function: clang 14 does not
// instantiate in time what the constructor of a constant calls.
template <bool kStarts, int kVectors, class = std::make_integer_sequence<int, kUnrolledLength + 1>>
struct ByLength;
template <bool kStarts, int kVectors, int... kLengths>
struct ByLength<kStarts, kVectors, std::integer_sequence<int, kLengths...>> {
  static constexpr RunKernel kernels[] = {multiply_runs<kStarts, kVectors, kLengths>...};
};

// The n-th is for n times kGroupVectors.
template <bool kStarts, class = std::make_integer_sequence<int, kMaxVectors / kGroupVectors>>
struct ByVectors;
template <bool kStarts, int... kFewer>
struct ByVectors<kStarts, std::integer_sequence<int, kFewer...>> {
  static constexpr const RunKernel* runs[] = {nullptr, ByLength<kStarts, (kFewer + 1) * kGroupVectors>::kernels...};
};

template <int kVectors, int kFrom, int kGroups>
inline void add_quad(const uint8_t* offset, const float* values, const char* panel, Vector (&sum)[kQuad][kGroups]) {
  const char* column = column_of<kVectors>(panel, *offset);
  Vector x[kGroups];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) x[g] = load(column + (kFrom + g) * kVectorBytes);
  const auto add = [&](auto row) {
    constexpr int kRow = decltype(row)::value;
    const auto weight = quad_weight<kRow>(values);
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) sum[kRow][g] = multiply_add(weight, x[g], sum[kRow][g]);
  };
  add(Rows<0>());
  add(Rows<1>());
  add(Rows<2>());
  add(Rows<3>());
  static_assert(kQuad == 4);
  asm volatile("" : : : "memory");  // the next column's loads stay behind: hoisted, they push sums out of registers
}

// kGroups vectors of rows from the kFrom-th on times one run of four features. One load of the activations serves
// four, so that FMAs bound a non-zero, not loads: where registers are 16, 4 x 3 sums, 3 activations and a weight fill
// them.
template <bool kStarts, int kVectors, int kFrom, int kGroups>
inline void multiply_quad_groups(int length, const uint8_t* offsets, const float* values, const char* panel,
                                 const float* bias, float* out) {
  constexpr int kChains = kGroups == 1 ? 2 : 1, kUnroll = 4;
  Vector sum[kChains][kQuad][kGroups];
#pragma GCC unroll 4
  for (int r = 0; r < kQuad; ++r) {
    const Vector start = kStarts && bias ? all_of(bias + r) : all(0.0f);
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g)
      sum[0][r][g] = kStarts ? start : load(out + (r * kVectors + kFrom + g) * kVectorLanes);
    if constexpr (kChains > 1) sum[1][r][0] = all(0.0f);
  }
  for (; length >= kUnroll; length -= kUnroll, offsets += kUnroll, values += kUnroll * kQuad) {
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u)
      add_quad<kVectors, kFrom>(offsets + u, values + u * kQuad, panel, sum[u % kChains]);
  }
  for (; length > 0; --length, ++offsets, values += kQuad) add_quad<kVectors, kFrom>(offsets, values, panel, sum[0]);
#pragma GCC unroll 4
  for (int r = 0; r < kQuad; ++r) {
    if constexpr (kChains > 1) sum[0][r][0] = sum[0][r][0] + sum[1][r][0];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) store(out + (r * kVectors + kFrom + g) * kVectorLanes, sum[0][r][g]);
  }
}

// A panel's vectors by at most kQuadVectors, and not by one where two and two will do, so that eight FMAs or more run
// side by side.
constexpr int quad_vectors(int left) {
  return left <= kQuadVectors ? left : left == kQuadVectors + 1 ? kQuadVectors - 1 : kQuadVectors;
}

template <bool kStarts, int kVectors, int kFrom = 0>
inline void multiply_quad(int length, const uint8_t* offsets, const float* values, const char* panel, const float* bias,
                          float* out) {
  constexpr int kLeft = kVectors - kFrom, kGroups = quad_vectors(kLeft);
  multiply_quad_groups<kStarts, kVectors, kFrom, kGroups>(length, offsets, values, panel, bias, out);
  if constexpr (kLeft > kGroups)
    multiply_quad<kStarts, kVectors, kFrom + kGroups>(length, offsets, values, panel, bias, out);
}

template <bool kStarts, int kVectors>
void multiply_quads(const Block& block, const float* bias, const char* panel, float* acc) {
  const uint16_t* features = block.features;
  const uint8_t* offsets = block.offsets;
  const float* values = block.values;
  for (int g = 0; g < block.group_count; ++g) {
    const int length = block.groups[g].length;
    for (int i = 0; i < block.groups[g].count; ++i, ++features, offsets += length, values += length * kQuad)
      multiply_quad<kStarts, kVectors>(length, offsets, values, panel, bias ? bias + *features : nullptr,
                                       acc + static_cast<uintptr_t>(*features) * (kVectors * kVectorLanes));
  }
}

using QuadKernel = void (*)(const Block&, const float*, const char*, float*);

template <bool kStarts, class = std::make_integer_sequence<int, kMaxVectors / kGroupVectors>>
struct QuadsByVectors;
template <bool kStarts, int... kFewer>
struct QuadsByVectors<kStarts, std::integer_sequence<int, kFewer...>> {
  static constexpr QuadKernel kernels[] = {nullptr, multiply_quads<kStarts, (kFewer + 1) * kGroupVectors>...};
};

// Where the panel's kernels stand in their tables. It has no half vectors.
inline int place_of(const Panel& panel) { return panel.stride() / kVectorLanes / kGroupVectors; }

inline void multiply_in(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  const int place = place_of(panel);
  const RunKernel* kernels = block.starts ? ByVectors<true>::runs[place] : ByVectors<false>::runs[place];
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

inline void multiply4_in(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  const QuadKernel* kernels = block.starts ? QuadsByVectors<true>::kernels : QuadsByVectors<false>::kernels;
  kernels[place_of(panel)](block, bias, reinterpret_cast<const char*>(x), acc);
}

}  // namespace
}  // namespace platon::PLATON_SET
