// The part of ONNX Runtime's C ABI that the operator uses.
//
// OrtApi is a table of function pointers whose order is frozen (new entries are only appended), and OrtCustomOp
// carries its own version. So this header names table slots instead of shipping Microsoft's header;
// abi_check.cpp proves every number below against the official header where one is installed.
#pragma once
#include <cstddef>
#include <cstdint>

namespace platon::ort {

struct Status;
struct Value;
struct TensorInfo;
struct SessionOptions;
struct CustomOpDomain;
struct KernelInfo;
struct KernelContext;

// KernelContext_ParallelFor came with API version 17 (ONNX Runtime 1.17).
constexpr uint32_t kApiVersion = 17;

enum ErrorCode : int { kFail = 1, kInvalidArgument = 2 };
enum ElementType : int {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt32 = 6,
  kInt64 = 7,
  kFloat16 = 10
};
enum Characteristic : int { kRequired = 0 };

enum Slot : size_t {
  kCreateStatus = 0,
  kCreateCustomOpDomain = 26,
  kCustomOpDomainAdd = 27,
  kAddCustomOpDomain = 28,
  kGetTensorMutableData = 51,
  kGetTensorElementType = 60,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetTensorShapeElementCount = 64,
  kGetTensorTypeAndShape = 65,
  kKernelInfoGetAttributeFloat = 85,
  kKernelInfoGetAttributeInt64 = 86,
  kKernelContextGetInput = 90,
  kKernelContextGetOutput = 91,
  kReleaseStatus = 93,
  kReleaseTensorTypeAndShapeInfo = 99,
  kReleaseCustomOpDomain = 101,
  kAddSessionConfigEntry = 130,
  kHasSessionConfigEntry = 237,
  kKernelInfoGetConstantInputTensor = 249,
  kKernelContextParallelFor = 274,
};

struct ApiBase {
  const void* const* (*get_api)(uint32_t version);
  const char* (*get_version_string)();
};

// Field for field OrtCustomOp of API version 21; the version field tells ONNX Runtime how far it may read.
struct CustomOp {
  uint32_t version;
  void* (*create_kernel)(const CustomOp*, const void* api, const KernelInfo*);
  const char* (*get_name)(const CustomOp*);
  const char* (*get_execution_provider)(const CustomOp*);
  ElementType (*get_input_type)(const CustomOp*, size_t index);
  size_t (*get_input_count)(const CustomOp*);
  ElementType (*get_output_type)(const CustomOp*, size_t index);
  size_t (*get_output_count)(const CustomOp*);
  void (*kernel_compute)(void* kernel, KernelContext*);
  void (*kernel_destroy)(void* kernel);
  Characteristic (*get_input_characteristic)(const CustomOp*, size_t index);
  Characteristic (*get_output_characteristic)(const CustomOp*, size_t index);
  int (*get_input_memory_type)(const CustomOp*, size_t index);
  int (*get_variadic_input_min_arity)(const CustomOp*);
  int (*get_variadic_input_homogeneity)(const CustomOp*);
  int (*get_variadic_output_min_arity)(const CustomOp*);
  int (*get_variadic_output_homogeneity)(const CustomOp*);
  Status* (*create_kernel_v2)(const CustomOp*, const void* api, const KernelInfo*, void** kernel);
  Status* (*kernel_compute_v2)(void* kernel, KernelContext*);
  Status* (*infer_output_shape)(const CustomOp*, void* context);
  int (*get_start_version)(const CustomOp*);
  int (*get_end_version)(const CustomOp*);
  size_t (*get_may_inplace)(int** input_index, int** output_index);
  void (*release_may_inplace)(int* input_index, int* output_index);
  size_t (*get_alias_map)(int** input_index, int** output_index);
  void (*release_alias_map)(int* input_index, int* output_index);
};

static_assert(sizeof(void*) != 8 || sizeof(CustomOp) == 208, "OrtCustomOp has another layout");

// Typed access to the table. A null Status means success.
class Api {
 public:
  explicit Api(const void* const* table) : table_(table) {}

