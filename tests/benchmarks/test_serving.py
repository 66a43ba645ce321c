"""The load of several clients: every one asks, what is counted was asked in time, and the table shows the medians."""

import threading
import time

import onnx
import pytest
import serving
from onnx import TensorProto, helper
from padding import padded_batches
from tables.serving import serving_table

from platon_compress.errors import InputError
from platon_compress.export.session import open_session
from platon_compress.report.words import NONE

FEEDS = padded_batches([3, 7, 5], 1)


@pytest.fixture
def session(tmp_path):
    """The sum of a text's tokens."""
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])
    total = helper.make_tensor_value_info("total", TensorProto.INT64, [])
    node = helper.make_node("ReduceSum", ["input_ids"], ["total"], keepdims=0)
    model = helper.make_model(helper.make_graph([node], "sum", [ids], [total]), ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    return open_session(tmp_path / "model.onnx", threads=1)


def test_a_window_says_how_many_requests_were_answered_and_how_fast(session):
    found = serving.window(session, FEEDS, clients=3, seconds=0.2)
    assert found["requests"] > 3
    assert 0 < found["p50_seconds"] <= found["p90_seconds"] <= found["p99_seconds"]


class Waiting:
    """Answers after 20 ms, and remembers who asked for what."""

    def __init__(self):
        self.asked = []

    def get_inputs(self):
        return [type("Input", (), {"name": "input_ids"})]

    def run(self, outputs, feed):
        self.asked.append((threading.get_ident(), feed["input_ids"].shape[1], tuple(feed)))
        time.sleep(0.02)


def test_every_client_asks_and_the_texts_come_in_turn():
    waiting = Waiting()
    found = serving.window(waiting, FEEDS, clients=4, seconds=0.3)
    assert len({who for who, _, _ in waiting.asked}) == 4
    assert {tokens for _, tokens, _ in waiting.asked} == {3, 7, 5}
    assert {names for _, _, names in waiting.asked} == {("input_ids",)}
    assert found["p50_seconds"] >= 0.02


def test_what_is_answered_in_the_first_tenth_does_not_count(monkeypatch):
    now = [0.0]

    class Steady(Waiting):
        def run(self, outputs, feed):
            self.asked.append(feed)
            now[0] += 0.125

    monkeypatch.setattr(serving.time, "perf_counter", lambda: now[0])
    steady = Steady()
    found = serving.window(steady, FEEDS, clients=1, seconds=5.0)
    assert (len(steady.asked), found["requests"]) == (40, 36)  # those that began at 0.5 s and after
    assert found["requests_per_second"] == 36 / 4.5
    assert found["p50_seconds"] == found["p99_seconds"] == 0.125


def test_a_failed_request_ends_the_window():
    class Broken(Waiting):
        def run(self, outputs, feed):
            raise ValueError("no answer")

    with pytest.raises(ValueError, match="no answer"):
        serving.window(Broken(), FEEDS, clients=2, seconds=0.1)


def test_nothing_answered_is_said():
    with pytest.raises(InputError, match=r"no request was answered in 1e-09 s; give more --seconds"):
        serving.window(Waiting(), FEEDS, clients=1, seconds=1e-9)


@pytest.mark.parametrize("flags", [("--clients", "0"), ("--windows", "0"), ("--seconds", "0")])
def test_nothing_to_measure(flags, tmp_path, capsys):
    assert serving.main([str(tmp_path), *flags]) == 2
    assert capsys.readouterr().err.startswith("error: nothing to measure with ")


def test_the_table_shows_medians_and_leaves_out_what_was_not_there():
    def windows(*per_second):
        return [{"requests_per_second": n, "p99_seconds": 1 / n} for n in per_second]

    ratio = {
        "baseline": "dense", "candidate": "compressed", "pairs": 3, "median": 3.0, "quartile_low": 2.9,
        "quartile_high": 3.1, "low": None, "high": None, "statement": "undecided",
    }  # fmt: skip
    row = {
        "clients": 8,
        "windows": {"dense": windows(100, 200, 125), "compressed": windows(400, 500, 250)},
        "throughput_ratios": [ratio],
    }
    run = {"run": "mine", "title": "MiniLM", "sparsity": 0.8, "rows": [row]}
    (shown,) = serving_table([{"environment": {"isa": "avx2"}, "runs": [run]}]).rows
    assert shown[:7] == ("AVX2", "MiniLM", "80%", "8", "125", NONE, "400")
    assert shown[7].startswith("3.00x")
    assert shown[8:] == (NONE, "8.0", NONE, "2.5")
    assert serving_table([]) is None
