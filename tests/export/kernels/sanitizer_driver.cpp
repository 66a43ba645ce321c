// Built with sanitizers by test_sanitizers.py: the C entry points on exact-size buffers, valid and crafted weights.
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "c_abi.h"
#include "core/gaps.h"
#include "core/kernels.h"
#include "core/work.h"

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
int platon_attend(const char* kernels, const PlatonAttention* call, void* pool, char* error, size_t error_size);
int platon_burn(const char* kernels, int kind, int64_t rounds, int threads, void* pool);
}

namespace {

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

std::mt19937 random_source(1);
int below(int limit) { return static_cast<int>(random_source() % static_cast<unsigned>(limit)); }

struct Weights {
  int64_t in, out;
  std::vector<float> values;
  std::vector<int32_t> columns, starts;
  std::vector<int8_t> bytes;  // as many as values
  std::vector<float> row_scales;
};

// Groups of four rows hold the same columns, but for a few where `noise` is set; without `blocks` every row is alone.
Weights random_weights(int out, int in, double density, bool blocks = false, bool noise = false) {
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

PlatonSpec spec_of(const std::vector<float>& bias, const char* activation) {
  PlatonSpec spec{};
  spec.bias = bias.data(), spec.bias_length = static_cast<int64_t>(bias.size());
  spec.activation = activation;
  return spec;
}

void* create(const Weights& w, const PlatonSpec& spec, bool narrow, bool quantized = false) {
  char error[300] = "";
  const std::vector<uint16_t> short_columns(w.columns.begin(), w.columns.end());
  PlatonWeights weights{};
  weights.values = quantized ? static_cast<const void*>(w.bytes.data()) : w.values.data();
  weights.value_bytes = quantized ? 1 : 4;
  weights.value_count = static_cast<int64_t>(quantized ? w.bytes.size() : w.values.size());
  weights.columns = narrow ? static_cast<const void*>(short_columns.data()) : w.columns.data();
  weights.column_bytes = narrow ? 2 : 4;
  weights.column_count = static_cast<int64_t>(w.columns.size());
  weights.row_starts = w.starts.data(), weights.row_start_count = static_cast<int64_t>(w.starts.size());
  weights.row_scales = w.row_scales.data(), weights.row_scale_count = static_cast<int64_t>(w.row_scales.size());
  weights.in_features = w.in, weights.out_features = w.out;
  void* linear = platon_layer_create(&weights, &spec, error, sizeof error);
  if (!linear && !*error) std::abort();  // a refusal always has a reason
  return linear;
}

// Heap buffers of exactly the right size, so that one float too far is found.
std::vector<float> run(const void* linear, const Weights& w, const std::string& kernel, int rows, void* pool,
                       const float* source, bool residual = false, bool sum = false) {
  const std::unique_ptr<float[]> x(new float[static_cast<size_t>(rows * w.in)]);
  const std::unique_ptr<float[]> y(new float[static_cast<size_t>(rows * w.out)]);
  std::memcpy(x.get(), source, static_cast<size_t>(rows * w.in) * sizeof(float));
  const size_t outputs = static_cast<size_t>(rows * w.out);
  const std::unique_ptr<float[]> added(residual ? new float[outputs]() : nullptr),
      sums(sum ? new float[outputs] : nullptr);
  const PlatonData data{x.get(), rows, y.get(), added.get(), sums.get()};
  char error[300];
  if (!platon_linear_run(linear, kernel.c_str(), &data, pool, error, sizeof error)) std::abort();
  return std::vector<float>(y.get(), y.get() + rows * w.out);
}

void check(const Weights& w, const std::vector<float>& bias, const std::vector<float>& y, const std::vector<float>& x,
           int rows) {
  for (int t = 0; t < rows; ++t)
    for (int64_t row = 0; row < w.out; ++row) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<size_t>(row)];
      for (int32_t i = w.starts[static_cast<size_t>(row)]; i < w.starts[static_cast<size_t>(row) + 1]; ++i)
        sum += double{w.values[static_cast<size_t>(i)]} *
               x[static_cast<size_t>(t * w.in + w.columns[static_cast<size_t>(i)])];
      if (std::fabs(sum - y[static_cast<size_t>(t * w.out + row)]) > 1e-2) {
        std::printf("wrong result %g, expected %g\n", y[static_cast<size_t>(t * w.out + row)], sum);
        std::exit(1);
      }
    }
}

