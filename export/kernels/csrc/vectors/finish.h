// Finished accumulators into panels: the set's own finish_panel. For inclusion in one file of a set, behind its
// vector.h.
#pragma once
#include <type_traits>

#include "vectors/math.h"

namespace platon::PLATON_SET {
namespace {

// run(std::integral_constant) of the activation.
template <class Run>
inline void by_activation(Activation activation, const Run& run) {
  switch (activation) {
    case Activation::kNone:
      return run(std::integral_constant<Activation, Activation::kNone>());
    case Activation::kGelu:
      return run(std::integral_constant<Activation, Activation::kGelu>());
    case Activation::kGeluTanh:
      return run(std::integral_constant<Activation, Activation::kGeluTanh>());
    case Activation::kRelu:
      return run(std::integral_constant<Activation, Activation::kRelu>());
  }
}

template <Activation kActivation>
void finish_panel_as(const float* acc, int64_t features, const Panel& panel, float* out) {
  const int last = (panel.rows - 1) / kVectorLanes * kVectorLanes;
  const Lanes lanes = first_lanes(panel.rows - last);
  for (int64_t feature = 0; feature < features; ++feature, acc += panel.stride(), out += panel.rows) {
    for (int row = 0; row < last; row += kVectorLanes) store(out + row, activate<kActivation>(load(acc + row)));
    store(out + last, lanes, activate<kActivation>(load(acc + last, lanes)));
  }
}

}  // namespace

void finish_panel(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out) {
  by_activation(activation, [&](auto chosen) { finish_panel_as<decltype(chosen)::value>(acc, features, panel, out); });
}

}  // namespace platon::PLATON_SET
