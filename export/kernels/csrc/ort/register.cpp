// Registers the domain `platon` with its operators.
#include <mutex>

#include "core/export.h"
#include "ort/kernel.h"

namespace platon {
namespace {

// ONNX Runtime keeps the domain by reference and never releases it: one for the life of the library.
ort::CustomOpDomain* domain(const Api& api) {
  static std::mutex mutex;
  static ort::CustomOpDomain* instance = nullptr;
  static const ort::CustomOp ops[] = {sparse_linear_op(), pack_tokens_op(), attention_op()};
  const std::lock_guard<std::mutex> lock(mutex);
  if (!instance) {
    ort::CustomOpDomain* created = nullptr;
    check(api.create_domain("platon", &created));
    for (const ort::CustomOp& op : ops) check(api.domain_add(created, &op));
    instance = created;
  }
  return instance;
}

}  // namespace
}  // namespace platon

// The one symbol that every ONNX Runtime binding looks up.
PLATON_EXPORT platon::ort::Status* RegisterCustomOps(platon::ort::SessionOptions* options,
                                                     const platon::ort::ApiBase* base) {
  const void* const* table = base->get_api(platon::ort::kApiVersion);
  if (!table) {
    const void* const* oldest = base->get_api(1);
    if (!oldest) return nullptr;
    return platon::ort::Api(oldest).create_status(
        platon::ort::kFail, "platon-compress needs ONNX Runtime 1.17 or newer; install a newer onnxruntime");
  }
  const platon::ort::Api api(table);
  return platon::guarded(api, "RegisterCustomOps",
                         [&] { platon::check(api.add_domain(options, platon::domain(api))); });
}