void valid_weights(const std::vector<std::string>& kernels) {
  constexpr double densities[] = {0.0, 0.05, 0.3, 1.0};
  for (int round = 0; round < 60; ++round) {
    const int rows = 1 + below(round % 3 ? 40 : 140);
    const Weights w = random_weights(1 + below(round % 7 ? 40 : 600), 1 + below(600), densities[round % 4],
                                     round % 3 > 0, round % 3 > 1);
    const std::vector<float> bias(round % 2 ? static_cast<size_t>(w.out) : 0, 0.5f);
    std::vector<float> x(static_cast<size_t>(rows * w.in));
    for (float& value : x) value = static_cast<float>(below(200) - 100) / 100;
    const Pool pool(1 + round % 4);
    for (const char* activation : {"", "gelu", "gelu_tanh", "relu"}) {
      void* linear = create(w, spec_of(bias, activation), round % 2 == 0);
      if (!linear) std::abort();
      for (const std::string& kernel : kernels) {
        const std::vector<float> y = run(linear, w, kernel, rows, pool, x.data());
        if (!*activation) check(w, bias, y, x, rows);
      }
      platon_linear_destroy(linear);
    }
    PlatonSpec panels = spec_of(bias, "gelu");
    panels.input_panels = panels.output_panels = 1;
    void* between_panels = create(w, panels, false);
    std::vector<float> packed(x.size());
    for (const std::string& kernel : kernels) {
      if (!platon_pack_rows(kernel.c_str(), x.data(), rows, w.in, packed.data(), pool, nullptr, 0)) std::abort();
      run(between_panels, w, kernel, rows, pool, packed.data());
    }
    platon_linear_destroy(between_panels);
    const std::vector<float> ones(static_cast<size_t>(w.out), 1.0f);
    PlatonSpec norm = spec_of(bias, "");
    norm.scale = norm.shift = ones.data(), norm.scale_length = norm.shift_length = w.out;
    norm.epsilon = 1e-5f;
    norm.residual_panels = round % 2, norm.sum_panels = round / 2 % 2, norm.output_panels = round / 4 % 2;
    void* with_norm = create(w, norm, false);
    for (const std::string& kernel : kernels)
      for (const bool sum : {false, true}) run(with_norm, w, kernel, rows, pool, x.data(), round % 3, sum);
    platon_linear_destroy(with_norm);
  }
}

// Of 8-bit weights all sets give the same numbers.
void quantized_weights(const std::vector<std::string>& kernels) {
  constexpr double densities[] = {0.0, 0.05, 0.3, 1.0};
  for (int round = 0; round < 60; ++round) {
    const int rows = 1 + below(round % 3 ? 40 : 140);
    const Weights w = random_weights(1 + below(round % 7 ? 40 : 600), 1 + below(700), densities[round % 4]);
    const std::vector<float> bias(round % 2 ? static_cast<size_t>(w.out) : 0, 0.5f);
    std::vector<float> x(static_cast<size_t>(rows * w.in));
    for (float& value : x) value = static_cast<float>(below(200) - 100) / 100;
    if (round % 5 == 0) x.back() = round % 2 ? NAN : INFINITY;
    const Pool pool(1 + round % 4);
    PlatonSpec spec = spec_of(bias, "");
    spec.input_panels = round / 2 % 2, spec.output_panels = round / 4 % 2;
    void* linear = create(w, spec, round % 2 == 0, true);
    if (!linear) std::abort();
    const std::vector<float> expected = run(linear, w, kernels[0], rows, pool, x.data());
    for (const std::string& kernel : kernels) {
      const std::vector<float> y = run(linear, w, kernel, rows, pool, x.data());
      for (size_t i = 0; i < y.size(); ++i)
        if (y[i] != expected[i] && !(std::isnan(y[i]) && std::isnan(expected[i]))) {
          std::printf("8-bit weights of %s: %g, expected %g\n", kernel.c_str(), y[i], expected[i]);
          std::exit(1);
        }
    }
    platon_linear_destroy(linear);
  }
}

