// AVX-512 attention of one block of queries, in floats and in bytes. Blocks that end in half a vector are AVX2's.
#include <cstring>
#include <type_traits>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include "avx512vnni/begin.h"
#include "avx512vnni/vector.h"
#include "vectors/attention.h"
#include "vectors/attention_bytes.h"

namespace platon::avx512vnni {

void attend(const AttentionBlock& block) {
  if (block.queries.width % 2) return avx2::attend(block);
  attend_in(block);
}

void quantize_quads(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int zero,
                    uint8_t* out, int64_t out_stride, int32_t* sums) {
  quantize_quads_in(x, x_stride, features, rows, inverse, zero, out, out_stride, sums);
}

void quantize_columns(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int8_t* out,
                      int64_t out_stride) {
  quantize_columns_in(x, x_stride, features, rows, inverse, out, out_stride);
}

void attend_bytes(const ByteAttentionBlock& block) {
  if (block.queries.width % 2) return avx2::attend_bytes(block);
  attend_bytes_in(block);
}

}  // namespace platon::avx512vnni

#include "avx512vnni/end.h"
#endif
