#include "core/csr.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

namespace platon {
namespace {

constexpr int64_t kMaxFeatures = std::numeric_limits<int32_t>::max() - 1;
constexpr int64_t kMaxNarrowFeatures = 65536;

std::string text(int64_t value) { return std::to_string(value); }

void check_sizes(const CsrView& csr) {
  check_features(csr.in_features, csr.out_features);
  if (!csr.wide_columns && csr.in_features > kMaxNarrowFeatures)
    throw InputError("columns must be int32 for in_features " + text(csr.in_features) + " > 65536, got uint16");
  if (csr.value_count != csr.column_count)
    throw InputError("values and columns must have the same length, got " + text(csr.value_count) + " and " +
                     text(csr.column_count));
  if (csr.row_start_count != csr.out_features + 1)
    throw InputError("row_starts must have out_features + 1 = " + text(csr.out_features + 1) + " entries, got " +
                     text(csr.row_start_count));
}

void check_rows(const CsrView& csr) {
  const int32_t* starts = csr.row_starts;
  if (starts[0] != 0) throw InputError("row_starts must begin with 0, got " + text(starts[0]));
  for (int64_t row = 0; row < csr.out_features; ++row)
    if (starts[row + 1] < starts[row])
      throw InputError("row_starts must not decrease, got " + text(starts[row]) + " then " + text(starts[row + 1]) +
                       " at row " + text(row));
  if (starts[csr.out_features] != csr.value_count)
    throw InputError("row_starts must end with the number of values, " + text(csr.value_count) + ", got " +
                     text(starts[csr.out_features]));
}

void check_columns(const CsrView& csr) {
  for (int64_t row = 0; row < csr.out_features; ++row) {
    int64_t previous = -1;
    for (int64_t i = csr.row_starts[row]; i < csr.row_starts[row + 1]; ++i) {
      const int64_t column = csr.column(i);
      if (column < 0 || column >= csr.in_features)
        throw InputError("columns must be in [0, " + text(csr.in_features) + "), got " + text(column) + " in row " +
                         text(row));
      if (column <= previous)
        throw InputError("columns of a row must be strictly increasing, got " + text(previous) + " then " +
                         text(column) + " in row " + text(row));
      previous = column;
    }
  }
}

void check_scales(const CsrView& csr) {
  check_scale_count(csr.row_scale_count, csr.out_features);
  for (int64_t row = 0; row < csr.out_features; ++row)
    if (!(csr.row_scales[row] > 0.0f && std::isfinite(csr.row_scales[row])))
      throw InputError("row_scales must be positive and finite, got " + std::to_string(csr.row_scales[row]) +
                       " in row " + text(row));
}

// A row's sum over bytes of activations, and over what is left of them behind their zero point, fits in 32 bits.
void check_bytes(const CsrView& csr) {
  constexpr int64_t kMaxRowSum = std::numeric_limits<int32_t>::max() / 255;
  for (int64_t row = 0; row < csr.out_features; ++row) {
    int64_t sum = 0;
    for (int64_t i = csr.row_starts[row]; i < csr.row_starts[row + 1]; ++i) {
      const int64_t size = std::abs(int{csr.bytes[i]});
      if (size > kMaxByteWeight)
        throw InputError("values must be within -" + text(kMaxByteWeight) + " to " + text(kMaxByteWeight) + ", got " +
                         text(csr.bytes[i]) + " in row " + text(row));
      sum += size;
    }
    if (sum > kMaxRowSum)
      throw InputError("sizes of a row's values must add up to at most " + text(kMaxRowSum) + ", got " + text(sum) +
                       " in row " + text(row));
  }
}

}  // namespace

void check_features(int64_t in_features, int64_t out_features) {
  if (in_features < 1 || in_features > kMaxFeatures)
    throw InputError("in_features must be in [1, " + text(kMaxFeatures) + "], got " + text(in_features));
  if (out_features < 1 || out_features > kMaxFeatures)
    throw InputError("out_features must be in [1, " + text(kMaxFeatures) + "], got " + text(out_features));
}

void check_scale_count(int64_t count, int64_t out_features) {
  if (count != out_features)
    throw InputError("row_scales must have out_features = " + text(out_features) + " entries, got " + text(count));
}

void validate(const CsrView& csr) {
  check_sizes(csr);
  check_rows(csr);
  check_columns(csr);
  if (!csr.quantized) return;
  check_scales(csr);
  check_bytes(csr);
}

}  // namespace platon
