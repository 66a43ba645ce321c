"""ONNX files that are damaged before ONNX Runtime sees them: one line, whoever looks into them."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import lookup_graph

from platon_compress.errors import InputError
from platon_compress.export.int8 import read_int8_choice
from platon_compress.export.model_file import write_model
from platon_compress.export.node_check import check_nodes
from platon_compress.export.quantize import quantize_file
from platon_compress.export.reading import load_ir, load_proto
from platon_compress.export.rounding import is_rounding_of
from platon_compress.measure.size import measure_size, model_files


@pytest.fixture
def proto():
    model, _ = lookup_graph("y = Gather(words, ids)", 7)
    return ir.to_proto(model)


def _broken(kind, proto):
    if kind == "garbage":
        return b"\xff" * 50
    if kind == "no graph":
        return onnx.ModelProto(ir_version=10).SerializeToString()
    return proto.SerializeToString()[:-20]


@pytest.mark.parametrize("kind", ["garbage", "no graph", "cut"])
@pytest.mark.parametrize(
    "read",
    [
        load_proto,
        load_ir,
        measure_size,
        model_files,
        read_int8_choice,
        lambda path: check_nodes(path, []),
        lambda path: quantize_file(path, path.with_name("out.onnx")),
        lambda path: is_rounding_of(path, path),
    ],
)
def test_damaged_files_get_one_line(tmp_path, proto, read, kind):
    path = tmp_path / "model.onnx"
    path.write_bytes(_broken(kind, proto))
    with pytest.raises(InputError, match=r"model\.onnx") as error:
        read(path)
    assert "\n" not in str(error.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_a_missing_file_is_named(tmp_path):
    for read in (load_proto, load_ir):
        with pytest.raises(InputError, match=r"none\.onnx"):
            read(tmp_path / "none.onnx")


def test_weights_beside_the_file_that_are_gone(tmp_path, proto):
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert load_proto(path).graph.node
    (tmp_path / "weights").unlink()
    with pytest.raises(InputError, match="weights"):
        load_proto(path)


def test_a_damaged_file_is_written_over(tmp_path, monkeypatch, proto):
    """Writing looks into the older file for the names of its data files."""
    monkeypatch.setattr("platon_compress.export.model_file.INLINE_LIMIT_BYTES", 10)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 50)
    model = ir.from_proto(proto)
    write_model(model, path)
    assert np.array_equal(
        onnx.numpy_helper.to_array(load_proto(path).graph.initializer[0]),
        onnx.numpy_helper.to_array(proto.graph.initializer[0]),
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"setting": 1}', "[" * 5000])
def test_how_it_was_quantised_must_be_readable(tmp_path, proto, text):
    proto.metadata_props.add(key="platon_compress.int8", value=text)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match="does not say how it was quantised"):
        read_int8_choice(path)
