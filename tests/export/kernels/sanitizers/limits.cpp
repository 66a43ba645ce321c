// Items that throw, and more numbers than 32 bits count.
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "checks.h"
#include "core/kernels.h"
#include "core/work.h"

namespace checks {

// Whatever an item throws comes back to the caller, once, when all items are done.
void failing_items() {
  struct Items {
    int kind;
    std::atomic<int> done{0};
  };
  const auto body = [](void* data, size_t i) {
    Items& items = *static_cast<Items*>(data);
    ++items.done;
    if (i % 3) return;
    if (items.kind == 0) throw std::logic_error("an item failed");
    if (items.kind == 1) throw std::bad_alloc();
    throw 7;
  };
  const auto threads = [](void*, void (*run)(void*, size_t), size_t total, void* data) {
    std::vector<std::thread> workers;
    for (size_t i = 0; i < total; ++i) workers.emplace_back(run, data, i);
    for (std::thread& worker : workers) worker.join();
  };
  for (int kind = 0; kind < 3; ++kind) {
    Items items{kind};
    int caught = -1;
    try {
      platon::run_items(threads, nullptr, 8, body, &items);
    } catch (const std::logic_error&) {
      caught = 0;
    } catch (const std::bad_alloc&) {
      caught = 1;
    } catch (int) {
      caught = 2;
    }
    if (caught != kind || items.done != 8) {
      std::printf("kind %d: caught %d after %d items\n", kind, caught, items.done.load());
      std::exit(1);
    }
  }
}

#if defined(__linux__) && !defined(__SANITIZE_THREAD__)
// Accumulators of more than 2^31 floats, of which a few pages exist: the last feature must come from its own place.
// The panel is as wide as can be, so that one row of results is enough.
void far_indices(const Names& kernels) {
  const platon::Panel panel{1, platon::kMaxWidth};
  const int64_t features = (int64_t{1} << 31) / panel.stride() + 9;
  const size_t bytes = static_cast<size_t>(features) * panel.stride() * sizeof(float);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  float* acc = static_cast<float*>(memory);
  acc[(features - 1) * panel.stride()] = 3.0f;
  std::vector<float> out(static_cast<size_t>(features));
  for (const std::string& name : kernels) {
    const platon::Kernels& found = platon::find_kernels(name);
    found.finish(acc, features, panel, platon::Activation::kNone, out.data(), features);
    if (out.back() != 3.0f || out[0] != 0.0f) std::abort();
    out.back() = 0.0f;
  }
  munmap(memory, bytes);
}
#else
void far_indices(const Names&) {}
#endif

}  // namespace checks
