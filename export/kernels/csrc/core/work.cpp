#include "core/work.h"

#include <atomic>
#include <exception>

namespace platon {
namespace {

struct Loop {
  void (*item)(void* call, size_t i);
  void* call;
  std::atomic<bool> failed{false};
  std::exception_ptr error;
};

void run_item(void* data, size_t i) noexcept {
  Loop& loop = *static_cast<Loop*>(data);
  try {
    loop.item(loop.call, i);
  } catch (...) {
    if (!loop.failed.exchange(true)) loop.error = std::current_exception();
  }
}

}  // namespace

void run_items(ParallelFor parallel_for, void* pool, size_t total, void (*item)(void* call, size_t i), void* call) {
  Loop loop{item, call, {}, {}};
  parallel_for(pool, run_item, total, &loop);
  if (loop.error) std::rethrow_exception(loop.error);
}

}  // namespace platon
