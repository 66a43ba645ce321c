#include "core/choice.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "core/scratch.h"

namespace platon {
namespace {

constexpr int kColumns = 128, kFeatures = 32, kLength = 16;  // one block: an eighth of its weights are there
constexpr int kSteps = kLength / kDot, kTurns = 12, kCalls = 8;
constexpr double kClearly = 0.8;
constexpr Panel kPanel{kMaxWidth * kLanes, kMaxWidth};

// The same weights for floats and bytes, and a panel to multiply.
struct Product {
  Product()
      : x(size_t{kColumns} * kPanel.stride()),
        acc(size_t{kFeatures} * kPanel.stride()),
        lines(kColumns * kLineBytes / 4) {
    std::fill_n(x.data(), size_t{kColumns} * kPanel.stride(), 0.5f);
    std::fill_n(acc.data(), size_t{kFeatures} * kPanel.stride(), 0.0f);
    std::fill_n(bytes(), kColumns * kLineBytes, uint8_t{3});
    for (int run = 0; run < kFeatures; ++run) {
      features[run] = static_cast<uint16_t>(run);
      for (int i = 0; i < kLength; ++i) {
        const auto column = static_cast<uint8_t>((i * (kColumns / kLength) + run) % kColumns);
        offsets[run * kLength + i] = column;
        values[run * kLength + i] = 0.25f;
        uint8_t* step = steps + (run * kSteps + i / kDot) * 2 * kDot;
        step[i % kDot] = column;
        step[kDot + i % kDot] = 1;
      }
    }
  }

  uint8_t* bytes() { return reinterpret_cast<uint8_t*>(lines.data()); }

  void run(const Kernels& set) {
    const Block block{1, true, &group, 1, features, offsets, values};
    set.multiply(block, kPanel, nullptr, x.data(), acc.data());
    const ByteBlock byte_block{true, &byte_group, 1, features, steps};
    set.multiply_bytes(byte_block, kPanel, bytes(), reinterpret_cast<int32_t*>(acc.data()));
  }

  const RunGroup group{kLength, kFeatures}, byte_group{kSteps, kFeatures};
  uint16_t features[kFeatures];
  uint8_t offsets[kFeatures * kLength + kReadBehind] = {};
  float values[kFeatures * kLength + kReadBehind] = {};
  uint8_t steps[kFeatures * kSteps * 2 * kDot + kLineBytes] = {};
  const Scratch x, acc, lines;
};

double seconds_of(Product& product, const Kernels& set) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  for (int call = 0; call < kCalls; ++call) product.run(set);
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

std::vector<double> product_seconds(const std::vector<const Kernels*>& sets) {
  Product product;
  std::vector<double> least(sets.size(), std::numeric_limits<double>::max());
  for (int turn = 0; turn < kTurns; ++turn)
    for (size_t i = 0; i < sets.size(); ++i) least[i] = std::min(least[i], seconds_of(product, *sets[i]));
  return least;
}

size_t preferred(const std::vector<double>& seconds) {
  size_t best = seconds.size() - 1;
  for (size_t i = best; i-- > 0;)
    if (seconds[i] < kClearly * seconds[best]) best = i;
  return best;
}

}  // namespace platon
