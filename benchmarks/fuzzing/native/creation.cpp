// Every operator, made and run as ONNX Runtime does it, from attributes and inputs of any type, shape and content.
#include <cstdlib>

#include "fuzz.h"
#include "runtime.h"

namespace {

using fuzz::Bytes;

constexpr const char* kAttributes[] = {"in_features",    "out_features", "inner_features",  "num_heads",
                                       "score_scale",    "epsilon",      "prenorm_epsilon", "gap_bits",
                                       "inner_gap_bits", "qkv_gap_bits"};
constexpr int64_t kMostElements = 8192, kMostTokens = 96;

size_t element_bytes(int type) {
  switch (type) {
    case platon::ort::kUint8:
    case platon::ort::kInt8:
      return 1;
    case platon::ort::kUint16:
    case platon::ort::kFloat16:
      return 2;
    case platon::ort::kInt64:
      return 8;
    default:
      return 4;
  }
}

// The declared type, where there is one and nothing else is asked for. Sizes of more elements than an input of a few
// kilobytes is about become small.
void read_value(Bytes& bytes, int declared, bool another, fuzz::Value& value) {
  const int wild = bytes.take<uint8_t>() % 12;
  value.type = declared != platon::ort::kUndefined && !another ? declared : wild;
  value.shape.resize(bytes.take<uint8_t>() % 6);
  int64_t elements = 1;
  for (int64_t& size : value.shape) {
    size = bytes.take<uint16_t>();
    if (elements * size > kMostElements) size %= 4;
    if (elements * size > kMostElements) size = 1;
    elements *= size;
  }
  const size_t wanted = static_cast<size_t>(elements) * element_bytes(value.type);
  const std::vector<uint8_t> given = bytes.array<uint8_t>(wanted);
  value.words.resize((wanted + 7) / 8);
  if (!given.empty()) std::memcpy(value.words.data(), given.data(), given.size());
}

// benchmarks/fuzzing/seeds.py writes the same.
void read_node(Bytes& bytes, const platon::ort::CustomOp& op, fuzz::Node& node) {
  node.attributes.resize(bytes.take<uint8_t>() % 12);
  for (fuzz::Attribute& attribute : node.attributes) {
    attribute.name = kAttributes[bytes.take<uint8_t>() % (sizeof kAttributes / sizeof *kAttributes)];
    attribute.whole = bytes.take<uint8_t>() % 2 == 0;
    if (attribute.whole)
      attribute.number = bytes.take<int64_t>();
    else
      attribute.real = bytes.take<float>();
  }
  node.inputs.resize(op.get_input_count(&op));
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    fuzz::Input& input = node.inputs[i];
    const uint8_t flags = bytes.take<uint8_t>();
    input.missing = flags & 1, input.constant = !(flags & 2);
    read_value(bytes, op.get_input_type(&op, i), flags & 4, input.value);
  }
}

// Few tokens, so that one input is not much work; more is in attention.cpp.
bool is_short(const fuzz::Node& node) {
  const std::vector<int64_t>& shape = node.inputs[0].value.shape;
  int64_t tokens = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) tokens *= shape[i];
  return tokens <= kMostTokens;
}

// The sets of this processor, and a name that is none.
void force_kernels(uint8_t choice) {
  const auto& sets = fuzz::kernel_sets();
  const size_t index = choice % (sets.size() + 1);
  setenv("PLATON_FORCE_ISA", index < sets.size() ? sets[index]->name : choice % 2 ? "" : "no such set", 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  const auto& operators = fuzz::registered_operators();
  const platon::ort::CustomOp& op = *operators[bytes.take<uint16_t>() % operators.size()];
  force_kernels(bytes.take<uint8_t>());
  const uint8_t failing = bytes.take<uint8_t>();
  fuzz::Node node;
  read_node(bytes, op, node);
  fuzz::fail_at(failing);
  const std::string message = fuzz::create_and_run(op, node, is_short(node));
  fuzz::fail_at(0);
  if (message.empty())
    ++fuzz::outcomes.accepted;
  else
    fuzz::outcomes.refuse(message);
  return 0;
}
