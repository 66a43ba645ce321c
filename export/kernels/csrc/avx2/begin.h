// Opens a file's AVX2 + FMA part; end.h closes it. No include guard: once per file, behind all other headers, so
// that no inline function of theirs is compiled for AVX2 and then shared with code that runs on older processors.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include <immintrin.h>
