// Packed 8-bit weights, valid and crafted.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "checks.h"
#include "core/gaps.h"

namespace checks {
namespace {

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

}  // namespace

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

}  // namespace checks
