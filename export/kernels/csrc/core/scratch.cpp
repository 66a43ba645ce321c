#include "core/scratch.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <mutex>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace platon {
namespace {

constexpr size_t kKeptBuffers = 16;
constexpr std::align_val_t kAlignment{64};

struct Buffer {
  float* data;
  size_t floats;
};

void release(float* data) { ::operator delete(data, kAlignment); }

// Nothing of it needs destruction, so that threads that outlive it at the end of a process only find it closed.
struct FreeList {
  std::mutex mutex;
  Buffer buffers[kKeptBuffers];
  size_t count = 0;
  bool closed = false;

  FreeList();
  ~FreeList() {
    const std::lock_guard<std::mutex> lock(mutex);
    while (count > 0) release(buffers[--count].data);
    closed = true;
  }

  // The smallest free buffer that fits and is not more than four times too large; none: nulls.
  Buffer take(size_t floats) {
    const std::lock_guard<std::mutex> lock(mutex);
    Buffer* best = nullptr;
    for (Buffer* buffer = buffers; buffer < buffers + count; ++buffer)
      if (buffer->floats >= floats && buffer->floats / 4 <= floats && (!best || buffer->floats < best->floats))
        best = buffer;
    if (!best) return {nullptr, 0};
    const Buffer taken = *best;
    *best = buffers[--count];
    return taken;
  }

  // Keeps `buffer`; what goes instead, or null. A full list drops its smallest: the large ones are the dear ones.
  float* keep(Buffer buffer) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (closed) return buffer.data;
    if (count < kKeptBuffers) {
      buffers[count++] = buffer;
      return nullptr;
    }
    const auto fewer = [](const Buffer& a, const Buffer& b) { return a.floats < b.floats; };
    Buffer& smallest = *std::min_element(buffers, buffers + count, fewer);
    if (smallest.floats < buffer.floats) std::swap(smallest, buffer);
    return buffer.data;
  }
};

// Made when the library is loaded: a child forked while a thread was making it would wait for that thread.
FreeList free_list;

FreeList::FreeList() {
#if defined(__unix__) || defined(__APPLE__)
  // A child gets the list as it is at the fork: whole, and held by nobody who is not there.
  pthread_atfork([] { free_list.mutex.lock(); }, [] { free_list.mutex.unlock(); }, [] { free_list.mutex.unlock(); });
#endif
}

}  // namespace

Scratch::Scratch(size_t floats) {
  if (floats == 0) return;
  if (floats > std::numeric_limits<size_t>::max() / (2 * sizeof(float))) throw std::bad_alloc();
  const Buffer kept = free_list.take(floats);
  data_ = kept.data;
  floats_ = kept.floats;
  if (data_) return;
  floats_ = (floats + 1023) / 1024 * 1024;
  data_ = static_cast<float*>(::operator new(floats_ * sizeof(float), kAlignment));
}

Scratch::~Scratch() {
  if (!data_) return;
  if (float* dropped = free_list.keep({data_, floats_})) release(dropped);
}

}  // namespace platon
