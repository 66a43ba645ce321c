// 8-bit weights as files pack them: gaps between non-zeros and 7-bit values, side by side in bytes.
#pragma once
#include <cstdint>
#include <vector>

#include "core/csr.h"

namespace platon {

// Untrusted, in somebody else's memory. The lowest bit of a code and of a byte comes first; unused bits are ones.
struct GapsView {
  // Zeros in front of each non-zero, rows one behind the other. The largest code of `gap_bits` bits is a gap without a
  // non-zero behind it.
  const uint8_t* gaps;
  int64_t gap_bytes;
  int64_t gap_bits;
  const uint8_t* values;  // in codes of 7 bits, each larger than its value by kMaxByteWeight
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
  void read_places(const GapsView& packed);
  void read_values(const GapsView& packed);

  std::vector<int32_t> columns_, row_starts_;
  std::vector<int8_t> values_;
  const float* row_scales_;
  int64_t row_scale_count_, in_features_, out_features_;
};

}  // namespace platon
