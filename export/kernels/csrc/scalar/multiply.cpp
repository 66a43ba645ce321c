// The portable products of one block of weights and one panel.
#include "core/kernels.h"

namespace platon::scalar {
namespace {

template <int kFeatures>
void multiply_runs(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  const int lanes = panel.stride();
  const uint16_t* features = block.features;
  const uint8_t* offsets = block.offsets;
  const float* values = block.values;
  for (int g = 0; g < block.group_count; ++g) {
    const int length = block.groups[g].length;
    for (int i = 0; i < block.groups[g].count; ++i, ++features, offsets += length, values += length * kFeatures)
      for (int r = 0; r < kFeatures; ++r) {
        float* out = acc + static_cast<int64_t>(*features + r) * lanes;
        if (block.starts)
          for (int row = 0; row < lanes; ++row) out[row] = bias ? bias[*features + r] : 0.0f;
        for (int j = 0; j < length; ++j)
          for (int row = 0; row < lanes; ++row) out[row] += values[j * kFeatures + r] * x[offsets[j] * lanes + row];
      }
  }
}

}  // namespace

void multiply(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  multiply_runs<1>(block, panel, bias, x, acc);
}

void multiply4(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc) {
  multiply_runs<kQuad>(block, panel, bias, x, acc);
}

}  // namespace platon::scalar
