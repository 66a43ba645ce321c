// Attention in floats and in 8 bits, over every layout and mask. Floats must be what a plain loop gives, and 8 bits
// what the reference kernels give.
#include <algorithm>
#include <cmath>

#include "core/attention.h"
#include "fuzz.h"

namespace {

using fuzz::Bytes;

enum Option : uint8_t {
  kEightBits = 1,
  kInput = 2,
  kOutput = 4,
  kStacked = 8,
  kMasked = 16,
  kSpecial = 32,
  kWild = 64
};
constexpr int64_t kMostWork = 8000;

// benchmarks/fuzzing/seeds.py writes the same.
struct Case {
  explicit Case(Bytes& bytes)
      : options(bytes.take<uint8_t>()), set(bytes.take<uint8_t>()), mask_shape(bytes.take<uint8_t>()) {
    spec.heads = 1 + bytes.take<uint8_t>() % 4;
    size = 1 + bytes.take<uint8_t>() % 70, value_size = 1 + bytes.take<uint8_t>() % 70;
    spec.scale = static_cast<float>(bytes.take<int8_t>()) / 64.0f;
    spec.bytes = options & kEightBits;
    spec.input = options & kInput ? platon::Layout::kPanels : platon::Layout::kRows;
    spec.output = options & kOutput ? platon::Layout::kPanels : platon::Layout::kRows;
    lengths.resize(1 + bytes.take<uint8_t>() % 4);
    for (int64_t& length : lengths) length = bytes.take<uint8_t>();
    if (options & kWild) lengths[0] = bytes.take<int64_t>();
    if (options & kMasked) std::fill(lengths.begin(), lengths.end(), lengths[0]);  // a mask needs equal lengths
    shrink();
    given = bytes.array<int8_t>(bytes.left());
  }

  int64_t rows() const {
    int64_t sum = 0;
    for (const int64_t length : lengths) sum += length;
    return sum;
  }

  static bool is_small(int64_t length) { return length >= 0 && length < 256; }

  int64_t work() const {
    int64_t pairs = 1;
    for (const int64_t length : lengths) pairs += is_small(length) ? length * length : 0;
    return pairs * spec.heads * (size + value_size);
  }

  // Sizes such that one input is not much work.
  void shrink() {
    while (work() > kMostWork)
      if (spec.heads * size * value_size > 1)
        size = (size + 1) / 2, value_size = (value_size + 1) / 2, spec.heads = (spec.heads + 1) / 2;
      else
        for (int64_t& length : lengths) length = is_small(length) ? length / 2 : length;
    if (options & kStacked) value_size = size;
  }

  // The input's own numbers over and over, from -2 to 2.
  std::vector<float> numbers(int64_t count, size_t first) const {
    std::vector<float> result(static_cast<size_t>(count));
    for (size_t i = 0; i < result.size(); ++i)
      result[i] = given.empty() ? 0.25f : static_cast<float>(given[(first + i) % given.size()]) / 64.0f;
    if (options & kSpecial && !result.empty()) result[first % result.size()] = first % 2 ? NAN : INFINITY;
    return result;
  }

  uint8_t options, set, mask_shape;
  platon::AttentionSpec spec;
  int64_t size, value_size;
  std::vector<int64_t> lengths;
  std::vector<int8_t> given;
};

// Q, K, V and the mask in rows, in buffers of exactly their sizes.
struct Operands {
  explicit Operands(const Case& c) : stacked(c.options & kStacked) {
    const int64_t width = c.spec.heads * c.size, value_width = c.spec.heads * c.value_size, rows = c.rows();
    features[0] = features[1] = stacked ? 3 * width : width, features[2] = stacked ? 3 * width : value_width;
    for (int i = 0; i < 3; ++i) first[i] = stacked ? i * width : 0;
    for (size_t i = 0; i < (stacked ? 1 : 3); ++i) data[i] = c.numbers(rows * features[i], i * 1001);
    if (c.options & kMasked) read_mask(c);
  }

  void read_mask(const Case& c) {
    const int64_t full[] = {static_cast<int64_t>(c.lengths.size()), c.spec.heads, c.lengths[0], c.lengths[0]};
    int64_t floats = 1;
    for (int axis = 3; axis >= 0; --axis) {
      const int64_t count = c.mask_shape >> axis & 1 ? 1 : full[axis];
      strides[axis] = count == 1 ? 0 : floats;
      floats *= count;
    }
    mask = c.numbers(floats, 77);
    for (float& number : mask)
      if (number > 1.0f) number = number > 1.5f ? -INFINITY : -3.4e38f;
  }

  const std::vector<float>& of(int i) const { return data[stacked ? 0 : i]; }

