import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from platon_compress.errors import InputError
from platon_compress.measure.peers import compare as peer_bench
from platon_compress.measure.peers import judged
from platon_compress.measure.peers.compare import (
    BASELINE,
    OURS,
    OURS_INT8,
    SMALLER,
    find_engines,
    run_peer_benchmark,
)
from platon_compress.measure.peers.judged import JudgedRows
from platon_compress.measure.peers.process import Engine, EngineFailedError, EngineProcess
from platon_compress.measure.peers.result import PeerConfig, compare_ways
from platon_compress.measure.peers.worker import write_batches
from platon_compress.scoring import Evaluation, Scores

QUICK = PeerConfig(
    tokens=(4,), runs=7, warmup=1, blocks=2, workers=2, worker_seconds=0.05, threads=1, pause_seconds=0
)
SPEED = {"dense.onnx": 0.020, "dense-int8.onnx": 0.015, "compressed.onnx": 0.010, "pruned.onnx": 0.012}
QUANTIZED = "compressed-int8.onnx"


def save_model(path):
    weight = numpy_helper.from_array(np.ones((8, 8), np.float32), "w")
    table = numpy_helper.from_array(np.ones((128, 8), np.float32), "t")
    nodes = [
        helper.make_node("Gather", ["t", "input_ids"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["y"]),
    ]
    axes = ["batch", "sequence"]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, axes)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*axes, 8])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [table, weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    for file in SPEED:
        save_model(folder / file)
    return folder


class FakeProcess:
    """Answers like an engine of fixed speed; DeepSparse does not start."""

    int8_dies = False

    def __init__(self, engine, feed, *, threads):
        if engine.kind == "deepsparse":
            raise EngineFailedError(f"{engine.name} not measured: no licence")
        self.seconds = SPEED[engine.model.name]
        self.started = {"load_seconds": 0.1, "first_seconds": 0.2, "version": "1"}
        assert np.load(feed)["input_ids"].shape == (1, 4)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def run(self, runs, pause_seconds):
        if self.seconds == SPEED["dense-int8.onnx"] and runs > 1 and FakeProcess.int8_dies:
            raise EngineFailedError("int8 not measured: its process ended")
        return [self.seconds] * runs

    def memory(self):
        return {"rss_bytes": 100e6, "pss_bytes": 50e6, "peak_bytes": 120e6}

    def send(self, order):
        assert order["do"] == "run_for"

    def receive(self):
        return {"seconds": [2 * self.seconds] * 3}


@pytest.fixture
def report(folder, monkeypatch):
    monkeypatch.setattr(peer_bench, "EngineProcess", FakeProcess)
    pythons = {"deepsparse": sys.executable, "torch": sys.executable, "openvino": sys.executable}
    config = PeerConfig(**{**QUICK.to_dict(), "pythons": pythons})
    seen = []
    result = run_peer_benchmark(folder, config, progress=lambda *args: seen.append(args))
    assert seen[-1][0] <= seen[-1][1]
    return result


def test_three_ways_and_a_statement(report):
    setting = report.settings[0]
    pairs = {(c.baseline, c.candidate): c for c in setting.comparisons}
    ours = pairs[BASELINE, OURS]
    assert (ours.interleaved.median, ours.isolated, ours.concurrent) == pytest.approx((2, 2, 2))
    assert ours.statement == "faster"
    assert ours.line == (
        "ONNX Runtime compressed against ONNX Runtime dense: faster "
        "(interleaved 2.00x, isolated 2.00x, concurrent 2.00x)"
    )
    assert pairs["ONNX Runtime dense int8", OURS].interleaved.median == pytest.approx(1.5)
    assert pairs["PyTorch dense", OURS].statement == "faster"


def test_raw_samples_are_kept(report):
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    setting = data["settings"][0]
    assert data["kind"] == "peers"
    assert len(setting["interleaved"][OURS]["seconds"]) == 7
    assert len(setting["isolated"][OURS]["blocks"]) == 2
    assert len(setting["isolated"][OURS]["blocks"][0]["seconds"]) == 7
    block = setting["concurrent"][OURS]["blocks"][0]
    assert block["workers_bytes"] == 100e6
    assert block["per_second"] == pytest.approx(100)
    assert setting["memory"][OURS]["rss_bytes"] == 100e6


def test_peer_that_fails_is_a_line(report):
    assert report.unavailable["DeepSparse pruned"] == "DeepSparse pruned not measured: no licence"
    assert "DeepSparse pruned" not in report.settings[0].isolated
    assert "DeepSparse pruned not measured: no licence" in report.lines()
    memory = "ONNX Runtime dense takes 100 MB, at most 120 MB; 2 workers together 100 MB"
    assert f"batch 1, 4 tokens: {memory}" in report.lines()


def test_our_8_bit_form_is_compared_where_it_is(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "both")
    save_model(tmp_path / "both" / QUANTIZED)
    monkeypatch.setattr(peer_bench, "EngineProcess", FakeProcess)
    monkeypatch.setitem(SPEED, QUANTIZED, 0.005)
    monkeypatch.setattr(peer_bench, "_python_with", lambda kind, pythons: Path(sys.executable))
    compared = run_peer_benchmark(tmp_path / "both", QUICK).settings[0].comparisons
    against = {c.baseline: c.interleaved.median for c in compared if c.candidate == OURS_INT8}
    assert against["OpenVINO int8"] == against[BASELINE] == pytest.approx(4)
    assert against[OURS] == pytest.approx(2)
    assert (OURS_INT8, OURS) not in {(c.baseline, c.candidate) for c in compared}


def test_peer_that_dies_half_way_leaves_the_others(folder, monkeypatch):
    monkeypatch.setattr(peer_bench, "EngineProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "int8_dies", True)
    monkeypatch.setattr(peer_bench, "_python_with", lambda kind, pythons: None)
    report = run_peer_benchmark(folder, QUICK)
    assert report.unavailable["ONNX Runtime dense int8"] == "int8 not measured: its process ended"
    assert [(c.baseline, c.candidate) for c in report.settings[0].comparisons] == [(BASELINE, OURS)]


def test_our_own_engine_that_fails_is_an_error(folder, monkeypatch):
    def fail(engine, feed, *, threads):
        raise EngineFailedError(f"{engine.name} not measured: broken")

    monkeypatch.setattr(peer_bench, "EngineProcess", fail)
    with pytest.raises(InputError, match="ONNX Runtime dense not measured: broken"):
        run_peer_benchmark(folder, QUICK)


def way(first, second):
    interleaved = {"a": {"seconds": [first] * 10}, "b": {"seconds": [1.0] * 10}}
    isolated = {"a": {"blocks": [{"seconds": [second]}]}, "b": {"blocks": [{"seconds": [1.0]}]}}
    concurrent = {"a": {"blocks": [{"per_second": 1.0}]}, "b": {"blocks": [{"per_second": 1.5}]}}
    return interleaved, isolated, concurrent


def test_no_verdict_where_the_ways_disagree():
    comparison = compare_ways("a", "b", *way(1.5, 0.9))
    assert comparison.statement == "disagree"
    assert "no verdict, the ways of measuring disagree (interleaved 1.50x, isolated 0.90x" in comparison.line
    assert compare_ways("a", "b", *way(1.5, 1.2)).statement == "faster"
    assert "no measurable difference" in compare_ways("a", "b", *way(1.01, 1.2)).line
    nothing = {name: {"blocks": []} for name in "ab"}
    alone = compare_ways("a", "b", way(1.5, 1.2)[0], nothing, nothing)
    assert (alone.isolated, alone.concurrent, alone.statement) == (None, None, "faster")
    assert alone.line == "b against a: faster (interleaved 1.50x)"


def test_missing_peers_and_int8(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(peer_bench.importlib.util, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    engines, unavailable = find_engines(folder, tmp_path, PeerConfig())
    assert list(engines) == [BASELINE, OURS, "ONNX Runtime dense int8"]
    message = "OpenVINO dense not measured: openvino is not installed here nor in ./.venv-openvino"
    assert unavailable["OpenVINO dense"] == message
    own = tmp_path / ".venv-openvino" / "bin"
    own.mkdir(parents=True)
    (own / "python").touch()
    assert find_engines(folder, tmp_path, PeerConfig())[0]["OpenVINO dense"].python == own / "python"
    chosen = find_engines(folder, tmp_path, PeerConfig(peers=("torch",)))
    assert "OpenVINO dense" not in {**chosen[0], **chosen[1]}
    assert find_engines(folder, tmp_path, PeerConfig())[0]["OpenVINO int8"].python == own / "python"


def test_folder_without_compressed_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no dense\.onnx; a comparison of engines needs dense"):
        run_peer_benchmark(tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"batch": ()}, "batch must hold sizes >= 1"),
        ({"runs": 0}, "runs is 0; give at least 1"),
        ({"peers": ("tvm",)}, "there is no peer tvm; choose from torch, openvino, openvino-int8, deepsparse"),
        ({"worker_seconds": 0.0}, "give no negative number"),
    ],
)
def test_bad_settings_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        PeerConfig(**bad)


@pytest.mark.multiprocess
def test_real_process(folder, tmp_path):
    np.savez(tmp_path / "feed.npz", input_ids=np.ones((2, 3), np.int64))
    engine = Engine(name="ort", kind="onnxruntime", model=folder / "dense.onnx")
    with EngineProcess(engine, tmp_path / "feed.npz", threads=1) as process:
        assert process.started["load_seconds"] > 0
        assert len(process.run(3, 0)) == 3
        assert process.ask({"do": "run_for", "for_seconds": 0.02})["seconds"]
        assert set(process.memory()) <= {"rss_bytes", "pss_bytes", "peak_bytes"}
    with pytest.raises(EngineFailedError, match="ort not measured: its process has ended"):
        process.run(1, 0)


def _judged(path):
    """Rows of mixed lengths, scored by the sum of what the model answers; `path` is a model of save_model."""
    batches = [
        {"input_ids": np.full((rows, length), rows, np.int64)} for rows, length in ((2, 3), (2, 5), (1, 4))
    ]

    def score(outputs):
        right = np.concatenate([out["y"].sum((1, 2)) > 0 for out in outputs])
        return Scores(
            metric="accuracy", values={"accuracy": float(right.mean())}, unit="row", units=len(right),
            replicates=np.full(1000, right.mean()), right=right,
        )  # fmt: skip

    return JudgedRows(evaluation=Evaluation(batches=batches, score=score), calibration=batches)


@pytest.mark.multiprocess
def test_an_engine_is_judged_on_rows_of_every_length(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(judged, "_AT_A_TIME", 2)
    rows, said = _judged(folder), []
    engine = Engine(name="ort", kind="onnxruntime", model=folder / "dense.onnx")
    scores = judged.judge(engine, rows, tmp_path, threads=1, step=said.append)
    assert (scores.value, scores.units) == (1.0, 5)
    assert said == ["metric, ort"] * rows.parts == ["metric, ort"] * 2


@pytest.mark.multiprocess
def test_an_engine_that_cannot_answer_says_why(folder, tmp_path):
    np.savez(tmp_path / "feed.npz", input_ids=np.ones((2, 3), np.int64))
    wrong = tmp_path / "wrong.npz"
    write_batches(str(wrong), [{"other": np.ones((1, 2), np.int64)}])
    engine = Engine(name="ort", kind="onnxruntime", model=folder / "dense.onnx")
    with (
        EngineProcess(engine, tmp_path / "feed.npz", threads=1) as process,
        pytest.raises(EngineFailedError, match="ort not measured: KeyError: 'input_ids'"),
    ):
        process.answer(wrong, tmp_path / "out.npz")


@pytest.mark.multiprocess
def test_a_smaller_model_is_timed_and_judged_beside_ours(folder, tmp_path):
    save_model(tmp_path / "small.onnx")
    config = PeerConfig(**{**QUICK.to_dict(), "runs": 2, "blocks": 0, "peers": ()})
    report = run_peer_benchmark(
        folder, config, rows=_judged(folder), others={SMALLER: tmp_path / "small.onnx"}
    ).to_dict()
    assert report["scores"][SMALLER]["values"] == {"accuracy": 1.0}
    assert report["engines"][SMALLER]["disk_bytes"] == (tmp_path / "small.onnx").stat().st_size
    assert set(report["scores"]) == {SMALLER}  # ours have theirs from parity.json
    assert SMALLER in report["settings"][0]["interleaved"]


@pytest.mark.multiprocess
@pytest.mark.skipif(
    peer_bench._python_with("openvino-int8", {}) is None, reason="neither here nor in ./.venv-openvino"
)
def test_openvinos_8_bit_model_is_the_one_that_is_timed(folder, tmp_path):
    """Quantised once, with ranges of real rows; timing, metric and size are of that file."""
    config = PeerConfig(**{**QUICK.to_dict(), "runs": 2, "blocks": 0, "peers": ("openvino", "openvino-int8")})
    report = run_peer_benchmark(folder, config, rows=_judged(folder)).to_dict()
    assert report["unavailable"] == {}
    for name in ("OpenVINO dense", "OpenVINO int8"):
        assert report["scores"][name]["units"] == 5
        assert len(report["settings"][0]["interleaved"][name]["seconds"]) == 2
    assert (
        0
        < report["engines"]["OpenVINO int8"]["disk_bytes"]
        != report["engines"]["OpenVINO dense"]["disk_bytes"]
    )


@pytest.mark.multiprocess
def test_engine_that_cannot_start_says_why(folder, tmp_path):
    np.savez(tmp_path / "feed.npz", input_ids=np.ones((2, 3), np.int64))
    absent = Engine(name="peer", kind="openvino", model=folder / "dense.onnx", python=Path(sys.executable))
    broken = Engine(name="ort", kind="onnxruntime", model=tmp_path / "absent.onnx")
    with pytest.raises(EngineFailedError, match=r"ort not measured: .*absent\.onnx"):
        EngineProcess(broken, tmp_path / "feed.npz", threads=1)
    nowhere = Engine(name="peer", kind="openvino", model=absent.model, python=tmp_path / "python")
    with pytest.raises(EngineFailedError, match=r"peer not measured: .*python does not start \(No such file"):
        EngineProcess(nowhere, tmp_path / "feed.npz", threads=1)
    if peer_bench.importlib.util.find_spec("openvino") is None:
        with pytest.raises(
            EngineFailedError, match="peer not measured: ModuleNotFoundError: No module named"
        ):
            EngineProcess(absent, tmp_path / "feed.npz", threads=1)


@pytest.mark.multiprocess
def test_silent_engine_is_ended(folder, tmp_path):
    np.savez(tmp_path / "feed.npz", input_ids=np.ones((2, 3), np.int64))
    engine = Engine(name="ort", kind="onnxruntime", model=folder / "dense.onnx")
    with pytest.raises(EngineFailedError, match=r"ort not measured: no answer within 0\.01 s"):
        EngineProcess(engine, tmp_path / "feed.npz", threads=1, timeout_seconds=0.01)


@pytest.mark.multiprocess
def test_whole_comparison_with_processes(folder):
    config = PeerConfig(**{**QUICK.to_dict(), "runs": 2, "blocks": 1})
    report = run_peer_benchmark(folder, config)
    assert {c.candidate for c in report.settings[0].comparisons} >= {OURS}
