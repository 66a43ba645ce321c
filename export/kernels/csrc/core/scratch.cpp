#include "core/scratch.h"

#include <cstdint>
#include <limits>
#include <mutex>
#include <new>
#include <vector>

namespace platon {
namespace {

constexpr size_t kKeptBuffers = 16;
constexpr std::align_val_t kAlignment{64};

struct Buffer {
  float* data;
  size_t floats;
};

void release(float* data) { ::operator delete(data, kAlignment); }

struct FreeList {
  std::mutex mutex;
  std::vector<Buffer> buffers;
  FreeList() { buffers.reserve(kKeptBuffers); }  // so that giving back never allocates
  ~FreeList() {
    for (const Buffer& buffer : buffers) release(buffer.data);
  }
};

FreeList& free_list() {
  static FreeList list;
  return list;
}

}  // namespace

// The smallest free buffer that fits and is not more than four times too large.
Scratch::Scratch(size_t floats) {
  if (floats == 0) return;
  if (floats > std::numeric_limits<size_t>::max() / (2 * sizeof(float))) throw std::bad_alloc();
  FreeList& list = free_list();
  {
    std::lock_guard<std::mutex> lock(list.mutex);
    Buffer* best = nullptr;
    for (Buffer& buffer : list.buffers)
      if (buffer.floats >= floats && buffer.floats / 4 <= floats && (!best || buffer.floats < best->floats))
        best = &buffer;
    if (best) {
      data_ = best->data;
      floats_ = best->floats;
      *best = list.buffers.back();
      list.buffers.pop_back();
      return;
    }
  }
  floats_ = (floats + 1023) / 1024 * 1024;
  data_ = static_cast<float*>(::operator new(floats_ * sizeof(float), kAlignment));
}

// A full list drops its smallest buffer, or this one: the large ones are the dear ones.
Scratch::~Scratch() {
  if (!data_) return;
  float* dropped = nullptr;
  {
    FreeList& list = free_list();
    std::lock_guard<std::mutex> lock(list.mutex);
    if (list.buffers.size() < kKeptBuffers) {
      list.buffers.push_back({data_, floats_});
    } else {
      Buffer* smallest = &list.buffers[0];
      for (Buffer& buffer : list.buffers)
        if (buffer.floats < smallest->floats) smallest = &buffer;
      dropped = smallest->floats < floats_ ? smallest->data : data_;
      if (dropped != data_) *smallest = {data_, floats_};
    }
  }
  if (dropped) release(dropped);
}

}  // namespace platon
