// What the checks under sanitizers share: random numbers, random weights, a pool, and the checks themselves. The C
// entry points get buffers of exactly the right size, so that one number too far is found.
#pragma once
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "c_abi.h"

extern "C" {
const char* platon_kernel_names();
int platon_kernel_supported(const char* name);
void* platon_layer_create(const PlatonWeights*, const PlatonSpec*, char*, size_t);
int platon_pack_rows(const char*, const float*, int64_t, int64_t, float*, void*, char*, size_t);
void platon_linear_destroy(void*);
void* platon_pool_create();
void platon_pool_work(void*);
void platon_pool_stop(void*);
void platon_pool_destroy(void*);
int platon_linear_run(const void*, const char*, const PlatonData*, void*, char*, size_t);
int platon_attend_heads(const char* kernels, const PlatonAttention* call, void* pool, char* error, size_t error_size);
int platon_burn(const char* kernels, int kind, int64_t rounds, int threads, void* pool);
}

namespace checks {

using Names = std::vector<std::string>;  // of the kernel sets that this processor can run

// A pool with threads of its own, as native.py makes them.
class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back(platon_pool_work, handle_);
  }
  ~Pool() {
    platon_pool_stop(handle_);
    for (std::thread& worker : workers_) worker.join();
    platon_pool_destroy(handle_);
  }
  operator void*() const { return handle_; }

 private:
  void* handle_ = platon_pool_create();
  std::vector<std::thread> workers_;
};

inline std::mt19937 random_source(1);
inline int below(int limit) { return static_cast<int>(random_source() % static_cast<unsigned>(limit)); }

inline int32_t wild() {
  constexpr int32_t choices[] = {-1, 0, 1, 63, 64, 127, 128, 255, 256, 65535, 65536, 1 << 30, INT32_MAX, INT32_MIN};
  return choices[below(sizeof choices / sizeof *choices)];
}

struct Weights {
  int64_t in, out;
  std::vector<float> values;
  std::vector<int32_t> columns, starts;
  std::vector<int8_t> bytes;  // as many as values
  std::vector<float> row_scales;
};

// Groups of four rows hold the same columns, but for a few where `noise` is set; without `blocks` every row is alone.
inline Weights random_weights(int out, int in, double density, bool blocks = false, bool noise = false) {
  Weights w{in, out, {}, {}, {0}, {}, std::vector<float>(static_cast<size_t>(out), 0.01f)};
  std::vector<bool> kept(static_cast<size_t>(in));
  for (int row = 0; row < out; ++row) {
    for (int column = 0; column < in; ++column) {
      std::vector<bool>::reference keep = kept[static_cast<size_t>(column)];
      if (!blocks || row % 4 == 0 || (noise && below(20) == 0)) keep = below(1000) < density * 1000;
      if (keep) {
        w.values.push_back(static_cast<float>(below(200) - 100) / 50);
        w.bytes.push_back(static_cast<int8_t>(below(127) - 63));
        w.columns.push_back(column);
      }
    }
    w.starts.push_back(static_cast<int32_t>(w.values.size()));
  }
  return w;
}

// Each ends the process where something is wrong. Crafted ones return how many were accepted.
void valid_weights(const Names& kernels);
void quantized_weights(const Names& kernels);
int crafted_weights(const Names& kernels);
void packed_weights();
int crafted_gaps();
void attention(const Names& kernels);
void failing_items();
void far_indices(const Names& kernels);
void shared_layers(const Names& kernels);

}  // namespace checks
