// Opens a file's AVX-512 with VNNI part; end.h closes it. No include guard: once per file, behind all other headers, so
// that no inline function of theirs is compiled for AVX-512 and then shared with code that runs on older processors.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni"))), \
                             apply_to = function)
#else
// GCC 12 says that its own intrinsics of AVX-512 read what they never set.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512vnni")
#endif
#include <immintrin.h>
