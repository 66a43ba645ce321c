// AVX-512 kernels around the products.
#include <cstring>
#include <type_traits>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include "avx512vnni/begin.h"
#include "avx512vnni/vector.h"
#include "vectors/finish.h"

#include "avx512vnni/end.h"
#endif
