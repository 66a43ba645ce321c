// What stands around the products: the set's own packing, activations, layer norm. For inclusion in one file of a set,
// behind its vector.h.
#pragma once
#include "vectors/finish.h"
#include "vectors/tiles.h"

namespace platon::PLATON_SET {
namespace {

constexpr int64_t kTileFeatures = 64;  // x 256 bytes = 16 KiB: accumulators are read from the first-level cache
constexpr int64_t kSumFeatures = 64;   // summed on their own first: the rounding error grows with 64 + features / 64
constexpr int kNormVectors = 8;        // normalised side by side

// How many rows of the panel the vector that begins with `row` holds.
inline int rows_from(const Panel& panel, int row) {
  const int left = panel.rows - row;
  return left < 0 ? 0 : left < kVectorLanes ? left : kVectorLanes;
}

// kVectorLanes columns of one vector of rows; `rows` of them exist, the others read as zero.
inline void pack_tile(const float* x, int64_t x_stride, int rows, int stride, float* out) {
  Vector v[kVectorLanes];
#pragma GCC unroll 8
  for (int row = 0; row < kVectorLanes; ++row) v[row] = row < rows ? load(x + row * x_stride) : all(0.0f);
  transpose(v);
#pragma GCC unroll 8
  for (int c = 0; c < kVectorLanes; ++c) store(out + c * stride, v[c]);
}

// Sums of one vector of rows, of which the first `rows` exist, to `out`, row by row.
template <Activation kActivation>
void finish_vector(const float* acc, int stride, int64_t features, int rows, float* out, int64_t out_stride) {
  int64_t feature = 0;
  for (; feature + kVectorLanes <= features; feature += kVectorLanes) {
    Vector v[kVectorLanes];
#pragma GCC unroll 8
    for (int f = 0; f < kVectorLanes; ++f) v[f] = activate<kActivation>(load(acc + (feature + f) * stride));
    transpose(v);
    if (rows == kVectorLanes)
#pragma GCC unroll 8
      for (int row = 0; row < kVectorLanes; ++row) store(out + row * out_stride + feature, v[row]);
    else
      for (int row = 0; row < rows; ++row) store(out + row * out_stride + feature, v[row]);
  }
  for (; feature < features; ++feature) {
    float v[kVectorLanes];
    store(v, activate<kActivation>(load(acc + feature * stride)));
    for (int row = 0; row < rows; ++row) out[row * out_stride + feature] = v[row];
  }
}

template <Activation kActivation>
void finish_as(const float* acc, int64_t features, const Panel& panel, float* out, int64_t out_stride) {
  for (int64_t first = 0; first < features; first += kTileFeatures) {
    const int64_t count = features - first < kTileFeatures ? features - first : kTileFeatures;
    for (int row = 0; row < panel.rows; row += kVectorLanes)
      finish_vector<kActivation>(acc + first * panel.stride() + row, panel.stride(), count, rows_from(panel, row),
                                 out + row * out_stride + first, out_stride);
  }
}

// sum[w] of term(feature, w) over all features, in blocks.
template <int kVectors, class Term>
inline void sum_features(int64_t features, Vector sum[kVectors], const Term& term) {
#pragma GCC unroll 8
  for (int w = 0; w < kVectors; ++w) sum[w] = all(0.0f);
  for (int64_t first = 0; first < features; first += kSumFeatures) {
    const int64_t end = first + kSumFeatures < features ? first + kSumFeatures : features;
    Vector part[kVectors];
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) part[w] = all(0.0f);
    for (int64_t feature = first; feature < end; ++feature)
#pragma GCC unroll 8
      for (int w = 0; w < kVectors; ++w) part[w] = term(feature, w, part[w]);
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w) sum[w] = sum[w] + part[w];
  }
}

