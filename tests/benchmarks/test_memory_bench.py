"""Memory of whole processes, read from outside."""

import json

import numpy as np
import onnx
import pytest

from platon_compress.benchmarks.memory_bench import main, measure_memory
from platon_compress.errors import InputError


def _model(path, megabytes):
    """y = x W with a weight of the given size."""
    weight = np.ones((256, megabytes * 1024), np.float32)
    kinds = f"(float[B, 256] x) => (float[B, {weight.shape[1]}] y)"
    text = f'<ir_version: 10, opset_import: ["" : 18]> g {kinds} {{ y = MatMul (x, w) }}'
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(proto, path)
    return path


@pytest.mark.multiprocess
def test_more_weights_and_more_workers_take_more_memory(tmp_path, capsys):
    small, large = _model(tmp_path / "small.onnx", 4), _model(tmp_path / "large.onnx", 64)
    assert main([str(small), str(large), "--workers", "2", "--json"]) == 0
    light, heavy = json.loads(capsys.readouterr().out)
    assert heavy["peak_bytes"] - light["peak_bytes"] > 50e6
    assert heavy["resident_bytes"] - light["resident_bytes"] > 50e6
    assert heavy["workers_bytes"] - light["workers_bytes"] > 2 * 50e6
    assert heavy["load_seconds"] > light["load_seconds"] > 0


@pytest.mark.multiprocess
def test_a_file_that_does_not_load_is_one_line(tmp_path, capsys):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    assert main([str(broken), "--workers", "1"]) == 2
    assert "a fresh process could not load and run the model" in capsys.readouterr().err


def test_refuses_no_workers(tmp_path):
    with pytest.raises(InputError, match="workers and repeats must be >= 1, got 0 and 3"):
        measure_memory(tmp_path / "m.onnx", workers=0)
