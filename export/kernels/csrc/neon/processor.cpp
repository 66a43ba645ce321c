// Every 64-bit ARM has NEON; how fast it is at most.
#include "core/kernels.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include <cstring>

#include "neon/vector.h"
#include "vectors/burn.h"

namespace platon::neon {

bool supported() { return true; }

int burn_fma(int64_t rounds) { return burn_fma_in(rounds); }

int burn_load(int64_t rounds) { return burn_load_in(rounds); }

}  // namespace platon::neon
#endif
