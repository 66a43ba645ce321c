// Registers the domain `platon` with its operators.
#include <atomic>

#include "core/export.h"
#include "ort/kernel.h"

namespace platon {
namespace {

Operator make(const OperatorSpec& spec) {
  switch (spec.kind) {
    case Kind::kLinear:
      return linear_op(spec);
    case Kind::kFeedForward:
      return feed_forward_op(spec);
    case Kind::kSelfAttention:
      return self_attention_op(spec);
    case Kind::kHeads:
      break;
  }
  return heads_op(spec);
}

std::vector<Operator> make_all() {
  std::vector<Operator> ops;
  for (const OperatorSpec& spec : operator_specs()) ops.push_back(make(spec));
  return ops;
}

const std::vector<Operator> operators = make_all();

// ONNX Runtime keeps the domain by reference and never releases it: one for the life of the library. No lock: a child
// forked while another thread registers must not wait for that thread.
std::atomic<ort::CustomOpDomain*> registered{nullptr};

ort::CustomOpDomain* domain(const Api& api) {
  if (ort::CustomOpDomain* made = registered.load()) return made;
  ort::CustomOpDomain* created = nullptr;
  check(api.create_domain("platon", &created));
  for (const Operator& op : operators) check(api.domain_add(created, &op));
  ort::CustomOpDomain* other = nullptr;
  if (registered.compare_exchange_strong(other, created)) return created;
  api.release_domain(created);
  return other;
}

// A second registration on the same options would make every session on them fail ("Domain already set in registry").
constexpr const char* kRegistered = "platon.registered";

void register_once(const Api& api, ort::SessionOptions* options) {
  int registered_before = 0;
  check(api.has_config_entry(options, kRegistered, &registered_before));
  if (registered_before) return;
  check(api.add_domain(options, domain(api)));
  check(api.add_config_entry(options, kRegistered, "1"));
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
  return platon::guarded(api, "RegisterCustomOps", [&] { platon::register_once(api, options); });
}
