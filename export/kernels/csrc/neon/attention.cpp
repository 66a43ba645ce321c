// NEON attention of one block of queries, in floats and in bytes.
#include <cstring>
#include <type_traits>

#include "core/kernels.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include "neon/vector.h"
#include "vectors/attention.h"
#include "vectors/attention_bytes.h"

namespace platon::neon {

void attend(const AttentionBlock& block) { attend_in(block); }

void quantize_quads(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int zero,
                    uint8_t* out, int64_t out_stride, int32_t* sums) {
  quantize_quads_in(x, x_stride, features, rows, inverse, zero, out, out_stride, sums);
}

void quantize_columns(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int8_t* out,
                      int64_t out_stride) {
  quantize_columns_in(x, x_stride, features, rows, inverse, out, out_stride);
}

void attend_bytes(const ByteAttentionBlock& block) { attend_bytes_in(block); }

}  // namespace platon::neon
#endif
