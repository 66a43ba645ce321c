import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from platon_compress.errors import InputError
from platon_compress.measure import model_bench, session_probe
from platon_compress.measure.bench_report import BenchReport, read_report
from platon_compress.measure.config import BenchConfig
from platon_compress.measure.model_bench import run_benchmark
from platon_compress.measure.session_probe import ColdStart, probe_session

QUICK = BenchConfig(
    batch=(1, 2), tokens=(4,), runs=6, warmup=1, cold_runs=0, threads=1, pause_seconds=0, round_seconds=None
)


def save_text_model(path, zeros=0, vocabulary=128, width=16):
    """ids and mask [batch, tokens] -> Gather -> MatMul -> logits; the first `zeros` rows of the weight are 0."""
    weight = np.random.default_rng(0).standard_normal((width, width)).astype(np.float32)
    weight[:zeros] = 0
    table = np.random.default_rng(1).standard_normal((vocabulary, width)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["embeddings.weight", "input_ids"], ["e"]),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "axis"], ["n"]),
        helper.make_node("Mul", ["e", "n"], ["k"]),
        helper.make_node("MatMul", ["k", "encoder.weight"], ["logits"]),
    ]
    tensors = {"embeddings.weight": table, "encoder.weight": weight, "axis": np.array([-1], np.int64)}
    axes = ["batch", "sequence"]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, axes)
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*axes, width])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    save_text_model(folder / "dense.onnx")
    save_text_model(folder / "pruned.onnx", zeros=8)
    save_text_model(folder / "compressed.onnx", zeros=8)
    return folder


@pytest.fixture
def no_processes(monkeypatch):
    """Cold starts without a process each, which the tests marked multiprocess cover."""
    start = ColdStart(load_seconds=0.1, first_seconds=0.01, session_bytes=1000, peak_bytes=2000)
    monkeypatch.setattr(model_bench, "probe_session", lambda *args, **kwargs: start)


@pytest.mark.usefixtures("no_processes")
def test_all_variants_in_all_settings(folder):
    seen = []
    report = run_benchmark(folder, QUICK, progress=lambda *args: seen.append(args))
    assert list(report.variants) == ["dense", "dense_int8", "pruned", "compressed"]
    assert report.variants["dense_int8"].made_here
    assert report.variants["dense_int8"].quantisation["chosen_by"] == "difference from dense on 1 examples"
    assert report.variants["compressed"].native_kernel is None
    assert [(setting.batch, setting.tokens) for setting in report.settings] == [(1, 4), (2, 4)]
    for setting in report.settings:
        assert {len(samples.warm_seconds) for samples in setting.samples.values()} == {6}
        assert setting.ratio("compressed", "dense").pairs == 6
        assert setting.ratio("compressed", "dense_int8") is not None
        assert setting.ratio("dense", "compressed") is None
    assert seen[-1][0] == seen[-1][1] == len(seen)
    size = report.variants["pruned"].size
    assert (size.parameters, size.nonzeros) == (128 * 16 + 256 + 0, 128 * 16 + 128)
    assert not (folder / "dense-int8.onnx").exists()


@pytest.mark.usefixtures("no_processes")
def test_report_round_trips_through_json(folder, tmp_path):
    report = run_benchmark(folder, QUICK)
    (tmp_path / "benchmark.json").write_text(json.dumps(report.to_dict(), allow_nan=False))
    assert read_report(tmp_path / "benchmark.json").to_dict() == report.to_dict()


@pytest.mark.usefixtures("no_processes")
def test_without_a_dense_model_the_pruned_one_is_the_baseline(folder, tmp_path):
    for name in ("pruned.onnx", "compressed.onnx"):
        shutil.copy(folder / name, tmp_path / name)
    report = run_benchmark(tmp_path, QUICK)
    assert report.baseline == "pruned"
    assert "no dense.onnx" in report.variants["dense"].unavailable
    assert report.settings[0].ratio("compressed", "pruned") is not None
    assert report.settings[0].ratio("compressed", "dense_int8") is not None


