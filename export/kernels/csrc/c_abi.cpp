// Plain C entry points for tests and benchmarks (ctypes): the kernels without ONNX Runtime.
#include "c_abi.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/attention.h"
#include "core/choice.h"
#include "core/export.h"
#include "core/linear.h"

namespace platon {
namespace {

// As ONNX Runtime's own threads do: waking a thread takes longer than a small layer, so look for a while before
// sleeping.
template <class Ready>
void spin(const Ready& ready) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(500);
  while (!ready() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

// The items of loops one after the other, each with its time. The first of `seconds` is what came before the loop; what
// finds no room is lost.
class Stopwatch {
 public:
  Stopwatch(double* seconds, int64_t room) : seconds_(seconds), room_(room) {}
  void loop(void (*body)(void*, size_t), size_t total, void* data) {
    lap();
    for (size_t item = 0; item < total; ++item) {
      body(data, item);
      lap();
    }
  }
  void begin() { last_ = Clock::now(); }
  int64_t laps() const { return laps_; }

 private:
  using Clock = std::chrono::steady_clock;

  void lap() {
    const Clock::time_point now = Clock::now();
    if (laps_ < room_) seconds_[laps_] = std::chrono::duration<double>(now - last_).count();
    ++laps_;
    last_ = Clock::now();
  }

  double* const seconds_;
  const int64_t room_;
  int64_t laps_ = 0;
  Clock::time_point last_ = Clock::now();
};

// Threads that share the items of one loop at a time; the caller works too. The threads are Python's, in work(): the
// library starts none, so that it needs no newer C library than ONNX Runtime does.
class ThreadPool {
 public:
  // Takes part in loops until stop().
  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopping_) {
      take_items(lock);
      if (busy_ == 0) done_.notify_one();
      const uint64_t seen = loops_;
      lock.unlock();
      spin([&] { return stopping_ || loops_ != seen; });
      lock.lock();
      wake_.wait(lock, [this] { return stopping_ || next_ < total_; });
    }
  }
  void stop() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  static void run(void* pool, void (*body)(void*, size_t), size_t total, void* data) {
    ThreadPool& self = *static_cast<ThreadPool*>(pool);
    if (self.watch_)
      self.watch_->loop(body, total, data);
    else
      self.loop(body, total, data);
  }

  // Here a call begins that may have a loop.
  void enter() {
    if (watch_) watch_->begin();
  }
  // Until `watch` is null, the caller works alone.
  void watch(Stopwatch* watch) { watch_ = watch; }

