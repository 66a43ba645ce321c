// Layers of valid and of crafted weights, in floats and in 8 bits.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "checks.h"

namespace checks {
namespace {

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

}  // namespace

void valid_weights(const Names& kernels) {
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
void quantized_weights(const Names& kernels) {
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

// One layer for several callers at a time, each with threads of its own, as sessions of a process share what is packed:
// all of them get what a caller alone gets.
void shared_layers(const Names& kernels) {
  constexpr int kCallers = 4, kCalls = 6;
  for (int round = 0; round < 8; ++round) {
    const Weights w = random_weights(300, 400, 0.1, round % 2 == 0);
    const std::vector<float> ones(static_cast<size_t>(w.out), 1.0f);
    PlatonSpec spec = spec_of(ones, "");
    spec.scale = spec.shift = ones.data(), spec.scale_length = spec.shift_length = w.out;
    spec.epsilon = 1e-5f;
    void* linear = create(w, spec, false, round % 4 > 1);
    if (!linear) std::abort();
    const int rows = 1 + below(140);
    std::vector<float> x(static_cast<size_t>(rows * w.in));
    for (float& value : x) value = static_cast<float>(below(200) - 100) / 100;
    const std::string& kernel = kernels[static_cast<size_t>(round) % kernels.size()];
    const Pool alone(1);
    const std::vector<float> expected = run(linear, w, kernel, rows, alone, x.data(), true, true);
    std::vector<std::thread> callers;
    for (int caller = 0; caller < kCallers; ++caller)
      callers.emplace_back([&] {
        const Pool pool(3);
        for (int call = 0; call < kCalls; ++call)
          if (run(linear, w, kernel, rows, pool, x.data(), true, true) != expected) {
            std::printf("a shared layer gives other numbers, %s\n", kernel.c_str());
            std::exit(1);
          }
      });
    for (std::thread& caller : callers) caller.join();
    platon_linear_destroy(linear);
  }
}

// Every array and size changed at random: whatever creation accepts must also run cleanly.
int crafted_weights(const Names& kernels) {
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

}  // namespace checks
