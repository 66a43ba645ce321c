// What every operator's adapter needs of ONNX Runtime: statuses, tensors, attributes, threads. Every error leaves as an
// OrtStatus; no exception crosses the border.
#pragma once
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/csr.h"
#include "core/panels.h"
#include "ort/abi.h"
#include "ort/operators.h"

namespace platon {

using ort::Api;

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

std::string shape_text(const std::vector<int64_t>& shape);

// The product of all dimensions but the last, which must be `features`.
int64_t row_count(const Tensor& x, int64_t features);

// The session's own threads, as a ParallelFor.
struct PoolBridge {
  const Api& api;
  const ort::KernelContext* context;
  static void run(void* pool, void (*body)(void*, size_t), size_t total, void* data);
};

// An operator as ONNX Runtime gets it.
struct Operator : ort::CustomOp {
  OperatorSpec spec;
  std::vector<OperatorInput> inputs;
};

// A node: what its operator's kernel may ask when it is made. Throws InputError for what is missing.
class Node {
 public:
  Node(const Operator& op, Api api, const ort::KernelInfo* info) : op_(op), api_(api), info_(info) {}
  const OperatorSpec& spec() const { return op_.spec; }
  Api api() const { return api_; }
  size_t place(const std::string& input) const;
  Tensor constant(const std::string& input) const;
  std::vector<float> constant_vector(const std::string& input) const;
  int64_t attribute(const char* name) const;
  float float_attribute(const char* name) const;

 private:
  const Operator& op_;
  const Api api_;
  const ort::KernelInfo* const info_;
};

// One call of a node.
class Context {
 public:
  Context(Api api, ort::KernelContext* context) : api_(api), context_(context), pool_{api_, context} {}
  Tensor input(size_t place) const;
  float* output(size_t place, const std::vector<int64_t>& shape) const;  // null when nobody reads it
  PoolBridge* pool() { return &pool_; }

 private:
  const Api api_;
  ort::KernelContext* const context_;
  PoolBridge pool_;
};

// What ONNX Runtime asks of any operator.
Operator describe(const OperatorSpec& spec);

// An operator whose kernel is Kernel(node) and Kernel::run(context).
template <class Kernel>
Operator make_op(const OperatorSpec& spec) {
  struct Made {
    Api api;
    const char* name;
    Kernel kernel;
  };
  Operator op = describe(spec);
  op.create_kernel_v2 = [](const ort::CustomOp* op, const void* table, const ort::KernelInfo* info, void** kernel) {
    const Api api(static_cast<const void* const*>(table));
    const Operator& own = *static_cast<const Operator*>(op);
    return guarded(api, own.spec.name, [&] { *kernel = new Made{api, own.spec.name, Kernel(Node(own, api, info))}; });
  };
  op.kernel_compute_v2 = [](void* kernel, ort::KernelContext* context) {
    Made& made = *static_cast<Made*>(kernel);
    return guarded(made.api, made.name, [&] {
      Context call(made.api, context);
      made.kernel.run(call);
    });
  };
  op.kernel_destroy = [](void* kernel) { delete static_cast<Made*>(kernel); };
  return op;
}

// Each kind is defined in its own file.
Operator linear_op(const OperatorSpec& spec);
Operator feed_forward_op(const OperatorSpec& spec);
Operator self_attention_op(const OperatorSpec& spec);
Operator heads_op(const OperatorSpec& spec);

}  // namespace platon