  bool stacked;
  int64_t features[3], first[3] = {}, strides[4] = {};
  std::vector<float> data[3], mask;
};

std::vector<float> attended(const Case& c, const Operands& operands, const platon::Kernels& set) {
  const int64_t rows = c.rows();
  std::vector<float> out(static_cast<size_t>(rows * c.spec.heads * c.value_size)), packed[3];
  platon::AttentionData data;
  platon::AttentionOperand* const parts[] = {&data.q, &data.k, &data.v};
  for (int i = 0; i < 3; ++i) {
    packed[i] = operands.of(i);
    if (c.options & kInput)
      platon::pack_rows(set, operands.of(i).data(), rows, operands.features[i], packed[i].data(), fuzz::backwards,
                        nullptr);
    *parts[i] = {packed[i].data(), operands.features[i], operands.first[i], i == 2 ? c.value_size : c.size};
  }
  data.lengths = c.lengths;
  const int64_t* strides = operands.strides;
  if (c.options & kMasked) data.mask = {operands.mask.data(), strides[0], strides[1], strides[2], strides[3]};
  data.out = out.data();
  platon::attend(set, c.spec, data, fuzz::backwards, nullptr);
  return out;
}

// The scores of one query, as weights that add up to 1.
std::vector<double> plain_weights(const Case& c, const Operands& o, int64_t sequence, int64_t start, int64_t query,
                                  int64_t head) {
  std::vector<double> weights(static_cast<size_t>(c.lengths[static_cast<size_t>(sequence)]));
  for (size_t key = 0; key < weights.size(); ++key) {
    double score = 0.0;
    for (int64_t f = 0; f < c.size; ++f)
      score += double{o.of(0)[static_cast<size_t>((start + query) * o.features[0] + o.first[0] + head * c.size + f)]} *
               o.of(1)[static_cast<size_t>((start + static_cast<int64_t>(key)) * o.features[1] + o.first[1] +
                                           head * c.size + f)];
    weights[key] = score * c.spec.scale;
    if (c.options & kMasked)
      weights[key] +=
          std::max(o.mask[static_cast<size_t>(sequence * o.strides[0] + head * o.strides[1] + query * o.strides[2] +
                                              static_cast<int64_t>(key) * o.strides[3])],
                   platon::kHidden);
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0.0;
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  for (double& weight : weights) weight /= sum;
  return weights;
}

void check_floats(const Case& c, const Operands& o, const std::vector<float>& out) {
  int64_t start = 0;
  for (size_t sequence = 0; sequence < c.lengths.size(); start += c.lengths[sequence++])
    for (int64_t query = 0; query < c.lengths[sequence]; ++query)
      for (int64_t head = 0; head < c.spec.heads; ++head) {
        const std::vector<double> weights = plain_weights(c, o, static_cast<int64_t>(sequence), start, query, head);
        for (int64_t f = 0; f < c.value_size; ++f) {
          double wanted = 0.0;
          for (size_t key = 0; key < weights.size(); ++key)
            wanted += weights[key] * o.of(2)[static_cast<size_t>((start + static_cast<int64_t>(key)) * o.features[2] +
                                                                 o.first[2] + head * c.value_size + f)];
          const float got =
              out[static_cast<size_t>((start + query) * c.spec.heads * c.value_size + head * c.value_size + f)];
          if (!(std::fabs(got - wanted) < 1e-3)) fuzz::fail("attention gives %g, not %g", got, wanted);
        }
      }
}

void check_bytes(const std::vector<float>& out, const std::vector<float>& wanted) {
  for (size_t i = 0; i < out.size(); ++i)
    if (!(std::fabs(out[i] - wanted[i]) < 3e-2))
      fuzz::fail("8-bit attention gives %g, the reference %g", out[i], wanted[i]);
}

void run(const Case& c) {
  if (!Case::is_small(c.lengths[0])) {  // no memory for so many, and none is needed where they are refused
    platon::AttentionData data;
    data.k.size = c.size;
    data.lengths = c.lengths;
    if (c.lengths[0] >= 0 && !(c.spec.bytes && c.lengths[0] > 131072)) return;
    return platon::attend(*fuzz::kernel_sets()[0], c.spec, data, fuzz::backwards, nullptr);
  }
  const Operands operands(c);
  const auto& sets = fuzz::kernel_sets();
  const std::vector<float> out = attended(c, operands, *sets[c.set % sets.size()]);
  if (c.options & (kSpecial | kOutput)) return;
  if (c.spec.bytes)
    check_bytes(out, attended(c, operands, *sets[0]));
  else
    check_floats(c, operands, out);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  const Case given(bytes);
  try {
    run(given);
    ++fuzz::outcomes.accepted;
  } catch (const platon::InputError& error) {
    fuzz::outcomes.refuse(error.what());
  }
  return 0;
}
