// What the fuzz targets share: how they read their bytes, what they count, how they say that something is wrong.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/csr.h"
#include "core/kernels.h"

namespace fuzz {

// Little-endian numbers from an input; zeros behind its end.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), left_(size) {}

  template <class Number>
  Number take() {
    Number number{};
    const size_t bytes = sizeof number < left_ ? sizeof number : left_;
    if (bytes) std::memcpy(&number, data_, bytes);
    data_ += bytes, left_ -= bytes;
    return number;
  }

  // As many of `count` as are left, in a buffer of exactly that size, so that one number too far is found.
  template <class Number>
  std::vector<Number> array(size_t count) {
    const size_t held = count < left_ / sizeof(Number) ? count : left_ / sizeof(Number);
    std::vector<Number> numbers(held);
    if (held) std::memcpy(numbers.data(), data_, held * sizeof(Number));
    data_ += held * sizeof(Number), left_ -= held * sizeof(Number);
    return numbers;
  }

  size_t left() const { return left_; }

 private:
  const uint8_t* data_;
  size_t left_;
};

// Something is wrong with the library: ends the process as a sanitizer does.
[[noreturn]] inline void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputc('\n', stderr);
  std::abort();
}

// How inputs ended. Written as JSON into the file that PLATON_FUZZ_COUNTS names, when the process ends.
struct Outcomes {
  long form = 0;      // refused for a size, a type or something missing, before any number was looked at
  long content = 0;   // refused for what the numbers are
  long accepted = 0;  // ran

  ~Outcomes() {
    const char* path = std::getenv("PLATON_FUZZ_COUNTS");
    std::FILE* file = path ? std::fopen(path, "w") : nullptr;
    if (!file) return;
    std::fprintf(file, "{\"first_check\": %ld, \"refused\": %ld, \"accepted\": %ld}\n", form, content, accepted);
    std::fclose(file);
  }

  void refuse(const std::string& message) {
    if (message.empty()) fail("a refusal without a reason");
    ++(is_of_form(message) ? form : content);
  }

 private:
  static bool is_of_form(const std::string& message) {
    for (const char* words : {"is missing", "element type", "must be float32", "must have one dimension",
                              "entries, got", "the same length", "must be in [1, ", "must lie between",
                              "must be an initializer", "must be groups of", "at most", "must be int32 for"})
      if (message.find(words) != std::string::npos) return true;
    return false;
  }
};

inline Outcomes outcomes;

// The sets that this processor can run; the first is the reference.
inline const std::vector<const platon::Kernels*>& kernel_sets() {
  static const std::vector<const platon::Kernels*> sets = [] {
    std::vector<const platon::Kernels*> found;
#define FUZZ_FIND(name) \
  if (platon::name::supported()) found.push_back(&platon::find_kernels(#name));
    PLATON_KERNELS(FUZZ_FIND)
#undef FUZZ_FIND
    return found;
  }();
  return sets;
}

// A ParallelFor of one thread, which begins at the end: no result may depend on the order.
inline void backwards(void*, void (*body)(void*, size_t), size_t total, void* data) {
  while (total > 0) body(data, --total);
}

// Numbers from -1 to 1 that a seed determines.
class Numbers {
 public:
  explicit Numbers(uint32_t seed) : state_(seed) {}
  float next() {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<float>(static_cast<int32_t>(state_) >> 16) / 32768.0f;
  }
  std::vector<float> take(size_t count) {
    std::vector<float> numbers(count);
    for (float& number : numbers) number = next();
    return numbers;
  }

 private:
  uint32_t state_;
};

}  // namespace fuzz
