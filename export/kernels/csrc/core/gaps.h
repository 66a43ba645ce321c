// 8-bit weights as files pack them: gaps between non-zeros and 7-bit values, side by side in bytes.
#pragma once
#include <cstdint>
#include <vector>

#include "core/csr.h"

namespace platon {

// Untrusted, in somebody else's memory. The lowest bit of a code and of a byte comes first; zeros fill the last group
// of eight codes.
struct GapsView {
  // How far each non-zero is from the one before, rows one behind the other. 0 stands for as many zeros as the largest
  // code of `gap_bits` bits, and no non-zero.
  const uint8_t* gaps;
  int64_t gap_bytes;
  int64_t gap_bits;
  const uint8_t* values;  // in codes of 7 bits, each larger than its value by kMaxByteWeight + 1
  int64_t value_bytes;
  const float* row_scales;
  int64_t row_scale_count;
  int64_t in_features;
  int64_t out_features;
};

// What a GapsView says, as plain arrays.
class Unpacked {
 public:
  explicit Unpacked(const GapsView& packed);  // throws InputError unless the places fit and there is a value for each

  CsrView csr() const;  // of this object's memory; `validate` it

 private:
  template <int kBits>
  void read_places(const GapsView& packed);
  int64_t start_rows(int64_t columns[], int count, size_t found);
  void read_values(const GapsView& packed);

  std::vector<int32_t> columns_, row_starts_;
  std::vector<int8_t> values_;
  const float* row_scales_;
  int64_t row_scale_count_, in_features_, out_features_;
};

}  // namespace platon
