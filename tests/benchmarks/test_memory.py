"""Memory of whole processes, read from outside."""

import json

import numpy as np
import onnx
import pytest
from memory import MemoryConfig, ProcessMemory, main, memory_report

from platon_compress.errors import InputError
from platon_compress.measure.result_files import read_results


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
    sizes = ["--workers", "2", "--repeats", "2", "--worker-repeats", "1"]
    saving = ["-o", str(tmp_path / "results"), "--name", "two", "--title", "Two"]
    assert main([str(small), str(large), *sizes, *saving]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["small.onnx", "large.onnx", "written"]
    report = read_results(tmp_path / "results")["two"]
    light, heavy = (entry["medians"] for entry in report["files"])
    assert heavy["peak_bytes"] - light["peak_bytes"] > 50e6
    assert heavy["resident_bytes"] - light["resident_bytes"] > 50e6
    assert heavy["workers_bytes"] - light["workers_bytes"] > 2 * 50e6
    assert min(heavy["load_seconds"], light["load_seconds"]) > 0
    assert [len(entry["peak_bytes"]) for entry in report["files"]] == [2, 2]
    assert (report["title"], report["kind"]) == ("Two", "memory")
    assert report["shares"][0]["peak_bytes"] == heavy["peak_bytes"] / light["peak_bytes"]


@pytest.mark.multiprocess
def test_a_file_that_does_not_load_is_one_line(tmp_path, capsys):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    assert main([str(broken), "--workers", "1"]) == 2
    assert "a fresh process could not load and run the model" in capsys.readouterr().err


def test_report_compares_medians_and_pairs_of_loads():
    def samples(name, factor):
        sizes = tuple(factor * n for n in (100, 200, 900))
        return ProcessMemory(
            path=f"/models/{name}",
            peak_bytes=sizes,
            resident_bytes=sizes,
            load_seconds=(0.1 * factor, 0.1 * factor, 0.4 * factor),
            workers_bytes=(1000 * factor,),
        )

    report = memory_report([samples("dense.onnx", 4), samples("sparse.onnx", 1)], MemoryConfig(repeats=3))
    assert report["files"][0]["medians"]["peak_bytes"] == 800
    assert [entry["path"] for entry in report["files"]] == ["dense.onnx", "sparse.onnx"]
    assert set(report["shares"][0].values()) == {0.25}
    assert report["load_ratios"][0]["median"] == pytest.approx(4)
    assert "/" not in report["load_ratios"][0]["baseline"] + report["load_ratios"][0]["candidate"]
    json.dumps(report)


@pytest.mark.parametrize("name", ["workers", "repeats", "worker_repeats"])
def test_refuses_to_measure_nothing(name):
    with pytest.raises(InputError, match=f"{name} must be >= 1, got 0; leave it out"):
        MemoryConfig(**{name: 0})
