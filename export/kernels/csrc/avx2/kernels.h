// Between the files of the AVX2 kernels: what kernel_avx2_multiply.cpp and attention_avx2.cpp hold of Kernels.
#pragma once
#include "core/kernels.h"

namespace platon {

void multiply_avx2(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc);
void multiply4_avx2(const Block& block, const Panel& panel, const float* bias, const float* x, float* acc);
void attend_avx2(const AttentionBlock& block);

}  // namespace platon
