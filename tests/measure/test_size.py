import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from platon_compress.errors import InputError
from platon_compress.export.gaps import encode_gaps, pack_values
from platon_compress.measure.size import ModelSize, measure_size, model_files


def save(path, nodes, tensors, inputs=(("x", TensorProto.FLOAT, ["b", 8]),), outputs=("y",), domains=()):
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(name, 1) for name in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def dense_weight():
    weight = np.ones((8, 4), np.float32)
    weight[:4] = 0
    return weight


def test_dense_model(tmp_path):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["h"]),
        helper.make_node("Add", ["h", "scalar"], ["k"]),
        helper.make_node("Reshape", ["k", "shape"], ["y"]),
    ]
    tensors = {
        "table": np.ones((10, 8), np.float32),
        "w": dense_weight(),
        "scalar": np.float32(1),
        "shape": np.array([-1, 4], np.int64),
    }
    path = save(tmp_path / "m.onnx", nodes, tensors, inputs=[("ids", TensorProto.INT64, ["b"])])
    size = measure_size(path)
    assert size.parameters == 80 + 32
    assert size.nonzeros == 80 + 16
    assert size.embedding_bytes == 320
    assert size.encoder_bytes == 128 + 4 + 16
    assert size.sparse_index_bytes == 0
    assert size.disk_bytes == path.stat().st_size
    assert ModelSize.from_dict({**size.to_dict(), "zipped_bytes": 7}) == size


def sparse_node(values="v", name="s", output="y"):
    return helper.make_node(
        "PlatonLinear_gelu_csr",
        ["x", values, "c", "r", "bias"],
        [output],
        name=name,
        domain="platon",
        out_features=4,
        in_features=8,
    )


SPARSE = {
    "v": np.array([1, 2, 0], np.float32),
    "c": np.array([0, 1, 2], np.uint16),
    "r": np.array([0, 1, 2, 3, 3], np.int32),
    "bias": np.ones(4, np.float32),
}


def test_sparse_linear_counts_as_the_matrix_it_stands_for(tmp_path):
    size = measure_size(save(tmp_path / "m.onnx", [sparse_node()], SPARSE, domains=["platon"]))
    assert size.parameters == 32 + 4
    assert size.nonzeros == 2 + 4
    assert size.sparse_index_bytes == 6 + 20
    assert size.encoder_bytes == 12 + 26 + 16
    assert size.embedding_bytes == 0


def test_both_weights_of_a_block_count(tmp_path):
    node = helper.make_node(
        "PlatonFeedForward_relu_csr", ["x", "v2", "c", "r2", "b2", "v", "c", "r", "bias"], ["y"],
        domain="platon", in_features=4, inner_features=8, out_features=4,
    )  # fmt: skip
    more = {"v2": np.array([1, 2, 3], np.float32), "r2": np.array([0, 1, 2, 3, 3, 3, 3, 3, 3], np.int32)}
    size = measure_size(
        save(tmp_path / "m.onnx", [node], SPARSE | more | {"b2": np.ones(8, np.float32)}, domains=["platon"])
    )
    assert size.parameters == 2 * 32 + 4 + 8
    assert size.nonzeros == 2 + 3 + 4 + 8


def test_packed_weights_count_by_what_they_stand_for(tmp_path):
    values, positions = np.array([5, 0, -63]), np.array([1, 17, 30])
    bits, gaps = encode_gaps(positions)
    arrays = {
        "v": pack_values(values),
        "g": gaps,
        "s": np.ones(4, np.float32),
        "bias": np.ones(4, np.float32),
    }
    node = helper.make_node(
        "PlatonLinear_gelu_gaps_int8", ["x", "v", "g", "s", "bias"], ["y"],
        domain="platon", out_features=4, in_features=8, gap_bits=bits,
    )  # fmt: skip
    size = measure_size(save(tmp_path / "m.onnx", [node], arrays, domains=["platon"]))
    assert size.parameters == 32 + 4
    assert size.nonzeros == 2 + 4
    assert size.sparse_index_bytes == gaps.size
    assert size.encoder_bytes == 7 + gaps.size + 16 + 16


def test_shared_arrays_are_counted_once(tmp_path):
    nodes = [sparse_node(name="a", output="z"), sparse_node(name="b")]
    assert measure_size(save(tmp_path / "m.onnx", nodes, SPARSE, domains=["platon"])).parameters == 36


def test_quantised_zero_is_the_zero_point(tmp_path):
    weight = np.full((8, 4), 3, np.uint8)
    weight[0, 0] = 5
    tensors = {"w_quantized": weight, "w_zero_point": np.uint8(3), "w_scale": np.ones(1, np.float32)}
    nodes = [helper.make_node("DequantizeLinear", ["w_quantized", "w_scale", "w_zero_point"], ["y"])]
    size = measure_size(save(tmp_path / "m.onnx", nodes, tensors))
    assert (size.parameters, size.nonzeros) == (32, 1)


def test_large_constant_nodes_are_weights(tmp_path):
    value = numpy_helper.from_array(np.ones((64, 64), np.float32))
    small = numpy_helper.from_array(np.ones(3, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value),
        helper.make_node("Constant", [], ["s"], value=small),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    assert measure_size(save(tmp_path / "m.onnx", nodes, {})).parameters == 4096


def test_nested_graphs_are_walked(tmp_path):
    def branch(name):
        weight = numpy_helper.from_array(np.ones((8, 4), np.float32), name)
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        return helper.make_graph(
            [helper.make_node("MatMul", ["x", name], [f"{name}_y"])], name, [], [out], [weight]
        )

    node = helper.make_node("If", ["cond"], ["y"], then_branch=branch("t"), else_branch=branch("e"))
    path = save(tmp_path / "m.onnx", [node], {"cond": np.bool_(True)})
    assert measure_size(path).parameters == 64


def test_standard_sparse_initializer(tmp_path):
    values = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    indices = numpy_helper.from_array(np.array([3, 9], np.int64), "w_idx")
    path = save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {})
    model = onnx.load(path)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [8, 4]))
    onnx.save(model, path)
    size = measure_size(path)
    assert (size.parameters, size.nonzeros, size.sparse_index_bytes) == (32, 2, 16)


def test_external_data_is_part_of_the_model(tmp_path):
    path = save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": dense_weight()})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.data", size_threshold=0)
    size = measure_size(path)
    assert model_files(path) == (path, tmp_path / "m.data")
    assert size.disk_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert (size.parameters, size.encoder_bytes) == (32, 128)
    (tmp_path / "m.data").unlink()
    with pytest.raises(InputError, match=r"m\.data"):
        measure_size(path)


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x08\x0a"])
def test_broken_files_are_refused(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken.onnx (cannot be read as an ONNX model|holds no graph)"):
        measure_size(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no file .*absent.onnx; export the model first"):
        measure_size(tmp_path / "absent.onnx")


def test_tensor_with_too_few_bytes_is_refused(tmp_path):
    path = save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": dense_weight()})
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = b"1234"
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"m\.onnx holds a broken tensor"):
        measure_size(path)
