// Products of 8-bit weights by dot product instructions. Bytes are as NEON's quantize writes them.
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/kernels.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include <arm_neon.h>

#include "neondot/begin.h"
#include "neondot/vector.h"
#include "vectors/interleave.h"

#include "vectors/bytes.h"

namespace platon::neondot {

void multiply_bytes(const ByteBlock& block, const Panel& panel, const uint8_t* x, int32_t* acc) {
  multiply_bytes_in(block, panel, x, acc);
}

}  // namespace platon::neondot

#include "neondot/end.h"
#endif
