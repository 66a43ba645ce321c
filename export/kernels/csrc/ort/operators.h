// What each name of the domain `platon` says. platon_compress/export/operators.py holds the table; operators.inc is
// written from it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/kernels.h"
#include "ort/abi.h"

namespace platon {

enum class Kind : int { kLinear, kFeedForward, kSelfAttention, kHeads };
enum class Encoding : int { kNone, kCsr, kCsrInt8, kGapsInt8 };
enum class Masking : int { kFull, kMask, kLengths };

struct OperatorInput {
  std::string name;
  ort::ElementType type;  // kUndefined: the kernel checks it
};

// One operator: its name says which inputs and outputs it has, all of them required.
struct OperatorSpec {
  const char* name;
  Kind kind;
  Encoding encoding;
  Activation activation;  // of the first weight's result, or of the only one's
  Masking masking;
  bool int8;  // the attention's own products are of 8-bit numbers
  bool stacked, residual, prenorm, norm, sum;

  std::vector<OperatorInput> inputs() const;
};

const std::vector<OperatorSpec>& operator_specs();

}  // namespace platon
