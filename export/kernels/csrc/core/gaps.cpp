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

// Eight codes of kBits bits, which fill kBits bytes.
template <int kBits>
void read_group(const uint8_t* bytes, unsigned codes[kGroup]) {
  uint64_t held = 0;
  for (int i = 0; i < kBits; ++i) held |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  for (int i = 0; i < kGroup; ++i, held >>= kBits) codes[i] = static_cast<unsigned>(held & ((1u << kBits) - 1));
}

// Columns of the non-zeros among eight codes, and their number. `next`: the column behind those, in the row where it
// was.
template <int kBits>
int read_gaps(const uint8_t* bytes, int64_t& next, int64_t columns[kGroup]) {
  unsigned codes[kGroup];
  read_group<kBits>(bytes, codes);
  int count = 0;
  for (const unsigned code : codes) {  // without branches: half of the codes of a mask are zeros
    next += code ? code : (1u << kBits) - 1;
    columns[count] = next - 1;
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
  using Read = void (Unpacked::*)(const GapsView&);
  constexpr Read kReads[] = {&Unpacked::read_places<1>, &Unpacked::read_places<2>, &Unpacked::read_places<3>,
                             &Unpacked::read_places<4>, &Unpacked::read_places<5>, &Unpacked::read_places<6>,
                             &Unpacked::read_places<7>, &Unpacked::read_places<8>};
  (this->*kReads[packed.gap_bits - 1])(packed);
  read_values(packed);
}

template <int kBits>
void Unpacked::read_places(const GapsView& packed) {
  const size_t most = static_cast<size_t>(packed.value_bytes / kValueBits * kGroup);
  columns_.resize(most);
  row_starts_.reserve(static_cast<size_t>(out_features_) + 1);
  row_starts_.push_back(0);
  size_t found = 0;
  int64_t next = 0;
  for (int64_t byte = 0; byte < packed.gap_bytes; byte += kBits) {
    int64_t columns[kGroup];
    const int count = read_gaps<kBits>(packed.gaps + byte, next, columns);
    if (found + count > most)
      throw InputError("gaps are of more non-zeros than there are values, " + text(static_cast<int64_t>(most)));
    if (next > in_features_) next -= start_rows(columns, count, found);
    for (int i = 0; i < count; ++i) columns_[found + i] = static_cast<int32_t>(columns[i]);
    found += count;
    if (!count && byte + kBits == packed.gap_bytes) throw InputError("gaps must end with the last non-zero's");
  }
  columns_.resize(found);
  row_starts_.resize(static_cast<size_t>(out_features_) + 1, static_cast<int32_t>(found));
}

// Columns that are counted from the beginning of one row, into those of the rows where they are. Returns by how much
// the last one became smaller.
int64_t Unpacked::start_rows(int64_t columns[], int count, size_t found) {
  int64_t passed = 0;
  for (int i = 0; i < count; ++i) {
    for (; columns[i] - passed >= in_features_; passed += in_features_) {
      if (row_starts_.size() == static_cast<size_t>(out_features_)) throw InputError("gaps lead beyond the last row");
      row_starts_.push_back(static_cast<int32_t>(found + static_cast<size_t>(i)));
    }
    columns[i] -= passed;
  }
  return passed;
}

void Unpacked::read_values(const GapsView& packed) {
  const size_t count = columns_.size(), groups = (count + kGroup - 1) / kGroup;
  if (packed.value_bytes != static_cast<int64_t>(groups) * kValueBits)
    throw InputError("values must have " + text(static_cast<int64_t>(groups) * kValueBits) + " bytes for " +
                     text(static_cast<int64_t>(count)) + " non-zeros, got " + text(packed.value_bytes));
  values_.resize(groups * kGroup);
  for (size_t group = 0; group < groups; ++group) {
    unsigned codes[kGroup];
    read_group<kValueBits>(packed.values + group * kValueBits, codes);
    for (int i = 0; i < kGroup; ++i)
      values_[group * kGroup + i] = static_cast<int8_t>(static_cast<int>(codes[i]) - kValueOffset);
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
