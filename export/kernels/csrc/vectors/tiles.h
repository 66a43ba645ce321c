// Loops whose bodies are compiled for each number of rows. For inclusion behind a set's vector.h only.
#pragma once
#include <type_traits>

namespace platon::PLATON_SET {
namespace {

template <int kRows>
using Rows = std::integral_constant<int, kRows>;

// Panels are whole groups wide, so that their vectors come by as many as a group has, or by one that holds several.
constexpr int kGroupVectors = kLanes > kVectorLanes ? kLanes / kVectorLanes : 1;

// body(first, Rows) for what is left of full tiles, at most kRows of them.
template <int kRows, class Body>
inline void last_tile(int64_t first, int64_t left, const Body& body) {
  if constexpr (kRows > 0) {
    if (left == kRows) return body(first, Rows<kRows>());
    last_tile<kRows - 1>(first, left, body);
  }
}

// body(first, Rows) for full tiles of `count`, then once for what is left.
template <int kSize, class Body>
inline void each_tile(int64_t count, const Body& body) {
  int64_t first = 0;
  for (; first + kSize <= count; first += kSize) body(first, Rows<kSize>());
  last_tile<kSize - 1>(first, count - first, body);
}

}  // namespace
}  // namespace platon::PLATON_SET
