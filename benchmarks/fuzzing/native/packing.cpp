// Weights as files hold them: checked, unpacked, packed and multiplied. What is accepted must multiply as a plain loop
// does, and 8-bit weights must give the same bits on every kernel set.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/gaps.h"
#include "core/linear.h"
#include "fuzz.h"

namespace {

using fuzz::Bytes;

enum Encoding : uint8_t { kFloats, kBytes, kGaps };
enum Option : uint8_t { kWide = 1, kBias = 2, kActivation = 12, kResidual = 16, kNorm = 32, kSum = 64, kPrenorm = 128 };
enum Side : uint8_t { kIn = 1, kOut = 2, kAdded = 4, kSums = 8, kSpecial = 16, kShortVector = 32 };
constexpr int64_t kMostWork = 40000;  // products of one input, so that there are many inputs

// benchmarks/fuzzing/seeds.py writes the same.
struct Layer {
  explicit Layer(Bytes& bytes)
      : encoding(static_cast<Encoding>(bytes.take<uint8_t>() % 3)),
        options(bytes.take<uint8_t>()),
        sides(bytes.take<uint8_t>()),
        rows(bytes.take<uint8_t>()),
        set(bytes.take<uint8_t>()),
        gap_bits(bytes.take<int8_t>()),
        in(bytes.take<int32_t>()),
        out(bytes.take<int32_t>()) {
    uint16_t counts[4];
    for (uint16_t& count : counts) count = bytes.take<uint16_t>();
    if (encoding == kGaps) {
      gaps = bytes.array<uint8_t>(counts[1]);
      codes = bytes.array<uint8_t>(counts[0]);
    } else {
      starts = bytes.array<int32_t>(counts[2]);
      if (options & kWide)
        wide = bytes.array<int32_t>(counts[1]);
      else
        narrow = bytes.array<uint16_t>(counts[1]);
      if (encoding == kBytes)
        small = bytes.array<int8_t>(counts[0]);
      else
        values = bytes.array<float>(counts[0]);
    }
    scales = bytes.array<float>(counts[3]);
  }

  platon::CsrView csr() const {
    platon::CsrView view{};
    view.wide_columns = options & kWide;
    view.columns = view.wide_columns ? static_cast<const void*>(wide.data()) : narrow.data();
    view.column_count = static_cast<int64_t>(view.wide_columns ? wide.size() : narrow.size());
    view.row_starts = starts.data(), view.row_start_count = static_cast<int64_t>(starts.size());
    view.quantized = encoding == kBytes;
    view.values = values.data(), view.bytes = small.data();
    view.value_count = static_cast<int64_t>(view.quantized ? small.size() : values.size());
    view.row_scales = scales.data(), view.row_scale_count = static_cast<int64_t>(scales.size());
    view.in_features = in, view.out_features = out;
    return view;
  }

  platon::GapsView packed() const {
    return {
        gaps.data(),   static_cast<int64_t>(gaps.size()),   gap_bits, codes.data(), static_cast<int64_t>(codes.size()),
        scales.data(), static_cast<int64_t>(scales.size()), in,       out};
  }

  Encoding encoding;
  uint8_t options, sides, rows, set;
  int64_t gap_bits, in, out;
  std::vector<int32_t> starts, wide;
  std::vector<uint16_t> narrow;
  std::vector<float> values, scales;
  std::vector<int8_t> small;
  std::vector<uint8_t> gaps, codes;
};

// Codes one by one, as docs/operator.md tells it: the places of the non-zeros.
std::vector<int64_t> plain_places(const Layer& layer) {
  std::vector<int64_t> places;
  int64_t next = 0;
  const int64_t bits = layer.gap_bits, codes = static_cast<int64_t>(layer.gaps.size()) * 8 / bits;
  for (int64_t i = 0; i < codes; ++i) {
    int64_t code = 0;
    for (int64_t bit = 0; bit < bits; ++bit) {
      const int64_t place = i * bits + bit;
      code |= static_cast<int64_t>(layer.gaps[static_cast<size_t>(place / 8)] >> place % 8 & 1) << bit;
    }
    next += code ? code : (int64_t{1} << bits) - 1;
    if (code) places.push_back(next - 1);
  }
  return places;
}

void check_places(const Layer& layer, const platon::CsrView& csr) {
  const std::vector<int64_t> wanted = plain_places(layer);
  if (csr.value_count != static_cast<int64_t>(wanted.size()))
    fuzz::fail("%zu non-zeros, got %lld", wanted.size(), static_cast<long long>(csr.value_count));
  for (int64_t row = 0; row < csr.out_features; ++row)
    for (int32_t i = csr.row_starts[row]; i < csr.row_starts[row + 1]; ++i)
      if (row * csr.in_features + csr.column(i) != wanted[static_cast<size_t>(i)]) fuzz::fail("another place at %d", i);
}

platon::LinearSpec spec_of(const Layer& layer, const platon::CsrView& csr) {
  platon::LinearSpec spec;
  fuzz::Numbers numbers(3);
  const bool small = csr.out_features < 4096 && csr.in_features < 4096;  // others are refused, or not run
  const size_t out = small ? static_cast<size_t>(std::max<int64_t>(csr.out_features, 0)) : 0;
  const size_t in = small ? static_cast<size_t>(std::max<int64_t>(csr.in_features, 0)) : 0;
  const size_t shorter = layer.sides & kShortVector ? 1 : 0;
  if (layer.options & kBias) spec.bias = numbers.take(out + shorter);
  constexpr const char* kNames[] = {"", "relu", "gelu", "gelu_tanh"};
  spec.activation = platon::parse_activation(kNames[(layer.options & kActivation) >> 2]);
  if (layer.options & kNorm) spec.norm = {numbers.take(out), numbers.take(out), 1e-5f};
  if (layer.options & kPrenorm) spec.prenorm = {numbers.take(in), numbers.take(in), layer.gap_bits / 64.0f};
  const auto layout = [&](Side side) { return layer.sides & side ? platon::Layout::kPanels : platon::Layout::kRows; };
  spec.input = layout(kIn), spec.output = layout(kOut), spec.residual = layout(kAdded), spec.sum = layout(kSums);
  return spec;
}

// One call, in buffers of exactly the right size.
struct Call {
  Call(const Layer& layer, const platon::SparseLinear& made, int64_t tokens)
      : linear(made), rows(tokens), sides(layer.sides), residual(layer.options & kResidual), sum(layer.options & kSum) {
    const size_t in = static_cast<size_t>(made.weights().in_features());
    x = fuzz::Numbers(7).take(static_cast<size_t>(rows) * in);
    if (sides & kSpecial) {
      x[x.size() / 2] = std::numeric_limits<float>::quiet_NaN();
      x[0] = std::numeric_limits<float>::infinity();
    }
  }

