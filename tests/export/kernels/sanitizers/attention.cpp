// Attention of random shapes, layouts and masks.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "checks.h"

namespace checks {
namespace {

// Random floats in a heap buffer of exactly that size.
std::unique_ptr<float[]> exact(int64_t floats) {
  std::unique_ptr<float[]> result(new float[static_cast<size_t>(floats)]);
  for (int64_t i = 0; i < floats; ++i) result[static_cast<size_t>(i)] = static_cast<float>(below(200) - 100) / 100;
  return result;
}

struct Attention {
  PlatonAttention call{};
  std::vector<int64_t> lengths;
  std::unique_ptr<float[]> q, k, v, mask, out;
  int64_t rows = 0;
};

// Q, K and V apart or side by side; `mask_shape` has a bit for every dimension that a mask repeats, none: no mask.
Attention random_attention(int round, int mask_shape) {
  Attention a;
  PlatonAttention& call = a.call;
  const int64_t longest = round % 5 ? 40 : 200;
  const bool equal = mask_shape >= 0;  // a mask needs sequences of one length
  a.lengths.assign(static_cast<size_t>(1 + below(4)), 1 + below(static_cast<int>(longest)));
  for (int64_t& length : a.lengths) {
    if (!equal) length = below(static_cast<int>(longest));
    a.rows += length;
  }
  const bool stacked = round % 3 == 0;
  call.heads = 1 + below(4), call.size = 1 + below(round % 2 ? 9 : 70);
  call.value_size = stacked ? call.size : 1 + below(40);
  const int64_t width = call.heads * call.size, value_width = call.heads * call.value_size;
  call.q_features = call.k_features = call.v_features = width;
  if (stacked) {
    call.q_features = call.k_features = call.v_features = 3 * width;
    call.k_first = width, call.v_first = 2 * width;
    a.q = exact(a.rows * 3 * width);
    call.q = call.k = call.v = a.q.get();
  } else {
    call.v_features = value_width;
    a.q = exact(a.rows * width), a.k = exact(a.rows * width), a.v = exact(a.rows * value_width);
    call.q = a.q.get(), call.k = a.k.get(), call.v = a.v.get();
  }
  call.scale = 0.25f;
  call.bytes = round / 2 % 2;
  call.lengths = a.lengths.data(), call.length_count = static_cast<int64_t>(a.lengths.size());
  if (equal) {
    const int64_t full[] = {call.length_count, call.heads, a.lengths[0], a.lengths[0]};
    int64_t floats = 1;
    for (int axis = 3; axis >= 0; --axis) {
      const int64_t size = mask_shape >> axis & 1 ? 1 : full[axis];
      call.mask_strides[axis] = size == 1 ? 0 : floats;
      floats *= size;
    }
    a.mask = exact(floats);
    for (int64_t i = 0; i < floats; ++i)
      if (below(4) == 0) a.mask[static_cast<size_t>(i)] = below(2) ? -INFINITY : -3.4e38f;
    call.mask = a.mask.get();
  }
  a.out.reset(new float[static_cast<size_t>(a.rows * value_width)]);
  call.out = a.out.get();
  return a;
}

}  // namespace

// Results of all kernel sets in all layouts: clean, finite, and of one layout alike.
void attention(const Names& kernels) {
  for (int round = 0; round < 160; ++round) {
    Attention a = random_attention(round, round % 17 - 1);
    const Pool pool(1 + round % 4);
    const float most = a.call.bytes ? 1e-2f : 1e-4f;  // a last bit of a score may move a weight of 8 bits by one
    for (int layout = 0; layout < 4; ++layout) {
      a.call.input_panels = layout & 1, a.call.output_panels = layout >> 1;
      std::vector<float> first;
      const int64_t outputs = a.rows * a.call.heads * a.call.value_size;
      for (const std::string& kernel : kernels) {
        std::fill(a.out.get(), a.out.get() + outputs, NAN);
        if (!platon_attend_heads(kernel.c_str(), &a.call, pool, nullptr, 0)) std::abort();
        const std::vector<float> out(a.out.get(), a.out.get() + outputs);
        if (first.empty()) first = out;
        for (size_t i = 0; i < out.size(); ++i)
          if (!(std::fabs(out[i] - first[i]) < most)) {
            std::printf("attention of %s: %g, expected %g\n", kernel.c_str(), out[i], first[i]);
            std::exit(1);
          }
      }
    }
  }
}

}  // namespace checks
