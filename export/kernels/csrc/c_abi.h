// Structures of the plain C entry points in c_abi.cpp; native.py mirrors them field for field. Where a structure or
// arguments change, the functions that take them get new names, so that a library built before is refused in one line.
#pragma once
#include <cstdint>

extern "C" {

// CSR arrays. column_bytes: 2 (uint16) or 4 (int32); value_bytes: 4 (float32) or 1 (int8, then row_scales belong to
// them).
struct PlatonWeights {
  const void* values;
  int64_t value_count;
  int value_bytes;
  const void* columns;
  int64_t column_count;
  int column_bytes;
  const int32_t* row_starts;
  int64_t row_start_count;
  const float* row_scales;
  int64_t row_scale_count;
  int64_t in_features, out_features;
};

// Null pointers with length 0 stand for what a layer does not have. The four flags: that side lies in panels.
struct PlatonSpec {
  const float *bias, *scale, *shift;
  int64_t bias_length, scale_length, shift_length;
  const char* activation;
  int input_panels, output_panels, residual_panels, sum_panels;
  float epsilon;
};

// `residual` and `sum` may be null.
struct PlatonData {
  const float* x;
  int64_t rows;
  float* out;
  const float* residual;
  float* sum;
};

// Q, K and V of platon::Attention: [rows][features], heads * size of them from `first` on. mask may be null;
// strides as in AttentionMask.
struct PlatonAttention {
  const float *q, *k, *v;
  int64_t q_features, k_features, v_features;
  int64_t q_first, k_first, v_first;
  int64_t size, value_size, heads;
  float scale;
  int input_panels, output_panels;
  const int64_t* lengths;
  int64_t length_count;
  const float* mask;
  int64_t mask_strides[4];
  float* out;
  int bytes;  // products of 8-bit numbers
};
}