  std::vector<float> run(const platon::Kernels& set) const {
    const size_t outputs = static_cast<size_t>(rows * linear.weights().out_features());
    std::vector<float> given = x, out(outputs), added(residual ? outputs : 0, 0.5f), sums(sum ? outputs : 0);
    if (sides & kIn)
      platon::pack_rows(set, x.data(), rows, linear.weights().in_features(), given.data(), fuzz::backwards, nullptr);
    const platon::LinearData data{given.data(), rows, out.data(), residual ? added.data() : nullptr,
                                  sum ? sums.data() : nullptr};
    linear.run(set, data, fuzz::backwards, nullptr);
    return out;
  }

  const platon::SparseLinear& linear;
  int64_t rows;
  uint8_t sides;
  bool residual, sum;
  std::vector<float> x;
};

// Where nothing is done beside the product, a plain loop must give the same.
void check_floats(const platon::CsrView& csr, const Call& call, const std::vector<float>& y) {
  const platon::LinearSpec& spec = call.linear.spec();
  for (int64_t i = 0; i < csr.value_count; ++i)
    if (!(std::fabs(csr.values[i]) < 1e4f)) return;
  for (int64_t t = 0; t < call.rows; ++t)
    for (int64_t row = 0; row < csr.out_features; ++row) {
      double sum = call.residual ? 0.5 : 0.0, size = 1.0;
      if (!spec.bias.empty()) sum += spec.bias[static_cast<size_t>(row)];
      for (int32_t i = csr.row_starts[row]; i < csr.row_starts[row + 1]; ++i) {
        const double term = double{csr.values[i]} * call.x[static_cast<size_t>(t * csr.in_features + csr.column(i))];
        sum += term, size += std::fabs(term);
      }
      const float got = y[static_cast<size_t>(t * csr.out_features + row)];
      if (!(std::fabs(got - sum) <= 1e-5 * size)) fuzz::fail("a product is %g, not %g", got, sum);
    }
}

void check_bytes(const Call& call, const std::vector<float>& y) {
  const std::vector<float> wanted = call.run(*fuzz::kernel_sets()[0]);
  for (size_t i = 0; i < y.size(); ++i)
    if (y[i] != wanted[i] && !(std::isnan(y[i]) && std::isnan(wanted[i])))
      fuzz::fail("8-bit weights: %g, the reference has %g", y[i], wanted[i]);
}

void multiply(const Layer& layer, const platon::CsrView& csr) {
  const platon::SparseLinear linear(csr, spec_of(layer, csr));
  const int64_t cost = csr.value_count + csr.in_features + csr.out_features;
  const int64_t rows = std::min<int64_t>(layer.rows % 140, kMostWork / cost);
  if (rows == 0) return;
  const Call call(layer, linear, rows);
  const auto& sets = fuzz::kernel_sets();
  const std::vector<float> y = call.run(*sets[layer.set % sets.size()]);
  const bool plain = !(layer.options & (kActivation | kNorm | kPrenorm)) && !(layer.sides & kOut);
  if (!plain) return;
  if (csr.quantized)
    check_bytes(call, y);
  else if (!(layer.sides & kSpecial))
    check_floats(csr, call, y);
}

void run(const Layer& layer) {
  if (layer.encoding != kGaps) return multiply(layer, layer.csr());
  const platon::Unpacked unpacked(layer.packed());
  check_places(layer, unpacked.csr());
  multiply(layer, unpacked.csr());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  const Layer layer(bytes);
  try {
    run(layer);
    ++fuzz::outcomes.accepted;
  } catch (const platon::InputError& error) {
    fuzz::outcomes.refuse(error.what());
  }
  return 0;
}
