// Weights as they come from a file: untrusted CSR arrays, and the check that every later layer relies on.
#pragma once
#include <cstdint>
#include <stdexcept>

namespace platon {

// Thrown for anything wrong with what the caller gave; never crosses the library's border.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Of 8-bit weights. Two of their products with unsigned bytes fit in 16 bits, so that no kernel saturates.
constexpr int kMaxByteWeight = 63;

// A row-major sparse matrix [out_features, in_features] in somebody else's memory.
struct CsrView {
  const float* values;  // unused where the weights are quantized
  int64_t value_count;
  const void* columns;  // uint16 or int32
  int64_t column_count;
  bool wide_columns;  // int32
  const int32_t* row_starts;
  int64_t row_start_count;
  int64_t in_features;
  int64_t out_features;
  // 8-bit weights, `value_count` of them: a weight is its byte times its row's scale.
  bool quantized = false;
  const int8_t* bytes = nullptr;
  const float* row_scales = nullptr;
  int64_t row_scale_count = 0;

  int64_t column(int64_t i) const {
    return wide_columns ? static_cast<const int32_t*>(columns)[i] : static_cast<const uint16_t*>(columns)[i];
  }
};

// What must hold of a weight in any encoding. Throw InputError.
void check_features(int64_t in_features, int64_t out_features);
void check_scale_count(int64_t count, int64_t out_features);

// Throws InputError unless sizes agree, row_starts climbs from 0 to nnz, and each row's columns are strictly
// increasing inside [0, in_features); quantized, unless bytes lie within kMaxByteWeight, scales are positive and no sum
// of a row can overflow. After it every index is safe.
void validate(const CsrView& csr);

}  // namespace platon
