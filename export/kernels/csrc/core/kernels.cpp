#include "core/kernels.h"

#include <cstdlib>
#include <vector>

#include "core/choice.h"
#include "core/csr.h"

namespace platon {
namespace {

#define PLATON_TABLE(set)        \
  Kernels{#set,                  \
          set::supported,        \
          set::pack,             \
          set::pad,              \
          set::multiply,         \
          set::multiply4,        \
          set::finish,           \
          set::finish_panel,     \
          set::add,              \
          set::normalize,        \
          set::measure_rows,     \
          set::quantize,         \
          set::multiply_bytes,   \
          set::dequantize,       \
          set::attend,           \
          set::quantize_quads,   \
          set::quantize_columns, \
          set::attend_bytes,     \
          set::burn_fma,         \
          set::burn_load},
constexpr Kernels kAllKernels[] = {PLATON_KERNELS(PLATON_TABLE)};
#undef PLATON_TABLE

std::string kernel_names() {
  std::string names;
  for (const Kernels& kernels : kAllKernels) names += (names.empty() ? "" : ", ") + std::string(kernels.name);
  return names;
}

}  // namespace

const Kernels& find_kernels(const std::string& name) {
  for (const Kernels& kernels : kAllKernels)
    if (name == kernels.name) {
      if (kernels.supported()) return kernels;
      throw InputError("this processor does not support the '" + name + "' kernels; unset PLATON_FORCE_ISA");
    }
  throw InputError("there are no '" + name + "' kernels; PLATON_FORCE_ISA must be one of " + kernel_names());
}

std::vector<const Kernels*> vector_kernels() {
  std::vector<const Kernels*> found;
  for (const Kernels& kernels : kAllKernels)
    if (&kernels != kAllKernels && kernels.supported()) found.push_back(&kernels);
  if (found.empty()) found.push_back(kAllKernels);
  return found;
}

const Kernels& select_kernels() {
  const char* forced = std::getenv("PLATON_FORCE_ISA");
  if (forced && *forced) return find_kernels(forced);
  static const std::vector<const Kernels*> sets = vector_kernels();
  static const Kernels& best = sets.size() == 1 ? *sets.front() : *sets[preferred(product_seconds(sets))];
  return best;
}

}  // namespace platon
