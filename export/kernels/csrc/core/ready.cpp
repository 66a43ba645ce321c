#include <algorithm>
#include <cmath>

#include "core/call.h"

namespace platon {
namespace {

int64_t tile_columns(int64_t in, int64_t tile) { return std::min(kTileColumns, in - tile * kTileColumns); }

// `x` and `out` begin with the panel's first row and its first column.
void pack_tile(const Call& call, const float* x, const Panel& panel, int64_t tile, float* out) {
  const int64_t in = call.weights.in_features(), column = tile * kTileColumns, columns = tile_columns(in, tile);
  if (call.panel_layout(call.spec.input))
    call.kernels.pad(x + column * panel.rows, panel, columns, out + column * panel.stride());
  else
    call.kernels.pack(x + column, in, panel, columns, out + column * panel.stride());
}

// What a product multiplies: `packed`, or its copy behind the norm.
void norm_panel(const Call& call, const Panel& panel, const float* packed, float* normed) {
  if (!normed) return;
  const NormSpec& norm = call.spec.prenorm;
  const int64_t in = call.weights.in_features();
  std::copy(packed, packed + in * panel.stride(), normed);
  call.kernels.normalize(normed, in, panel, norm.epsilon, norm.scale.data(), norm.shift.data());
}

constexpr float kLeastScale = 1e-30f;  // has an inverse, and makes zeros of rows of next to nothing

void set_row(float low, float high, float poison, int row, RowScales& scales) {
  const bool finite = poison == 0.0f;
  const float scale = std::max((high - low) / 255.0f, kLeastScale), inverse = finite ? 1.0f / scale : 0.0f;
  scales.scale[row] = finite ? scale : poison;
  scales.inverse[row] = inverse;
  scales.zero[row] = finite ? static_cast<int32_t>(std::nearbyint(-low * inverse)) : 0;
}

RowScales row_scales(const RowRanges* ranges, int64_t count) {
  RowRanges whole;
  for (const RowRanges* range = ranges; range < ranges + count; ++range)
    for (int row = 0; row < kLineBytes; ++row) {
      whole.low[row] = std::min(whole.low[row], range->low[row]);
      whole.high[row] = std::max(whole.high[row], range->high[row]);
      whole.poison[row] += range->poison[row];
    }
  RowScales scales;
  for (int row = 0; row < kLineBytes; ++row) set_row(whole.low[row], whole.high[row], whole.poison[row], row, scales);
  return scales;
}

// A panel as Quantize reads it.
struct Source {
  const float* data;
  int64_t stride;
};

// Packs x, where it lies in rows, and finds the panel's ranges.
Source measured_panel(Call& call, int64_t index) {
  const int64_t in = call.weights.in_features(), tiles = tile_count(in);
  const Panel panel = call.panels[index];
  const float* x = call.data.x + call.panels.first_row(index) * in;
  const bool in_place = call.panel_layout(call.spec.input);
  float* const packed = in_place ? nullptr : call.memory.packed + call.panels.first_row(index) * in;
  float* const normed =
      call.memory.normed.data() ? call.memory.normed.data() + call.panels.first_row(index) * in : nullptr;
  const Source source{normed ? normed : in_place ? x : packed, in_place ? panel.rows : panel.stride()};
  RowRanges* const ranges = call.memory.ranges() + index * tiles;
  const auto measure = [&](int64_t column, int64_t columns, RowRanges& range) {
    range = RowRanges();
    call.kernels.measure_rows(source.data + column * source.stride, source.stride, columns, panel, range);
  };
  call.progress[index].packed.complete(
      tiles,
      [&](int64_t tile) {
        if (!in_place) pack_tile(call, x, panel, tile, packed);
        if (!normed) measure(tile * kTileColumns, tile_columns(in, tile), ranges[tile]);
      },
      [&] {
        norm_panel(call, panel, packed, normed);
        if (normed) measure(0, in, ranges[0]);
        call.memory.scales()[index] = row_scales(ranges, normed ? 1 : tiles);
      });
  return source;
}

size_t floats_of(size_t bytes) { return (bytes + sizeof(float) - 1) / sizeof(float); }

size_t packed_lanes(const Panels& panels, int64_t first_packed) {
  const int64_t before = first_packed < panels.count() ? panels.first_row(first_packed) : panels.groups() * kLanes;
  return static_cast<size_t>(panels.groups() * kLanes - before);
}

bool keeps_sums(const SparseLinear& layer, const LinearData& data) {
  return data.residual || data.packed_residual || data.sum || !layer.spec().norm.scale.empty();
}

}  // namespace

Memory::Memory(const SparseLinear& layer, const LinearData& data, const Panels& panels, int64_t first_packed)
    : packed_floats(packed_lanes(panels, first_packed) * static_cast<size_t>(layer.weights().in_features())),
      packed_(data.packed ? 0 : packed_floats),
      packed(data.packed ? data.packed : packed_.data()),
      normed(layer.spec().prenorm.scale.empty() ? 0 : packed_floats),
      sums(keeps_sums(layer, data) ? static_cast<size_t>(panels.groups() * kLanes * layer.weights().out_features())
                                   : 0),
      bytes_(layer.weights().quantized()
                 ? floats_of(static_cast<size_t>(panels.count() * layer.weights().in_features()) * kLineBytes)
                 : 0),
      ranges_(layer.weights().quantized()
                  ? floats_of(static_cast<size_t>(panels.count() * tile_count(layer.weights().in_features())) *
                              sizeof(RowRanges))
                  : 0),
      scales_(layer.weights().quantized() ? floats_of(static_cast<size_t>(panels.count()) * sizeof(RowScales)) : 0) {}

const float* packed_panel(Call& call, int64_t index) {
  const int64_t in = call.weights.in_features();
  const float* x = call.data.x + call.panels.first_row(index) * in;
  if (index < call.first_packed) return x;
  const int64_t place = (call.panels.first_row(index) - call.panels.first_row(call.first_packed)) * in;
  float* const packed = call.memory.packed + place;
  float* const normed = call.memory.normed.data() ? call.memory.normed.data() + place : nullptr;
  const Panel panel = call.panels[index];
  call.progress[index].packed.complete(
      tile_count(in), [&](int64_t tile) { pack_tile(call, x, panel, tile, packed); },
      [&] { norm_panel(call, panel, packed, normed); });
  return normed ? normed : packed;
}

const uint8_t* quantized_panel(Call& call, int64_t index) {
  const int64_t in = call.weights.in_features();
  const Panel panel = call.panels[index];
  uint8_t* const bytes = call.memory.bytes() + index * in * kLineBytes;
  const Source source = measured_panel(call, index);
  call.progress[index].quantized.complete(
      tile_count(in),
      [&](int64_t tile) {
        const int64_t column = tile * kTileColumns;
        call.kernels.quantize(source.data + column * source.stride, source.stride, tile_columns(in, tile), panel,
                              call.memory.scales()[index], bytes + column * kLineBytes);
      },
      [] {});
  return bytes;
}

}  // namespace platon