@pytest.mark.usefixtures("no_processes")
def test_int8_that_cannot_be_made_is_a_line_in_the_report(folder, monkeypatch):
    from platon_compress.export import int8

    def fail(model, path, setting):
        raise RuntimeError("no quantiser")

    monkeypatch.setattr(int8, "_quantize", fail)
    report = run_benchmark(folder, QUICK)
    assert report.variants["dense_int8"].unavailable == (
        "dense.onnx could not be quantised: no quantiser; leave dense int8 out"
    )
    assert report.settings[0].ratio("compressed", "dense_int8") is None


@pytest.mark.usefixtures("no_processes")
def test_int8_that_does_not_load_is_a_line_in_the_report(folder, monkeypatch):
    from platon_compress.export import int8

    monkeypatch.setattr(int8, "_quantize", lambda model, path, setting: path.write_bytes(b"broken"))
    report = run_benchmark(folder, QUICK)
    assert report.variants["dense_int8"].unavailable.startswith("dense.onnx could not be quantised: ")
    assert report.settings[0].ratio("compressed", "dense") is not None


def test_device_that_is_not_there_gives_an_honest_report(folder, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    report = run_benchmark(folder, BenchConfig(device="cuda"))
    assert report.unavailable.startswith("cuda not measured: CUDAExecutionProvider is not active")
    assert report.settings == ()
    assert report.variants["compressed"].size.parameters > 0
    assert BenchReport.from_dict(report.to_dict()) == report


def test_too_many_tokens_are_found_before_measuring(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
    with pytest.raises(InputError, match="tokens=100 is more than the model's 64 positions"):
        run_benchmark(tmp_path, BenchConfig(tokens=(4, 100)))


def test_missing_and_broken_files_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"holds none of the files; a benchmark needs compressed\.onnx"):
        run_benchmark(tmp_path)
    shutil.copy(folder / "dense.onnx", tmp_path / "dense.onnx")
    with pytest.raises(InputError, match=r"holds dense\.onnx; a benchmark needs"):
        run_benchmark(tmp_path)
    (tmp_path / "compressed.onnx").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"compressed\.onnx"):
        run_benchmark(tmp_path)


def test_other_json_is_refused(tmp_path):
    with pytest.raises(InputError, match="no benchmark at"):
        read_report(tmp_path / "benchmark.json")
    (tmp_path / "benchmark.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*benchmark\.json"):
        read_report(tmp_path / "benchmark.json")
    with pytest.raises(InputError, match="the benchmark names no kind of result"):
        BenchReport.from_dict({"version": 1})
    with pytest.raises(InputError, match="not a benchmark result"):
        BenchReport.from_dict({"kind": "benchmark", "schema": 1, "config": {}})


def test_executed_operators_come_from_the_profile(folder):
    counts = session_probe.count_executed_nodes(
        folder / "dense.onnx", batch=1, tokens=4, threads=1, device="cpu"
    )
    assert counts["CPUExecutionProvider"]["MatMul"] == 1


def test_cold_start_in_this_process(folder):
    start = session_probe._cold_start(folder / "dense.onnx", 1, 4, 1, "cpu")
    assert start.load_seconds > 0
    assert start.first_seconds > 0
    assert start.peak_bytes is None or start.peak_bytes >= 0


@pytest.mark.multiprocess
def test_probe_runs_in_a_fresh_process(folder):
    start = probe_session(folder / "dense.onnx", batch=1, tokens=4, threads=1, count_nodes=True)
    assert start.load_seconds > 0
    assert start.executed_nodes["CPUExecutionProvider"]["MatMul"] == 1
    with pytest.raises(InputError, match=r"a fresh process could not load and run .*absent\.onnx"):
        probe_session(folder / "absent.onnx", batch=1, tokens=4)


@pytest.mark.multiprocess
def test_whole_benchmark_with_processes(folder):
    report = run_benchmark(
        folder, BenchConfig(batch=(1,), tokens=(4,), runs=2, warmup=0, cold_runs=2, threads=1)
    )
    samples = report.settings[0].samples["compressed"]
    assert len(samples.load_seconds) == len(samples.first_seconds) == len(samples.peak_bytes) == 2
