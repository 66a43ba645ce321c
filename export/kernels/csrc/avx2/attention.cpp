// AVX2 + FMA attention of one block of queries.
#include <type_traits>

#include "core/kernels.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include "avx2/begin.h"
#include "avx2/vector.h"
#include "x86/attention.h"

namespace platon::avx2 {

void attend(const AttentionBlock& block) {
  switch (block.queries.width) {
    case 4:
      return attend_vectors<4>(block);
    case 3:
      return attend_vectors<3>(block);
    case 2:
      return attend_vectors<2>(block);
    default:
      return attend_vectors<1>(block);
  }
}

}  // namespace platon::avx2

#include "avx2/end.h"
#endif
