// NEON kernels of 8-bit weights.
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/kernels.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include "neon/vector.h"
#include "neon/widen.h"

#include "vectors/bytes.h"

namespace platon::neon {

void measure_rows(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, RowRanges& ranges) {
  measure_rows_in(x, x_stride, columns, panel, ranges);
}

void quantize(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, const RowScales& scales,
              uint8_t* out) {
  quantize_in(x, x_stride, columns, panel, scales, out);
}

void multiply_bytes(const ByteBlock& block, const Panel& panel, const uint8_t* x, int32_t* acc) {
  multiply_bytes_in(block, panel, x, acc);
}

void dequantize(void* acc, int64_t features, const Panel& panel, const RowScales& rows, const float* scales,
                const int32_t* sums, const float* bias) {
  dequantize_in(acc, features, panel, rows, scales, sums, bias);
}

}  // namespace platon::neon
#endif
