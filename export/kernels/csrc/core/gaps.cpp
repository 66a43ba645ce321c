#include "core/gaps.h"

#include <limits>
#include <string>

namespace platon {
namespace {

constexpr int kValueBits = 7;
constexpr int64_t kMaxGapBits = 8;
constexpr int kValueOffset = kMaxByteWeight + 1;
constexpr int64_t kMaxElements = std::numeric_limits<int32_t>::max() - 2047;  // places fit in 32 bits, behind it too

std::string text(int64_t value) { return std::to_string(value); }

constexpr int kGroup = 8;

// Eight codes of `bits` bits, which fill `bits` bytes.
void read_group(const uint8_t* bytes, int bits, unsigned codes[kGroup]) {
  uint64_t held = 0;
  for (int i = 0; i < bits; ++i) held |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  for (int i = 0; i < kGroup; ++i, held >>= bits) codes[i] = static_cast<unsigned>(held & mask);
}

// Places of the non-zeros among eight codes, of which `next` is the first place, and their number.
int read_gaps(const uint8_t* bytes, int bits, int64_t& next, int64_t places[kGroup]) {
  unsigned codes[kGroup];
  read_group(bytes, bits, codes);
  const int64_t skip = (int64_t{1} << bits) - 1;
  int count = 0;
  for (const unsigned code : codes) {  // without branches: half of the codes of a mask are zeros
    next += code ? code : skip;
    places[count] = next - 1;
    count += code != 0;
  }
  return count;
}

void check_groups(const std::string& name, int64_t bytes, int64_t bits) {
  if (bytes % bits)
    throw InputError(name + " must be groups of " + text(bits) + " bytes, got " + text(bytes) + " bytes");
}

void check_sizes(const GapsView& packed) {
  check_features(packed.in_features, packed.out_features);
  check_scale_count(packed.row_scale_count, packed.out_features);  // before memory is taken for as many rows
  if (packed.gap_bits < 1 || packed.gap_bits > kMaxGapBits)
    throw InputError("gap_bits must be in [1, " + text(kMaxGapBits) + "], got " + text(packed.gap_bits));
  if (packed.out_features > kMaxElements / packed.in_features)
    throw InputError("the matrix must have at most " + text(kMaxElements) + " elements, got " +
                     text(packed.out_features) + " x " + text(packed.in_features));
  check_groups("gaps", packed.gap_bytes, packed.gap_bits);
  check_groups("values", packed.value_bytes, kValueBits);
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
  const int bits = static_cast<int>(packed.gap_bits);
  const size_t most = static_cast<size_t>(packed.value_bytes / kValueBits * kGroup);
  columns_.reserve(most);
  row_starts_.reserve(static_cast<size_t>(out_features_) + 1);
  row_starts_.push_back(0);
  int64_t next = 0, row_end = in_features_;  // places in the matrix, row by row
  for (int64_t byte = 0; byte < packed.gap_bytes; byte += bits) {
    int64_t places[kGroup];
    const int count = read_gaps(packed.gaps + byte, bits, next, places);
    if (columns_.size() + count > most)
      throw InputError("gaps are of more non-zeros than there are values, " + text(static_cast<int64_t>(most)));
    for (int i = 0; i < count; ++i) {
      for (; places[i] >= row_end; row_end += in_features_) {
        if (row_starts_.size() == static_cast<size_t>(out_features_)) throw InputError("gaps lead beyond the last row");
        row_starts_.push_back(static_cast<int32_t>(columns_.size()));
      }
      columns_.push_back(static_cast<int32_t>(places[i] - (row_end - in_features_)));
    }
    if (!count && byte + bits == packed.gap_bytes) throw InputError("gaps must end with the last non-zero's");
  }
  row_starts_.resize(static_cast<size_t>(out_features_) + 1, static_cast<int32_t>(columns_.size()));
}

void Unpacked::read_values(const GapsView& packed) {
  const size_t count = columns_.size(), groups = (count + kGroup - 1) / kGroup;
  if (packed.value_bytes != static_cast<int64_t>(groups) * kValueBits)
    throw InputError("values must have " + text(static_cast<int64_t>(groups) * kValueBits) + " bytes for " +
                     text(static_cast<int64_t>(count)) + " non-zeros, got " + text(packed.value_bytes));
  values_.reserve(groups * kGroup);
  for (size_t group = 0; group < groups; ++group) {
    unsigned codes[kGroup];
    read_group(packed.values + group * kValueBits, kValueBits, codes);
    for (const unsigned code : codes) values_.push_back(static_cast<int8_t>(static_cast<int>(code) - kValueOffset));
  }
  for (size_t i = count; i < values_.size(); ++i)
    if (values_[i] != -kValueOffset) throw InputError("values behind the last non-zero's must be filled with zeros");
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