int32_t wild() {
  constexpr int32_t choices[] = {-1, 0, 1, 63, 64, 127, 128, 255, 256, 65535, 65536, 1 << 30, INT32_MAX, INT32_MIN};
  return choices[below(sizeof choices / sizeof *choices)];
}

// Every array and size changed at random: whatever creation accepts must also run cleanly.
int crafted_weights(const std::vector<std::string>& kernels) {
  int accepted = 0;
  const Pool pool(1);
  for (int round = 0; round < 4000; ++round) {
    Weights w = random_weights(1 + below(6), 1 + below(300), 0.1, round % 2 == 0);
    const bool quantized = round % 3 == 0;
    for (int change = below(3); change >= 0; --change) switch (below(quantized ? 9 : 6)) {
        case 0:
          if (!w.columns.empty()) w.columns[static_cast<size_t>(below(static_cast<int>(w.columns.size())))] = wild();
          break;
        case 1:
          w.starts[static_cast<size_t>(below(static_cast<int>(w.starts.size())))] = wild();
          break;
        case 2:
          w.starts.pop_back();
          if (w.starts.empty()) w.starts.push_back(wild());
          break;
        case 3:
          w.values.push_back(1.0f);
          break;
        case 4:
          w.in = below(2) ? w.in + below(3) : int64_t{wild()} * (below(2) ? 1 : 70000);
          break;
        case 5:
          w.out = below(2) ? w.out + below(2) : int64_t{wild()} * (below(2) ? 1 : 70000);
          break;
        case 6:
          if (!w.bytes.empty())
            w.bytes[static_cast<size_t>(below(static_cast<int>(w.bytes.size())))] = static_cast<int8_t>(wild());
          break;
        case 7:
          w.row_scales[static_cast<size_t>(below(static_cast<int>(w.row_scales.size())))] = below(2) ? INFINITY : 1e30f;
          break;
        case 8:
          w.row_scales.pop_back();
          if (w.row_scales.empty()) w.row_scales.push_back(0.0f);
          break;
      }
    void* linear = create(w, spec_of({}, below(30) ? "" : "unknown"), below(2), quantized);
    if (!linear) continue;
    ++accepted;
    if (w.in < 100000 && w.out < 100000) {
      const std::vector<float> x(static_cast<size_t>(9 * w.in), 1.0f);
      for (const std::string& kernel : kernels) run(linear, w, kernel, 9, pool, x.data());
    }
    platon_linear_destroy(linear);
  }
  return accepted;
}

// Codes of `bits` bits, the lowest bit first; zeros fill the last group of eight.
std::vector<uint8_t> packed(const std::vector<unsigned>& codes, int bits) {
  std::vector<uint8_t> bytes((codes.size() + 7) / 8 * static_cast<size_t>(bits), 0);
  for (size_t i = 0; i < codes.size() * static_cast<size_t>(bits); ++i)
    bytes[i / 8] |= static_cast<uint8_t>((codes[i / bits] >> i % bits & 1) << i % 8);
  return bytes;
}

// A weight as files pack it.
struct Gaps {
  std::vector<uint8_t> gaps, values;
  int64_t bits;
};

Gaps pack_gaps(const Weights& w, int bits) {
  std::vector<unsigned> gaps, values;
  int64_t next = 0;
  for (int64_t row = 0; row < w.out; ++row)
    for (int32_t i = w.starts[static_cast<size_t>(row)]; i < w.starts[static_cast<size_t>(row) + 1]; ++i) {
      const int64_t place = row * w.in + w.columns[static_cast<size_t>(i)];
      const unsigned skip = (1u << bits) - 1;
      for (; place - next >= skip; next += skip) gaps.push_back(0);
      gaps.push_back(static_cast<unsigned>(place - next + 1));
      values.push_back(static_cast<unsigned>(w.bytes[static_cast<size_t>(i)] + 64));
      next = place + 1;
    }
  return {packed(gaps, bits), packed(values, 7), bits};
}

