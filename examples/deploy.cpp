// Serving a compressed model from C++: ONNX Runtime's own API, and our operator library registered on its options.
//
//   g++ -std=c++17 -I ORT/include examples/deploy.cpp -L ORT/lib -lonnxruntime -o deploy
//   ./deploy compressed.onnx libplaton_ops.so 2 7 9 3      (token ids; prints the first output)
//
// Without the library ("-" in its place) the same file runs at dense speed.

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

namespace {

// attention_mask: every token is one of the text's. token_type_ids: they all belong to the first text.
std::vector<int64_t> input_values(const std::string& name, const std::vector<int64_t>& ids) {
  if (name == "input_ids") return ids;
  return std::vector<int64_t>(ids.size(), name == "attention_mask" ? 1 : 0);
}

void run(const char* model, const std::string& library, const std::vector<int64_t>& ids) {
  Ort::Env env;
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  if (library != "-") options.RegisterCustomOpsLibrary(library.c_str());  // all that our kernels need
  Ort::Session session(env, model, options);

  Ort::AllocatorWithDefaultOptions allocator;
  const std::vector<int64_t> shape{1, static_cast<int64_t>(ids.size())};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<std::string> names;
  std::vector<std::vector<int64_t>> values;
  for (size_t i = 0; i < session.GetInputCount(); ++i) {
    names.emplace_back(session.GetInputNameAllocated(i, allocator).get());
    values.push_back(input_values(names.back(), ids));
  }
  std::vector<const char*> inputs;
  std::vector<Ort::Value> tensors;
  for (size_t i = 0; i < names.size(); ++i) {
    inputs.push_back(names[i].c_str());
    tensors.push_back(
        Ort::Value::CreateTensor<int64_t>(memory, values[i].data(), values[i].size(), shape.data(), shape.size()));
  }
  const auto output_name = session.GetOutputNameAllocated(0, allocator);
  const char* output = output_name.get();
  const auto results = session.Run(Ort::RunOptions{nullptr}, inputs.data(), tensors.data(), tensors.size(), &output, 1);
  const auto count = results[0].GetTensorTypeAndShapeInfo().GetElementCount();
  const float* numbers = results[0].GetTensorData<float>();
  for (size_t i = 0; i < count; ++i) std::printf("%s%.7g", i ? " " : "", numbers[i]);
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s MODEL LIBRARY|- ID...\n", argv[0]);
    return 2;
  }
  std::vector<int64_t> ids;
  for (int i = 3; i < argc; ++i) ids.push_back(std::strtoll(argv[i], nullptr, 10));
  run(argv[1], argv[2], ids);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
