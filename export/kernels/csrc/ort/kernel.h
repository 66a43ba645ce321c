// What every operator's adapter needs of ONNX Runtime: statuses, tensors, attributes, threads. Every error leaves as an
// OrtStatus; no exception crosses the border.
#pragma once
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/csr.h"
#include "core/panels.h"
#include "ort/abi.h"

namespace platon {

using ort::Api;

// 1: activations row by row; 2: adds input_layout and output_layout; 3: adds residual, scale, shift and sum, and
// float16 values; 4: adds platon::Attention.
constexpr int64_t kFormatVersion = 4;

// An OrtStatus on its way through our own code.
struct StatusError {
  ort::Status* status;
};

inline void check(ort::Status* status) {
  if (status) throw StatusError{status};
}

inline ort::Status* failed(const Api& api, ort::ErrorCode code, const char* op, const char* what) noexcept {
  try {
    return api.create_status(code, ("platon::" + std::string(op) + ": " + what).c_str());
  } catch (...) {
    return api.create_status(code, what);
  }
}

// Runs `body` and turns whatever it throws into an OrtStatus that names the operator.
template <class Body>
ort::Status* guarded(const Api& api, const char* op, Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const StatusError& error) {
    return error.status;
  } catch (const InputError& error) {
    return failed(api, ort::kInvalidArgument, op, error.what());
  } catch (const std::bad_alloc&) {
    return failed(api, ort::kFail, op, "out of memory");
  } catch (const std::exception& error) {
    return failed(api, ort::kFail, op, error.what());
  } catch (...) {
    return failed(api, ort::kFail, op, "unknown error");
  }
}

// Type, shape and data of a tensor.
struct Tensor {
  const void* data = nullptr;
  ort::ElementType type = ort::kUndefined;
  std::vector<int64_t> shape;

  Tensor(const Api& api, const ort::Value* value);
  const float* floats(const char* name) const;  // throws InputError when it is not float32
  // Of a vector of that type; throws InputError when it is something else.
  int64_t length(const char* name, ort::ElementType expected) const;
};

// The product of all dimensions but the last, which must be `features` (any when negative).
int64_t row_count(const Tensor& x, int64_t features);

// Attributes of a node. Those without a default throw InputError when they are missing.
int64_t attribute(const Api& api, const ort::KernelInfo* info, const char* name);
int64_t attribute(const Api& api, const ort::KernelInfo* info, const char* name, int64_t missing);
float float_attribute(const Api& api, const ort::KernelInfo* info, const char* name);
std::string text_attribute(const Api& api, const ort::KernelInfo* info, const char* name);  // "" when it is missing
Layout layout_attribute(const Api& api, const ort::KernelInfo* info, const char* name);     // kRows when it is missing
int64_t format_version(const Api& api, const ort::KernelInfo* info);  // throws InputError when it is unknown here

// Input `index` of a call, null when the node has none.
const ort::Value* optional_input(const Api& api, const ort::KernelContext* context, size_t index);
// Memory for output `index`, null when nobody reads it.
float* output_data(const Api& api, ort::KernelContext* context, size_t index, const std::vector<int64_t>& shape);

// The session's own threads, as a ParallelFor.
struct PoolBridge {
  const Api& api;
  const ort::KernelContext* context;
  static void run(void* pool, void (*body)(void*, size_t), size_t total, void* data);
};

// An operator whose kernel is Kernel(api, info) and Kernel::run(context); Kernel::kName is its name.
template <class Kernel>
ort::CustomOp make_op() {
  ort::CustomOp op{};
  op.version = ort::kApiVersion;
  op.get_execution_provider = [](const ort::CustomOp*) -> const char* { return "CPUExecutionProvider"; };
  op.get_output_type = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
  op.get_output_count = [](const ort::CustomOp*) -> size_t { return 1; };
  op.get_name = [](const ort::CustomOp*) { return Kernel::kName; };
  op.get_input_type = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
  op.get_input_characteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
  op.get_output_characteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
  op.get_input_memory_type = [](const ort::CustomOp*, size_t) { return 0; };
  op.get_variadic_input_min_arity = [](const ort::CustomOp*) { return 1; };
  op.get_variadic_input_homogeneity = [](const ort::CustomOp*) { return 1; };
  op.get_variadic_output_min_arity = [](const ort::CustomOp*) { return 1; };
  op.get_variadic_output_homogeneity = [](const ort::CustomOp*) { return 1; };
  op.create_kernel_v2 = [](const ort::CustomOp*, const void* table, const ort::KernelInfo* info, void** kernel) {
    const Api api(static_cast<const void* const*>(table));
    return guarded(api, Kernel::kName, [&] { *kernel = new Kernel(api, info); });
  };
  op.kernel_compute_v2 = [](void* kernel, ort::KernelContext* context) {
    Kernel& self = *static_cast<Kernel*>(kernel);
    return guarded(self.api(), Kernel::kName, [&] { self.run(context); });
  };
  op.kernel_destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.get_start_version = [](const ort::CustomOp*) { return 1; };
  op.get_end_version = [](const ort::CustomOp*) { return std::numeric_limits<int>::max(); };
  return op;
}

// The operators of the domain, each defined in its own file.
ort::CustomOp sparse_linear_op();
ort::CustomOp pack_tokens_op();
ort::CustomOp attention_op();

}  // namespace platon