// Copies of exactly the right size, so that one byte too far is found. False where it is refused.
template <class Visit>
bool unpacked(const Gaps& packed, const Weights& w, Visit&& visit) {
  const std::unique_ptr<uint8_t[]> gaps(new uint8_t[packed.gaps.size()]), values(new uint8_t[packed.values.size()]);
  std::copy(packed.gaps.begin(), packed.gaps.end(), gaps.get());
  std::copy(packed.values.begin(), packed.values.end(), values.get());
  const platon::GapsView view{gaps.get(),
                              static_cast<int64_t>(packed.gaps.size()),
                              packed.bits,
                              values.get(),
                              static_cast<int64_t>(packed.values.size()),
                              w.row_scales.data(),
                              static_cast<int64_t>(w.row_scales.size()),
                              w.in,
                              w.out};
  try {
    const platon::Unpacked plain(view);
    visit(plain.csr());
  } catch (const platon::InputError&) {
    return false;
  }
  return true;
}

void packed_weights() {
  constexpr double densities[] = {0.0, 0.01, 0.1, 0.5, 1.0};
  for (int round = 0; round < 80; ++round) {
    const Weights w = random_weights(1 + below(20), 1 + below(300), densities[round % 5]);
    const bool taken = unpacked(pack_gaps(w, 1 + round % 8), w, [&w](const platon::CsrView& csr) {
      platon::validate(csr);
      const auto equal = [](const auto& wanted, const void* found) {
        return wanted.empty() || !std::memcmp(wanted.data(), found, wanted.size() * sizeof wanted[0]);
      };
      if (csr.value_count != static_cast<int64_t>(w.bytes.size()) || !equal(w.bytes, csr.bytes) ||
          !equal(w.columns, csr.columns) || !equal(w.starts, csr.row_starts)) {
        std::printf("a packed weight did not come back\n");
        std::exit(1);
      }
    });
    if (!taken) std::abort();
  }
}

// Bytes and sizes changed at random: it is refused, or what comes out passes as a matrix or is refused then.
int crafted_gaps() {
  int accepted = 0;
  for (int round = 0; round < 6000; ++round) {
    Weights w = random_weights(1 + below(6), 1 + below(100), 0.1);
    Gaps gaps = pack_gaps(w, 1 + below(8));
    for (int change = below(3); change >= 0; --change) {
      std::vector<uint8_t>& bytes = below(3) ? gaps.gaps : gaps.values;
      switch (below(7)) {
        case 0:
        case 1:
          if (!bytes.empty()) bytes[static_cast<size_t>(below(static_cast<int>(bytes.size())))] ^= 1u << below(8);
          break;
        case 2:
          if (!bytes.empty()) bytes.pop_back();
          break;
        case 3:
          bytes.push_back(below(2) ? 255 : 0);
          break;
        case 4:
          gaps.bits = below(2) ? below(10) : int64_t{wild()};
          break;
        case 5:
          w.in = below(2) ? w.in + below(3) - 1 : int64_t{wild()} * (below(2) ? 1 : 70000);
          break;
        case 6:
          w.out = below(2) ? w.out + below(3) - 1 : int64_t{wild()} * (below(2) ? 1 : 70000);
          break;
      }
    }
    accepted += unpacked(gaps, w, platon::validate);
  }
  return accepted;
}

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

