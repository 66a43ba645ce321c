// Built with sanitizers by test_sanitizers.py.
#include <cstdio>

#include "checks.h"

using namespace checks;

int main() {
  Names kernels;
  const std::string names = std::string(platon_kernel_names()) + ",";
  for (size_t begin = 0, end; (end = names.find(',', begin)) != std::string::npos; begin = end + 1) {
    const std::string name = names.substr(begin, end - begin);
    if (platon_kernel_supported(name.c_str())) kernels.push_back(name);
  }
  const Pool pool(2);
  for (const std::string& kernel : kernels)
    if (!platon_burn(kernel.c_str(), 0, 10, 2, pool) || !platon_burn(kernel.c_str(), 1, 10, 2, pool)) return 1;
  failing_items();
  far_indices(kernels);
  valid_weights(kernels);
  quantized_weights(kernels);
  shared_layers(kernels);
  attention(kernels);
  packed_weights();
  if (!crafted_gaps()) return 1;
  const int accepted = crafted_weights(kernels);
  std::printf("clean: %zu kernel sets, %d crafted layers accepted\n", kernels.size(), accepted);
  return accepted > 0 ? 0 : 1;
}
