// Which processors have NEON with dot product instructions. What has no better form with them is NEON's.
#include "core/kernels.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace platon::neondot {

#if defined(__linux__)
bool supported() {
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP, which old headers do not name
  return (getauxval(AT_HWCAP) & kDotProduct) != 0;
}
#elif defined(__APPLE__)
bool supported() {
  int has = 0;
  size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
}
#else
bool supported() { return false; }
#endif

void pack(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out) {
  neon::pack(x, x_stride, panel, columns, out);
}

void pad(const float* x, const Panel& panel, int64_t columns, float* out) { neon::pad(x, panel, columns, out); }

void multiply(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  neon::multiply(block, panel, bias, x, acc);
}

void multiply4(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  neon::multiply4(block, panel, bias, x, acc);
}

void finish(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out,
            int64_t out_stride) {
  neon::finish(acc, features, panel, activation, out, out_stride);
}

void finish_panel(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out) {
  neon::finish_panel(acc, features, panel, activation, out);
}

void add(const float* x, int64_t x_stride, int64_t features, const Panel& panel, float* acc) {
  neon::add(x, x_stride, features, panel, acc);
}

void normalize(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
               const float* shift) {
  neon::normalize(acc, features, panel, epsilon, scale, shift);
}

void measure_rows(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, RowRanges& ranges) {
  neon::measure_rows(x, x_stride, columns, panel, ranges);
}

void quantize(const float* x, int64_t x_stride, int64_t columns, const Panel& panel, const RowScales& scales,
              uint8_t* out) {
  neon::quantize(x, x_stride, columns, panel, scales, out);
}

void dequantize(void* acc, int64_t features, const Panel& panel, const RowScales& rows, const float* scales,
                const int32_t* sums, const float* bias) {
  neon::dequantize(acc, features, panel, rows, scales, sums, bias);
}

void attend(const AttentionBlock& block) { neon::attend(block); }

void quantize_quads(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int zero,
                    uint8_t* out, int64_t out_stride, int32_t* sums) {
  neon::quantize_quads(x, x_stride, features, rows, inverse, zero, out, out_stride, sums);
}

void quantize_columns(const float* x, int64_t x_stride, int64_t features, int rows, const float* inverse, int8_t* out,
                      int64_t out_stride) {
  neon::quantize_columns(x, x_stride, features, rows, inverse, out, out_stride);
}

int burn_fma(int64_t rounds) { return neon::burn_fma(rounds); }

int burn_load(int64_t rounds) { return neon::burn_load(rounds); }

}  // namespace platon::neondot
#endif