// Results of all kernel sets in all layouts: clean, finite, and of one layout alike.
void attention(const std::vector<std::string>& kernels) {
  for (int round = 0; round < 160; ++round) {
    Attention a = random_attention(round, round % 17 - 1);
    const Pool pool(1 + round % 4);
    for (int layout = 0; layout < 4; ++layout) {
      a.call.input_panels = layout & 1, a.call.output_panels = layout >> 1;
      std::vector<float> first;
      const int64_t outputs = a.rows * a.call.heads * a.call.value_size;
      for (const std::string& kernel : kernels) {
        std::fill(a.out.get(), a.out.get() + outputs, NAN);
        if (!platon_attend(kernel.c_str(), &a.call, pool, nullptr, 0)) std::abort();
        const std::vector<float> out(a.out.get(), a.out.get() + outputs);
        if (first.empty()) first = out;
        for (size_t i = 0; i < out.size(); ++i)
          if (!(std::fabs(out[i] - first[i]) < 1e-4f)) {
            std::printf("attention of %s: %g, expected %g\n", kernel.c_str(), out[i], first[i]);
            std::exit(1);
          }
      }
    }
  }
}

// Whatever an item throws comes back to the caller, once, when all items are done.
void failing_items() {
  struct Items {
    int kind;
    std::atomic<int> done{0};
  };
  const auto body = [](void* data, size_t i) {
    Items& items = *static_cast<Items*>(data);
    ++items.done;
    if (i % 3) return;
    if (items.kind == 0) throw std::logic_error("an item failed");
    if (items.kind == 1) throw std::bad_alloc();
    throw 7;
  };
  const auto threads = [](void*, void (*run)(void*, size_t), size_t total, void* data) {
    std::vector<std::thread> workers;
    for (size_t i = 0; i < total; ++i) workers.emplace_back(run, data, i);
    for (std::thread& worker : workers) worker.join();
  };
  for (int kind = 0; kind < 3; ++kind) {
    Items items{kind};
    int caught = -1;
    try {
      platon::run_items(threads, nullptr, 8, body, &items);
    } catch (const std::logic_error&) {
      caught = 0;
    } catch (const std::bad_alloc&) {
      caught = 1;
    } catch (int) {
      caught = 2;
    }
    if (caught != kind || items.done != 8) {
      std::printf("kind %d: caught %d after %d items\n", kind, caught, items.done.load());
      std::exit(1);
    }
  }
}

#if defined(__linux__) && !defined(__SANITIZE_THREAD__)
// Accumulators of more than 2^31 floats, of which a few pages exist: the last feature must come from its own place.
// The panel is as wide as can be, so that one row of results is enough.
void far_indices(const std::vector<std::string>& kernels) {
  const platon::Panel panel{1, platon::kMaxWidth};
  const int64_t features = (int64_t{1} << 31) / panel.stride() + 9;
  const size_t bytes = static_cast<size_t>(features) * panel.stride() * sizeof(float);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  float* acc = static_cast<float*>(memory);
  acc[(features - 1) * panel.stride()] = 3.0f;
  std::vector<float> out(static_cast<size_t>(features));
  for (const std::string& name : kernels) {
    const platon::Kernels& found = platon::find_kernels(name);
    found.finish(acc, features, panel, platon::Activation::kNone, out.data(), features);
    if (out.back() != 3.0f || out[0] != 0.0f) std::abort();
    out.back() = 0.0f;
  }
  munmap(memory, bytes);
}
#else
void far_indices(const std::vector<std::string>&) {}
#endif

}  // namespace

int main() {
  std::vector<std::string> kernels;
  const std::string names = std::string(platon_kernel_names()) + ",";
  for (size_t begin = 0, end; (end = names.find(',', begin)) != std::string::npos; begin = end + 1) {
    const std::string name = names.substr(begin, end - begin);
    if (platon_kernel_supported(name.c_str())) kernels.push_back(name);
  }
  const Pool pool(2);
  for (const std::string& kernel : kernels)
    if (!platon_burn(kernel.c_str(), 0, 10, 2, pool) || !platon_burn(kernel.c_str(), 1, 10, 2, pool)) return 1;
  failing_items();
  far_indices(kernels);
  valid_weights(kernels);
  quantized_weights(kernels);
  attention(kernels);
  packed_weights();
  if (!crafted_gaps()) return 1;
  const int accepted = crafted_weights(kernels);
  std::printf("clean: %zu kernel sets, %d crafted layers accepted\n", kernels.size(), accepted);
  return accepted > 0 ? 0 : 1;
}
