// NEON kernels around the products.
#include <cstring>
#include <type_traits>

#include "core/kernels.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include "neon/vector.h"
#include "vectors/linear.h"
#endif
