#include "runtime.h"

#include <cstring>

#include "fuzz.h"

extern "C" platon::ort::Status* RegisterCustomOps(platon::ort::SessionOptions*, const platon::ort::ApiBase*);

namespace fuzz {
namespace {

using platon::ort::CustomOp;

constexpr int64_t kMostElements = 1 << 16;  // of one output

struct Failure {
  std::string message;
};

int calls_left = 0;
long held_statuses = 0, held_infos = 0;
std::vector<const CustomOp*> collected;
bool entry_added = false;

Failure* status(int, const char* message) {
  ++held_statuses;
  return new Failure{message};
}

// What every call that can fail begins with.
Failure* injected() { return calls_left > 0 && --calls_left == 0 ? status(1, "injected failure") : nullptr; }

void release_status(Failure* held) {
  --held_statuses;
  delete held;
}

Failure* create_domain(const char*, void** domain) {
  *domain = &collected;
  return nullptr;
}
void release_domain(void*) {}
Failure* domain_add(void*, const CustomOp* op) {
  collected.push_back(op);
  return nullptr;
}
Failure* add_domain(void*, void*) { return nullptr; }
Failure* has_entry(const void*, const char*, int* found) {
  *found = entry_added;
  return nullptr;
}
Failure* add_entry(void*, const char*, const char*) {
  entry_added = true;
  return nullptr;
}

Failure* tensor_data(Value* value, void** data) {
  if (Failure* failure = injected()) return failure;
  *data = value->words.data();
  return nullptr;
}

Failure* tensor_info(Value* value, Value** info) {
  if (Failure* failure = injected()) return failure;
  ++held_infos;
  *info = value;
  return nullptr;
}
void release_info(Value*) { --held_infos; }

Failure* element_type(const Value* info, int* type) {
  if (Failure* failure = injected()) return failure;
  *type = info->type;
  return nullptr;
}

Failure* dimension_count(const Value* info, size_t* count) {
  if (Failure* failure = injected()) return failure;
  *count = info->shape.size();
  return nullptr;
}

Failure* dimensions(const Value* info, int64_t* sizes, size_t count) {
  if (Failure* failure = injected()) return failure;
  std::memcpy(sizes, info->shape.data(), std::min(count, info->shape.size()) * sizeof(int64_t));
  return nullptr;
}

const Attribute* find(const Node* node, const char* name, bool whole) {
  for (const Attribute& attribute : node->attributes)
    if (attribute.name == name && attribute.whole == whole) return &attribute;
  return nullptr;
}

Failure* attribute_int(const Node* node, const char* name, int64_t* out) {
  const Attribute* found = find(node, name, true);
  if (!found) return status(1, "no such attribute");
  *out = found->number;
  return nullptr;
}

Failure* attribute_float(const Node* node, const char* name, float* out) {
  const Attribute* found = find(node, name, false);
  if (!found) return status(1, "no such attribute");
  *out = found->real;
  return nullptr;
}

Failure* constant_input(Node* node, size_t index, int* is_constant, Value** value) {
  if (Failure* failure = injected()) return failure;
  if (index >= node->inputs.size()) return status(2, "no such input");
  Input& input = node->inputs[index];
  *is_constant = input.constant && !input.missing;
  *value = *is_constant ? &input.value : nullptr;
  return nullptr;
}

Failure* context_input(Node* node, size_t index, Value** value) {
  if (Failure* failure = injected()) return failure;
  if (index >= node->inputs.size()) return status(2, "no such input");
  *value = node->inputs[index].missing ? nullptr : &node->inputs[index].value;
  return nullptr;
}

Failure* context_output(Node* node, size_t, const int64_t* sizes, size_t count, Value** value) {
  if (Failure* failure = injected()) return failure;
  int64_t elements = 1;
  for (size_t i = 0; i < count; ++i) {
    if (sizes[i] < 0) fail("an output with a negative size");
    if (sizes[i] > kMostElements || (elements *= sizes[i]) > kMostElements) return status(1, "no memory for an output");
  }
  node->outputs.push_back(std::make_unique<Value>());
  *value = node->outputs.back().get();
  (*value)->type = platon::ort::kFloat;
  (*value)->shape.assign(sizes, sizes + count);
  (*value)->words.resize(static_cast<size_t>(elements + 1) / 2);
  return nullptr;
}

Failure* parallel_for(const void*, void (*body)(void*, size_t), size_t total, size_t, void* data) {
  backwards(nullptr, body, total, data);
  return nullptr;
}

template <class Function>
void set(const void** table, platon::ort::Slot slot, Function* function) {
  table[slot] = reinterpret_cast<const void*>(function);
}

const void* const* make_table() {
  using namespace platon::ort;
  static const void* table[300] = {};
  set(table, kCreateStatus, status), set(table, kReleaseStatus, release_status);
  set(table, kCreateCustomOpDomain, create_domain), set(table, kReleaseCustomOpDomain, release_domain);
  set(table, kCustomOpDomainAdd, domain_add), set(table, kAddCustomOpDomain, add_domain);
  set(table, kHasSessionConfigEntry, has_entry), set(table, kAddSessionConfigEntry, add_entry);
  set(table, kGetTensorMutableData, tensor_data), set(table, kGetTensorTypeAndShape, tensor_info);
  set(table, kReleaseTensorTypeAndShapeInfo, release_info), set(table, kGetTensorElementType, element_type);
  set(table, kGetDimensionsCount, dimension_count), set(table, kGetDimensions, dimensions);
  set(table, kKernelInfoGetAttributeInt64, attribute_int), set(table, kKernelInfoGetAttributeFloat, attribute_float);
  set(table, kKernelInfoGetConstantInputTensor, constant_input), set(table, kKernelContextGetInput, context_input);
  set(table, kKernelContextGetOutput, context_output), set(table, kKernelContextParallelFor, parallel_for);
  return table;
}

const void* const* api_table(uint32_t version) {
  static const void* const* const table = make_table();
  return version <= platon::ort::kApiVersion ? table : nullptr;
}

// The message of a status, which is released.
std::string taken(platon::ort::Status* given) {
  Failure* failure = reinterpret_cast<Failure*>(given);
  if (!failure) return "";
  const std::string message = failure->message;
  release_status(failure);
  if (message.empty()) fail("an error without a message");
  return message;
}

}  // namespace

void fail_at(int call) { calls_left = call; }

const std::vector<const CustomOp*>& registered_operators() {
  if (!collected.empty()) return collected;
  const platon::ort::ApiBase base{api_table, nullptr};
  for (int i = 0; i < 2; ++i)  // a second registration adds nothing
    if (const std::string message = taken(RegisterCustomOps(nullptr, &base)); !message.empty())
      fail("%s", message.c_str());
  const platon::ort::ApiBase old{[](uint32_t version) { return version == 1 ? api_table(1) : nullptr; }, nullptr};
  if (taken(RegisterCustomOps(nullptr, &old)).find("1.17 or newer") == std::string::npos)
    fail("an old runtime is taken");
  return collected;
}

std::string create_and_run(const CustomOp& op, Node& node, bool may_run) {
  void* kernel = nullptr;
  const auto* info = reinterpret_cast<const platon::ort::KernelInfo*>(&node);
  std::string message = taken(op.create_kernel_v2(&op, api_table(platon::ort::kApiVersion), info, &kernel));
  if (message.empty() && !kernel) fail("a kernel was neither made nor refused");
  if (message.empty() && may_run)
    message = taken(op.kernel_compute_v2(kernel, reinterpret_cast<platon::ort::KernelContext*>(&node)));
  if (kernel) op.kernel_destroy(kernel);
  if (held_statuses || held_infos) fail("%ld statuses and %ld shapes were not given back", held_statuses, held_infos);
  return message;
}

}  // namespace fuzz