 private:
  void loop(void (*body)(void*, size_t), size_t total, void* data) {
    std::unique_lock<std::mutex> lock(mutex_);
    body_ = body, data_ = data, total_ = total, next_ = 0, busy_ = 0;
    ++loops_;
    wake_.notify_all();
    take_items(lock);
    lock.unlock();
    spin([this] { return busy_ == 0; });
    lock.lock();
    done_.wait(lock, [this] { return busy_ == 0; });
    total_ = 0;
  }
  void take_items(std::unique_lock<std::mutex>& lock) {
    while (next_ < total_) {
      const size_t item = next_++;
      ++busy_;
      lock.unlock();
      body_(data_, item);
      lock.lock();
      --busy_;
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  void (*body_)(void*, size_t) = nullptr;
  void* data_ = nullptr;
  size_t total_ = 0, next_ = 0;
  // Changed under the mutex only; spinning threads look without it.
  std::atomic<size_t> busy_{0};
  std::atomic<uint64_t> loops_{0};
  std::atomic<bool> stopping_{false};
  Stopwatch* watch_ = nullptr;
};

void copy(const char* text, char* error, size_t error_size) noexcept {
  if (!error || !error_size) return;
  std::strncpy(error, text, error_size - 1);
  error[error_size - 1] = '\0';
}

// Runs `body`; on an exception writes its text to `error` and returns false.
template <class Body>
bool reported(char* error, size_t error_size, Body&& body) noexcept {
  try {
    body();
    return true;
  } catch (const std::bad_alloc&) {
    copy("out of memory", error, error_size);
  } catch (const std::exception& caught) {
    copy(caught.what(), error, error_size);
  } catch (...) {
    copy("unknown error", error, error_size);
  }
  return false;
}

Layout layout(int panels) { return panels ? Layout::kPanels : Layout::kRows; }

CsrView csr_view(const PlatonWeights& weights) {
  CsrView csr{};
  csr.quantized = weights.value_bytes == 1;
  csr.values = csr.quantized ? nullptr : static_cast<const float*>(weights.values);
  csr.bytes = csr.quantized ? static_cast<const int8_t*>(weights.values) : nullptr;
  csr.value_count = weights.value_count;
  csr.columns = weights.columns;
  csr.column_count = weights.column_count;
  csr.wide_columns = weights.column_bytes == 4;
  csr.row_starts = weights.row_starts;
  csr.row_start_count = weights.row_start_count;
  csr.row_scales = weights.row_scales;
  csr.row_scale_count = weights.row_scale_count;
  csr.in_features = weights.in_features;
  csr.out_features = weights.out_features;
  return csr;
}

LinearSpec linear_spec(const PlatonSpec& spec) {
  LinearSpec result;
  result.bias.assign(spec.bias, spec.bias + spec.bias_length);
  result.norm.scale.assign(spec.scale, spec.scale + spec.scale_length);
  result.norm.shift.assign(spec.shift, spec.shift + spec.shift_length);
  result.activation = parse_activation(spec.activation);
  result.input = layout(spec.input_panels);
  result.output = layout(spec.output_panels);
  result.residual = layout(spec.residual_panels);
  result.sum = layout(spec.sum_panels);
  result.norm.epsilon = spec.epsilon;
  return result;
}

}  // namespace
}  // namespace platon

using platon::SparseLinear;
using platon::ThreadPool;

// Names of the compiled kernels, comma separated, in order of preference from last to first.
PLATON_EXPORT const char* platon_kernel_names() {
#define PLATON_NAME(name) "," #name
  static const char names[] = PLATON_KERNELS(PLATON_NAME);
#undef PLATON_NAME
  return names + 1;
}

PLATON_EXPORT int platon_kernel_supported(const char* name) {
  return platon::reported(nullptr, 0, [&] { platon::find_kernels(name); });
}

// The kernels that a new session would use ("" with the reason in `error` when PLATON_FORCE_ISA is wrong).
PLATON_EXPORT const char* platon_selected_kernel(char* error, size_t error_size) {
  const char* name = "";
  platon::reported(error, error_size, [&] { name = platon::select_kernels().name; });
  return name;
}

// How long a small product takes with each of the sets that a new session chooses among; their number. `names` and
// `seconds` have room for `room` of them.
PLATON_EXPORT int platon_kernel_seconds(const char** names, double* seconds, int room) {
  int count = 0;
  platon::reported(nullptr, 0, [&] {
    const std::vector<const platon::Kernels*> sets = platon::vector_kernels();
    const std::vector<double> measured = platon::product_seconds(sets);
    for (; count < room && count < static_cast<int>(sets.size()); ++count) {
      names[count] = sets[count]->name;
      seconds[count] = measured[count];
    }
  });
  return count;
}

// Which of the times a new session would take the set of.
PLATON_EXPORT int platon_preferred_kernel(const double* seconds, int count) {
  return static_cast<int>(platon::preferred(std::vector<double>(seconds, seconds + count)));
}

// Cut for a machine of so many cores into chunks of at least so many rows, 0: as for a session. Null with the reason in
// `error` on bad input.
PLATON_EXPORT void* platon_layer_create_for(const PlatonWeights* weights, const PlatonSpec* spec, int cores,
                                            int least_rows, char* error, size_t error_size) {
  SparseLinear* linear = nullptr;
  platon::reported(error, error_size, [&] {
    if (cores < 0 || least_rows < 0)
      throw platon::InputError("cores and least_rows must be >= 0, got " + std::to_string(cores) + " and " +
                               std::to_string(least_rows));
    linear = new SparseLinear(platon::csr_view(*weights), platon::linear_spec(*spec), {cores, least_rows});
  });
  return linear;
}

PLATON_EXPORT void* platon_layer_create(const PlatonWeights* weights, const PlatonSpec* spec, char* error,
                                        size_t error_size) {
  return platon_layer_create_for(weights, spec, 0, 0, error, error_size);
}

// The chunks that a layer's features are cut into.
PLATON_EXPORT int64_t platon_linear_chunks(const void* linear) {
  return static_cast<const SparseLinear*>(linear)->weights().chunks().count();
}

PLATON_EXPORT void platon_linear_destroy(void* linear) { delete static_cast<SparseLinear*>(linear); }

PLATON_EXPORT int64_t platon_linear_packed_bytes(const void* linear) {
  return static_cast<const SparseLinear*>(linear)->weights().bytes();
}

PLATON_EXPORT void* platon_pool_create() {
  ThreadPool* pool = nullptr;
  platon::reported(nullptr, 0, [&] { pool = new ThreadPool; });
  return pool;
}

// Lends the calling thread to the pool until platon_pool_stop.
PLATON_EXPORT void platon_pool_work(void* pool) { static_cast<ThreadPool*>(pool)->work(); }

PLATON_EXPORT void platon_pool_stop(void* pool) { static_cast<ThreadPool*>(pool)->stop(); }

// From here to platon_pool_timed the caller of a loop works alone. seconds[0]: what came before the loop, the others:
// its items, in their order. Null without memory.
PLATON_EXPORT void* platon_pool_time(void* pool, double* seconds, int64_t room) {
  platon::Stopwatch* watch = nullptr;
  platon::reported(nullptr, 0, [&] {
    watch = new platon::Stopwatch(seconds, room);
    static_cast<ThreadPool*>(pool)->watch(watch);
  });
  return watch;
}

// How many times there are, or would be if there were room.
PLATON_EXPORT int64_t platon_pool_timed(void* pool, void* watch) {
  const platon::Stopwatch* const held = static_cast<platon::Stopwatch*>(watch);
  const int64_t laps = held->laps();
  static_cast<ThreadPool*>(pool)->watch(nullptr);
  delete held;
  return laps;
}

// Only when no thread is in platon_pool_work any more.
PLATON_EXPORT void platon_pool_destroy(void* pool) { delete static_cast<ThreadPool*>(pool); }

// 0 with the reason in `error` on failure.
PLATON_EXPORT int platon_linear_run(const void* linear, const char* kernels, const PlatonData* data, void* pool,
                                    char* error, size_t error_size) {
  static_cast<ThreadPool*>(pool)->enter();
  return platon::reported(error, error_size, [&] {
    const platon::LinearData given{data->x, data->rows, data->out, data->residual, data->sum};
    static_cast<const SparseLinear*>(linear)->run(platon::find_kernels(kernels), given, ThreadPool::run, pool);
  });
}

// x[rows][features] into panels of the same size.
PLATON_EXPORT int platon_pack_rows(const char* kernels, const float* x, int64_t rows, int64_t features, float* out,
                                   void* pool, char* error, size_t error_size) {
  return platon::reported(error, error_size, [&] {
    platon::pack_rows(platon::find_kernels(kernels), x, rows, features, out, ThreadPool::run, pool);
  });
}

// One call of platon::Attention. 0 with the reason in `error` on failure.
PLATON_EXPORT int platon_attend_heads(const char* kernels, const PlatonAttention* call, void* pool, char* error,
                                      size_t error_size) {
  static_cast<ThreadPool*>(pool)->enter();
  return platon::reported(error, error_size, [&] {
    const int64_t* strides = call->mask_strides;
    platon::AttentionData data{{call->q, call->q_features, call->q_first, call->size},
                               {call->k, call->k_features, call->k_first, call->size},
                               {call->v, call->v_features, call->v_first, call->value_size},
                               std::vector<int64_t>(call->lengths, call->lengths + call->length_count),
                               {call->mask, strides[0], strides[1], strides[2], strides[3]},
                               call->out};
    const platon::AttentionSpec spec{call->heads, call->scale, platon::layout(call->input_panels),
                                     platon::layout(call->output_panels), call->bytes != 0};
    platon::attend(platon::find_kernels(kernels), spec, data, ThreadPool::run, pool);
  });
}

// Rounds of pure arithmetic (kind 0) or pure loads (kind 1) on every thread of the pool. Returns the operations or
// bytes of one round on one thread, 0 when there are no such kernels.
PLATON_EXPORT int platon_burn(const char* kernels, int kind, int64_t rounds, int threads, void* pool) {
  int work = 0;
  platon::reported(nullptr, 0, [&] {
    const platon::Kernels& found = platon::find_kernels(kernels);
    struct Call {
      platon::Burn* burn;
      int64_t rounds;
    } call{kind == 0 ? found.burn_fma : found.burn_load, rounds};
    const auto body = [](void* data, size_t) { static_cast<Call*>(data)->burn(static_cast<Call*>(data)->rounds); };
    ThreadPool::run(pool, body, static_cast<size_t>(threads), &call);
    work = call.burn(0);
  });
  return work;
}
