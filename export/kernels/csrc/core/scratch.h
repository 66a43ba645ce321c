// Working memory that is kept between calls: a model runs the same few sizes thousands of times.
#pragma once
#include <cstddef>

namespace platon {

// 64-byte aligned floats from a process-wide list of free buffers; given back on destruction. Thread-safe, and
// safe in a forked child, whatever other threads did at that moment.
class Scratch {
 public:
  explicit Scratch(size_t floats);  // throws std::bad_alloc
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* data() const { return data_; }

 private:
  float* data_ = nullptr;
  size_t floats_ = 0;
};

}  // namespace platon
