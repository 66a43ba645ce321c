"""The dynamic int8 copy of a dense file."""

import onnx
import pytest

from platon_compress.errors import InputError
from platon_compress.export import export_onnx, open_session
from platon_compress.export.int8 import quantize_int8
from platon_compress.testing import tiny_transformer


def test_int8_copy_runs_and_is_silent(tmp_path, capfd, caplog):
    model, inputs = tiny_transformer("bert")
    dense = export_onnx(model, tmp_path / "dense.onnx", inputs).path
    path = quantize_int8(dense, tmp_path / "int8" / "dense-int8.onnx")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert "MatMulInteger" in operators
    feed = {name: value.numpy() for name, value in inputs.items()}
    wanted = open_session(dense, use_library=False).run(None, feed)[0]
    got = open_session(path, use_library=False).run(None, feed)[0]
    assert abs(got - wanted).max() < 0.3
    assert [entry.name for entry in path.parent.iterdir()] == ["dense-int8.onnx"]


def test_int8_needs_the_dense_file(tmp_path):
    with pytest.raises(InputError, match="there is no model file"):
        quantize_int8(tmp_path / "nothing.onnx", tmp_path / "out.onnx")
