#include "core/gaps.h"

#include <limits>
#include <string>

namespace platon {
namespace {

constexpr int kValueBits = 7;
constexpr int64_t kMaxGapBits = 8;
constexpr int64_t kMaxValueBytes = std::numeric_limits<int32_t>::max() / 8 * kValueBits;  // counts fit in 32 bits

std::string text(int64_t value) { return std::to_string(value); }

// Codes of up to 8 bits, one after the other.
class Codes {
 public:
  Codes(const uint8_t* data, int64_t bytes, int bits)
      : next_(data), end_(data + bytes), bits_(bits), mask_((1u << bits) - 1) {}

  // False where fewer bits are left than a code has.
  bool read(unsigned& code) {
    if (held_ < bits_) {
      if (next_ == end_) return false;
      bits_held_ |= static_cast<unsigned>(*next_++) << held_;
      held_ += 8;
    }
    code = bits_held_ & mask_;
    bits_held_ >>= bits_;
    held_ -= bits_;
    return true;
  }

  int64_t bytes_left() const { return end_ - next_; }
  // Of the bits of the byte that was read last, whether those behind the last code are ones.
  bool rest_is_ones() const { return bits_held_ == (1u << held_) - 1; }

 private:
  const uint8_t* next_;
  const uint8_t* const end_;
  const int bits_;
  const unsigned mask_;
  unsigned bits_held_ = 0;
  int held_ = 0;
};

void check_sizes(const GapsView& packed) {
  check_features(packed.in_features, packed.out_features);
  check_scale_count(packed.row_scale_count, packed.out_features);  // before memory is taken for as many rows
  if (packed.gap_bits < 1 || packed.gap_bits > kMaxGapBits)
    throw InputError("gap_bits must be in [1, " + text(kMaxGapBits) + "], got " + text(packed.gap_bits));
  if (packed.value_bytes > kMaxValueBytes)
    throw InputError("values must have at most " + text(kMaxValueBytes) + " bytes, got " + text(packed.value_bytes));
}

}  // namespace

Unpacked::Unpacked(const GapsView& packed)
    : row_scales_(packed.row_scales),
      row_scale_count_(packed.row_scale_count),
      in_features_(packed.in_features),
      out_features_(packed.out_features) {
  check_sizes(packed);
  read_places(packed);
  read_values(packed);
}

void Unpacked::read_places(const GapsView& packed) {
  const size_t most = static_cast<size_t>(packed.value_bytes * 8 / kValueBits);
  const unsigned skip = (1u << packed.gap_bits) - 1;
  columns_.reserve(most);
  row_starts_.reserve(static_cast<size_t>(out_features_) + 1);
  row_starts_.push_back(0);
  Codes gaps(packed.gaps, packed.gap_bytes, static_cast<int>(packed.gap_bits));
  int64_t column = 0, row = 0, left = packed.gap_bytes;  // left: bytes behind the last non-zero's gap
  for (unsigned gap; gaps.read(gap);) {
    column += gap;
    if (gap == skip) continue;
    for (; column >= in_features_ && row < out_features_; ++row, column -= in_features_)
      row_starts_.push_back(static_cast<int32_t>(columns_.size()));
    if (row == out_features_) throw InputError("gaps lead beyond the last row");
    if (columns_.size() == most)
      throw InputError("gaps are of more non-zeros than there are values, " + text(static_cast<int64_t>(most)));
    columns_.push_back(static_cast<int32_t>(column++));
    left = gaps.bytes_left();
  }
  if (left || !gaps.rest_is_ones()) throw InputError("gaps must end with the last non-zero, and unused bits be ones");
  row_starts_.resize(static_cast<size_t>(out_features_) + 1, static_cast<int32_t>(columns_.size()));
}

void Unpacked::read_values(const GapsView& packed) {
  const int64_t count = static_cast<int64_t>(columns_.size()), bytes = (count * kValueBits + 7) / 8;
  if (packed.value_bytes != bytes)
    throw InputError("values must have " + text(bytes) + " bytes for " + text(count) + " non-zeros, got " +
                     text(packed.value_bytes));
  values_.reserve(columns_.size());
  Codes values(packed.values, packed.value_bytes, kValueBits);
  unsigned code = 0;
  for (int64_t i = 0; i < count && values.read(code); ++i)
    values_.push_back(static_cast<int8_t>(static_cast<int>(code) - kMaxByteWeight));
  if (!values.rest_is_ones()) throw InputError("unused bits of values must be ones");
}

CsrView Unpacked::csr() const {
  CsrView csr{};
  csr.value_count = csr.column_count = static_cast<int64_t>(columns_.size());
  csr.columns = columns_.data();
  csr.wide_columns = true;
  csr.row_starts = row_starts_.data();
  csr.row_start_count = static_cast<int64_t>(row_starts_.size());
  csr.in_features = in_features_;
  csr.out_features = out_features_;
  csr.quantized = true;
  csr.bytes = values_.data();
  csr.row_scales = row_scales_;
  csr.row_scale_count = row_scale_count_;
  return csr;
}

}  // namespace platon