// kVectors vectors of rows of acc[features][stride]. The two-pass form: the variance of values far from zero stays
// exact.
template <int kVectors>
void normalize_vectors(float* acc, int stride, int64_t features, float epsilon, const float* scale,
                       const float* shift) {
  const Vector count = all(static_cast<float>(features));
  Vector mean[kVectors], factor[kVectors];
  const auto value = [&](int64_t feature, int w) { return load(acc + feature * stride + w * kVectorLanes); };
  sum_features<kVectors>(features, mean, [&](int64_t feature, int w, Vector sum) { return sum + value(feature, w); });
#pragma GCC unroll 8
  for (int w = 0; w < kVectors; ++w) mean[w] = mean[w] / count;
  sum_features<kVectors>(features, factor, [&](int64_t feature, int w, Vector sum) {
    const Vector distance = value(feature, w) - mean[w];
    return multiply_add(distance, distance, sum);
  });
#pragma GCC unroll 8
  for (int w = 0; w < kVectors; ++w) factor[w] = all(1.0f) / square_root(factor[w] / count + all(epsilon));
  for (int64_t feature = 0; feature < features; ++feature) {
    const Vector weight = all_of(scale + feature), offset = all_of(shift + feature);
#pragma GCC unroll 8
    for (int w = 0; w < kVectors; ++w)
      store(acc + feature * stride + w * kVectorLanes,
            multiply_add((value(feature, w) - mean[w]) * factor[w], weight, offset));
  }
}

}  // namespace

void pack(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out) {
  const int stride = panel.stride();
  for (int first = 0; first < stride; first += kVectorLanes) {
    const int rows = rows_from(panel, first);
    const float* source = x + first * x_stride;
    float* target = out + first;
    int64_t column = 0;
    if (rows == kVectorLanes)
      for (; column + kVectorLanes <= columns; column += kVectorLanes)
        pack_tile(source + column, x_stride, kVectorLanes, stride, target + column * stride);
    else
      for (; column + kVectorLanes <= columns; column += kVectorLanes)
        pack_tile(source + column, x_stride, rows, stride, target + column * stride);
    for (; column < columns; ++column)
      for (int row = 0; row < kVectorLanes; ++row)
        target[column * stride + row] = row < rows ? source[row * x_stride + column] : 0.0f;
  }
}

void pad(const float* x, const Panel& panel, int64_t columns, float* out) {
  const int whole = panel.rows / kVectorLanes * kVectorLanes;
  const Lanes lanes = first_lanes(panel.rows - whole);
  for (int64_t column = 0; column < columns; ++column, x += panel.rows, out += panel.stride()) {
    for (int row = 0; row < whole; row += kVectorLanes) store(out + row, load(x + row));
    if (whole < panel.stride()) store(out + whole, load(x + whole, lanes));
    for (int row = whole + kVectorLanes; row < panel.stride(); row += kVectorLanes) store(out + row, all(0.0f));
  }
}

void add(const float* x, int64_t x_stride, int64_t features, const Panel& panel, float* acc) {
  const int whole = panel.rows / kVectorLanes * kVectorLanes;
  const Lanes lanes = first_lanes(panel.rows - whole);
  for (int64_t feature = 0; feature < features; ++feature, x += x_stride, acc += panel.stride()) {
    for (int row = 0; row < whole; row += kVectorLanes) store(acc + row, load(acc + row) + load(x + row));
    if (whole < panel.rows) store(acc + whole, load(acc + whole) + load(x + whole, lanes));
  }
}

void finish(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out,
            int64_t out_stride) {
  by_activation(activation,
                [&](auto chosen) { finish_as<decltype(chosen)::value>(acc, features, panel, out, out_stride); });
}

void normalize(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
               const float* shift) {
  each_tile<kNormVectors>(panel.stride() / kVectorLanes, [&](int64_t first, auto vectors) {
    normalize_vectors<decltype(vectors)::value>(acc + first * kVectorLanes, panel.stride(), features, epsilon, scale,
                                                shift);
  });
}

}  // namespace platon::PLATON_SET