  Status* create_status(ErrorCode code, const char* message) const {
    return call<Status*(ErrorCode, const char*)>(kCreateStatus)(code, message);
  }
  void release_status(Status* status) const { call<void(Status*)>(kReleaseStatus)(status); }
  Status* create_domain(const char* name, CustomOpDomain** domain) const {
    return call<Status*(const char*, CustomOpDomain**)>(kCreateCustomOpDomain)(name, domain);
  }
  Status* domain_add(CustomOpDomain* domain, const CustomOp* op) const {
    return call<Status*(CustomOpDomain*, const CustomOp*)>(kCustomOpDomainAdd)(domain, op);
  }
  Status* add_domain(SessionOptions* options, CustomOpDomain* domain) const {
    return call<Status*(SessionOptions*, CustomOpDomain*)>(kAddCustomOpDomain)(options, domain);
  }
  Status* add_config_entry(SessionOptions* options, const char* key, const char* value) const {
    return call<Status*(SessionOptions*, const char*, const char*)>(kAddSessionConfigEntry)(options, key, value);
  }
  Status* has_config_entry(const SessionOptions* options, const char* key, int* found) const {
    return call<Status*(const SessionOptions*, const char*, int*)>(kHasSessionConfigEntry)(options, key, found);
  }
  void release_domain(CustomOpDomain* domain) const { call<void(CustomOpDomain*)>(kReleaseCustomOpDomain)(domain); }
  Status* tensor_data(const Value* value, void** data) const {
    return call<Status*(Value*, void**)>(kGetTensorMutableData)(const_cast<Value*>(value), data);
  }
  Status* tensor_info(const Value* value, TensorInfo** info) const {
    return call<Status*(const Value*, TensorInfo**)>(kGetTensorTypeAndShape)(value, info);
  }
  void release_tensor_info(TensorInfo* info) const { call<void(TensorInfo*)>(kReleaseTensorTypeAndShapeInfo)(info); }
  Status* element_type(const TensorInfo* info, ElementType* type) const {
    return call<Status*(const TensorInfo*, ElementType*)>(kGetTensorElementType)(info, type);
  }
  Status* dimension_count(const TensorInfo* info, size_t* count) const {
    return call<Status*(const TensorInfo*, size_t*)>(kGetDimensionsCount)(info, count);
  }
  Status* dimensions(const TensorInfo* info, int64_t* dims, size_t count) const {
    return call<Status*(const TensorInfo*, int64_t*, size_t)>(kGetDimensions)(info, dims, count);
  }
  Status* attribute_float(const KernelInfo* info, const char* name, float* out) const {
    return call<Status*(const KernelInfo*, const char*, float*)>(kKernelInfoGetAttributeFloat)(info, name, out);
  }
  Status* attribute_int64(const KernelInfo* info, const char* name, int64_t* out) const {
    return call<Status*(const KernelInfo*, const char*, int64_t*)>(kKernelInfoGetAttributeInt64)(info, name, out);
  }
  Status* constant_input(const KernelInfo* info, size_t index, int* is_constant, const Value** value) const {
    return call<Status*(const KernelInfo*, size_t, int*, const Value**)>(kKernelInfoGetConstantInputTensor)(
        info, index, is_constant, value);
  }
  Status* input(const KernelContext* context, size_t index, const Value** value) const {
    return call<Status*(const KernelContext*, size_t, const Value**)>(kKernelContextGetInput)(context, index, value);
  }
  Status* output(KernelContext* context, size_t index, const int64_t* dims, size_t count, Value** value) const {
    return call<Status*(KernelContext*, size_t, const int64_t*, size_t, Value**)>(kKernelContextGetOutput)(
        context, index, dims, count, value);
  }
  Status* parallel_for(const KernelContext* context, void (*body)(void*, size_t), size_t total, size_t batches,
                       void* data) const {
    return call<Status*(const KernelContext*, void (*)(void*, size_t), size_t, size_t, void*)>(
        kKernelContextParallelFor)(context, body, total, batches, data);
  }

 private:
  template <class Signature>
  Signature* call(Slot slot) const {
    return reinterpret_cast<Signature*>(const_cast<void*>(table_[slot]));
  }
  const void* const* table_;
};

}  // namespace platon::ort
