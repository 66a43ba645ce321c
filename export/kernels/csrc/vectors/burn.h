// How fast a processor is at most. For inclusion behind a set's vector.h only.
#pragma once

namespace platon::PLATON_SET {
namespace {

constexpr int kBurnRegisters = kRegisters * 3 / 4;  // enough independent sums to hide the latency of an FMA
constexpr int kBurnLoads = 16;

inline int burn_fma_in(int64_t rounds) {
  Vector sums[kBurnRegisters];
  const Vector factor = all(0.5f);
#pragma GCC unroll 24
  for (int i = 0; i < kBurnRegisters; ++i) {
    sums[i] = factor;
    asm volatile("" : "+" PLATON_REGISTER(sums[i]));  // or the compiler would see equal sums and keep one
  }
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < kBurnRegisters; ++i) sums[i] = multiply_add(sums[i], factor, factor);
  }
#pragma GCC unroll 24
  for (int i = 0; i < kBurnRegisters; ++i) asm volatile("" : : PLATON_REGISTER(sums[i]));
  return 2 * kVectorLanes * kBurnRegisters;
}

inline int burn_load_in(int64_t rounds) {
  alignas(64) static const float data[kBurnLoads * kVectorLanes] = {};
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kBurnLoads; ++i) {
      Vector value;
      asm volatile(PLATON_LOAD
                   : "=" PLATON_REGISTER(value)
                   : "m"(*reinterpret_cast<const Vector*>(data + i * kVectorLanes)));
    }
  }
  return static_cast<int>(sizeof(float)) * kVectorLanes * kBurnLoads;
}

}  // namespace
}  // namespace platon::PLATON_SET
