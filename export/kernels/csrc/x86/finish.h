// Finished accumulators into panels. For inclusion behind a set's vector.h only.
#pragma once
#include "x86/math.h"

namespace platon::PLATON_SET {
namespace {

template <Activation kActivation>
void finish_panel_as(const float* acc, int64_t features, const Panel& panel, float* out) {
  const int last = (panel.rows - 1) / kVectorLanes * kVectorLanes;
  const Lanes lanes = first_lanes(panel.rows - last);
  for (int64_t feature = 0; feature < features; ++feature, acc += panel.stride(), out += panel.rows) {
    for (int row = 0; row < last; row += kVectorLanes) store(out + row, activate<kActivation>(load(acc + row)));
    store(out + last, lanes, activate<kActivation>(load(acc + last, lanes)));
  }
}

inline void finish_panel_in(const float* acc, int64_t features, const Panel& panel, Activation activation, float* out) {
  switch (activation) {
    case Activation::kNone:
      return finish_panel_as<Activation::kNone>(acc, features, panel, out);
    case Activation::kGelu:
      return finish_panel_as<Activation::kGelu>(acc, features, panel, out);
    case Activation::kGeluTanh:
      return finish_panel_as<Activation::kGeluTanh>(acc, features, panel, out);
    case Activation::kRelu:
      return finish_panel_as<Activation::kRelu>(acc, features, panel, out);
  }
}

}  // namespace
}  // namespace platon::PLATON_SET
