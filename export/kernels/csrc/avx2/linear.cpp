// AVX2 + FMA kernels around the products.
#include <cstring>
#include <type_traits>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include "avx2/begin.h"
#include "avx2/vector.h"
#include "vectors/linear.h"

#include "avx2/end.h"
#endif
