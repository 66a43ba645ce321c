// NEON kernels around the products.
#include <cstring>
#include <type_traits>

#include "core/kernels.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include "neon/vector.h"
#include "vectors/linear.h"

namespace platon::neon {

void pack(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out) {
  pack_in(x, x_stride, panel, columns, out);
}

void pad(const float* x, const Panel& panel, int64_t columns, float* out) { pad_in(x, panel, columns, out); }

void finish(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out,
            int64_t out_stride) {
  finish_in(acc, features, panel, activation, out, out_stride);
}

void finish_panel(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out) {
  finish_panel_in(acc, features, panel, activation, out);
}

void add(const float* x, int64_t x_stride, int64_t features, const Panel& panel, float* acc) {
  add_in(x, x_stride, features, panel, acc);
}

void normalize(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
               const float* shift) {
  normalize_in(acc, features, panel, epsilon, scale, shift);
}

}  // namespace platon::neon
#endif
