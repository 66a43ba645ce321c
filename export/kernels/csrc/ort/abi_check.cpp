// Compiled only where ONNX Runtime's own header is at hand (ORT_INCLUDE_DIR): every slot and every field of
// abi.h against it. Holds no code.
#include <onnxruntime_c_api.h>

#include "ort/abi.h"

#define PLATON_SLOT(ours, official) \
  static_assert(platon::ort::ours * sizeof(void*) == offsetof(OrtApi, official), "OrtApi::" #official " moved")
PLATON_SLOT(kCreateStatus, CreateStatus);
PLATON_SLOT(kCreateCustomOpDomain, CreateCustomOpDomain);
PLATON_SLOT(kCustomOpDomainAdd, CustomOpDomain_Add);
PLATON_SLOT(kAddCustomOpDomain, AddCustomOpDomain);
PLATON_SLOT(kGetTensorMutableData, GetTensorMutableData);
PLATON_SLOT(kGetTensorElementType, GetTensorElementType);
PLATON_SLOT(kGetDimensionsCount, GetDimensionsCount);
PLATON_SLOT(kGetDimensions, GetDimensions);
PLATON_SLOT(kGetTensorShapeElementCount, GetTensorShapeElementCount);
PLATON_SLOT(kGetTensorTypeAndShape, GetTensorTypeAndShape);
PLATON_SLOT(kKernelInfoGetAttributeFloat, KernelInfoGetAttribute_float);
PLATON_SLOT(kKernelInfoGetAttributeInt64, KernelInfoGetAttribute_int64);
PLATON_SLOT(kKernelContextGetInput, KernelContext_GetInput);
PLATON_SLOT(kKernelContextGetOutput, KernelContext_GetOutput);
PLATON_SLOT(kReleaseStatus, ReleaseStatus);
PLATON_SLOT(kReleaseTensorTypeAndShapeInfo, ReleaseTensorTypeAndShapeInfo);
PLATON_SLOT(kReleaseCustomOpDomain, ReleaseCustomOpDomain);
PLATON_SLOT(kAddSessionConfigEntry, AddSessionConfigEntry);
PLATON_SLOT(kHasSessionConfigEntry, HasSessionConfigEntry);
PLATON_SLOT(kKernelInfoGetConstantInputTensor, KernelInfoGetConstantInput_tensor);
PLATON_SLOT(kKernelContextParallelFor, KernelContext_ParallelFor);

#define PLATON_FIELD(ours, official)                                                      \
  static_assert(offsetof(platon::ort::CustomOp, ours) == offsetof(OrtCustomOp, official), \
                "OrtCustomOp::" #official " moved")
PLATON_FIELD(version, version);
PLATON_FIELD(create_kernel, CreateKernel);
PLATON_FIELD(get_name, GetName);
PLATON_FIELD(get_execution_provider, GetExecutionProviderType);
PLATON_FIELD(get_input_type, GetInputType);
PLATON_FIELD(get_input_count, GetInputTypeCount);
PLATON_FIELD(get_output_type, GetOutputType);
PLATON_FIELD(get_output_count, GetOutputTypeCount);
PLATON_FIELD(kernel_compute, KernelCompute);
PLATON_FIELD(kernel_destroy, KernelDestroy);
PLATON_FIELD(get_input_characteristic, GetInputCharacteristic);
PLATON_FIELD(get_output_characteristic, GetOutputCharacteristic);
PLATON_FIELD(get_input_memory_type, GetInputMemoryType);
PLATON_FIELD(get_variadic_input_min_arity, GetVariadicInputMinArity);
PLATON_FIELD(get_variadic_input_homogeneity, GetVariadicInputHomogeneity);
PLATON_FIELD(get_variadic_output_min_arity, GetVariadicOutputMinArity);
PLATON_FIELD(get_variadic_output_homogeneity, GetVariadicOutputHomogeneity);
PLATON_FIELD(create_kernel_v2, CreateKernelV2);
PLATON_FIELD(kernel_compute_v2, KernelComputeV2);
PLATON_FIELD(infer_output_shape, InferOutputShapeFn);
PLATON_FIELD(get_start_version, GetStartVersion);
PLATON_FIELD(get_end_version, GetEndVersion);

static_assert(int(platon::ort::kRequired) == INPUT_OUTPUT_REQUIRED);
static_assert(int(platon::ort::kFail) == ORT_FAIL && int(platon::ort::kInvalidArgument) == ORT_INVALID_ARGUMENT);
static_assert(int(platon::ort::kFloat) == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
static_assert(int(platon::ort::kUint8) == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
static_assert(int(platon::ort::kInt8) == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8);
static_assert(int(platon::ort::kUint16) == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16);
static_assert(int(platon::ort::kFloat16) == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
static_assert(int(platon::ort::kInt32) == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
static_assert(int(platon::ort::kInt64) == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
