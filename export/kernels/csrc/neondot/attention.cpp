// Attention of one block of queries in bytes, by dot product instructions.
#include <cstring>
#include <type_traits>

#include "core/kernels.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include <arm_neon.h>

#include "neondot/begin.h"
#include "neondot/vector.h"
#include "vectors/attention_bytes.h"

namespace platon::neondot {

void attend_bytes(const ByteAttentionBlock& block) { attend_bytes_in(block); }

}  // namespace platon::neondot

#include "neondot/end.h"
#endif
