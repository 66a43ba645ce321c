// Portable kernels around the products: no intrinsics, plain loops that a compiler may vectorise for any target.
#include "scalar/math.h"

namespace platon::scalar {

void pack(const float* x, int64_t x_stride, const Panel& panel, int64_t columns, float* out) {
  for (int64_t column = 0; column < columns; ++column, out += panel.stride()) {
    for (int row = 0; row < panel.rows; ++row) out[row] = x[row * x_stride + column];
    for (int row = panel.rows; row < panel.stride(); ++row) out[row] = 0.0f;
  }
}

void pad(const float* x, const Panel& panel, int64_t columns, float* out) {
  for (int64_t column = 0; column < columns; ++column, x += panel.rows, out += panel.stride()) {
    for (int row = 0; row < panel.rows; ++row) out[row] = x[row];
    for (int row = panel.rows; row < panel.stride(); ++row) out[row] = 0.0f;
  }
}

void finish(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out,
            int64_t out_stride) {
  for (int row = 0; row < panel.rows; ++row)
    for (int64_t feature = 0; feature < features; ++feature)
      out[row * out_stride + feature] = activate(acc[feature * panel.stride() + row], activation);
}

void finish_panel(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out) {
  for (int64_t feature = 0; feature < features; ++feature, acc += panel.stride(), out += panel.rows)
    for (int row = 0; row < panel.rows; ++row) out[row] = activate(acc[row], activation);
}

void add(const float* x, int64_t x_stride, int64_t features, const Panel& panel, float* acc) {
  for (int64_t feature = 0; feature < features; ++feature, x += x_stride, acc += panel.stride())
    for (int row = 0; row < panel.rows; ++row) acc[row] += x[row];
}

void normalize(float* acc, int64_t features, const Panel& panel, float epsilon, const float* scale,
               const float* shift) {
  const int lanes = panel.stride();
  for (int row = 0; row < lanes; ++row) {
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < features; ++i) sum += acc[i * lanes + row];
    const double mean = sum / static_cast<double>(features);
    for (int64_t i = 0; i < features; ++i) {
      const double distance = acc[i * lanes + row] - mean;
      squares += distance * distance;
    }
    const double factor = 1.0 / std::sqrt(squares / static_cast<double>(features) + epsilon);
    for (int64_t i = 0; i < features; ++i) {
      float& value = acc[i * lanes + row];
      value = static_cast<float>((value - mean) * factor) * scale[i] + shift[i];
    }
  }
}

}  // namespace platon::scalar
