// AVX-512 attention of one block of queries. Blocks that end in half a vector are AVX2's.
#include <type_traits>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include "avx512vnni/begin.h"
#include "avx512vnni/vector.h"
#include "x86/attention.h"

namespace platon::avx512vnni {

void attend(const AttentionBlock& block) {
  switch (block.queries.width) {
    case 4:
      return attend_vectors<2>(block);
    case 2:
      return attend_vectors<1>(block);
    default:
      return avx2::attend(block);
  }
}

}  // namespace platon::avx512vnni

#include "avx512vnni/end.h"
#endif
