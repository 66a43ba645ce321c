// Which of the sets that a processor can run is the fastest there: measured, because wider is not always faster.
#pragma once
#include <cstddef>
#include <vector>

#include "core/kernels.h"

namespace platon {

// The least time of a small product in floats and in bytes together, in seconds, with each of `sets`, taken in turn.
std::vector<double> product_seconds(const std::vector<const Kernels*>& sets);

// Which of the times is taken: the last, as the sets are in order of preference, unless an earlier one is shorter by
// more than a fifth. That is no chance event, so that a process chooses as the one before it did.
size_t preferred(const std::vector<double>& seconds);

}  // namespace platon
