// As much of ONNX Runtime as an operator sees: nodes with attributes and inputs, calls, statuses. Values lie in buffers
// of exactly their size; every failure that the real one may report can be asked for.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "ort/abi.h"

namespace fuzz {

struct Value {
  int type = 0;
  std::vector<int64_t> shape;
  std::vector<uint64_t> words;  // the real one aligns them too
};

struct Attribute {
  std::string name;
  bool whole = true;  // a whole number, or else `real`
  int64_t number = 0;
  float real = 0.0f;
};

struct Input {
  bool missing = false, constant = true;
  Value value;
};

// A node, and one call of it.
struct Node {
  std::vector<Attribute> attributes;
  std::vector<Input> inputs;
  std::vector<std::unique_ptr<Value>> outputs;
};

// The library's operators, by way of RegisterCustomOps.
const std::vector<const platon::ort::CustomOp*>& registered_operators();

// Makes the kernel of a node and runs it once where `may_run`. The error's message, or "".
std::string create_and_run(const platon::ort::CustomOp& op, Node& node, bool may_run);

// The n-th call from now on of what can fail does so; 0: none.
void fail_at(int call);

}  // namespace fuzz
