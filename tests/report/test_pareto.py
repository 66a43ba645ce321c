"""Several runs on one page: which files nothing beats, what is refused, what is written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sample_runs import bench, ratio, run, scores

from platon_compress.errors import InputError
from platon_compress.report.pareto import page
from platon_compress.report.pareto.candidates import candidates_of, chosen_setting
from platon_compress.report.pareto.front import advice, undominated

MACHINE = {"cpu_model": "a processor", "threads": 2}


def finished(name, *, speed, metric, dense_ms=10.0, parameters=None, disk=0.2, processor="a processor"):
    """A run whose dense file takes `dense_ms` and is 85.0 %; int8 has twice its speed and 84.0 %."""
    data = bench([speed], [speed / 2], disk=disk, environment=MACHINE | {"cpu_model": processor})
    if parameters is not None:
        data["variants"]["dense"]["size"]["parameters"] = parameters
    for setting in data["settings"]:
        times = {"dense": dense_ms, "dense_int8": dense_ms / 2, "compressed": dense_ms / speed}
        setting["samples"] = {key: {"warm_seconds": [value / 1e3] * 9} for key, value in times.items()}
        setting["ratios"].append(ratio("dense", "dense_int8", 2.0))
    kept = {
        "dense": scores(0.85, 0.01),
        "dense_int8": scores(0.84, 0.01),
        "onnx_compressed": scores(metric, 0.01),
    }
    recipe = {"model": {"task": "text-classification"}}
    made = run(data, parity={"scores": kept, "examples": 872}, recipe=recipe)
    return replace(made, folder=Path(name))


def test_a_latency_is_the_speed_in_a_runs_own_pairs():
    """Measured on a slow and on a fast day: equal speed means equal latency, and one dense model stands for both."""
    runs = [finished("a", speed=4.0, metric=0.84), finished("b", speed=4.0, metric=0.83, dense_ms=20.0)]
    found = {c.label: c for c in candidates_of(runs, (1, 128))}
    assert set(found) == {"a: dense", "a: dense int8", "a: compressed", "b: compressed"}
    assert found["a: compressed"].seconds == found["b: compressed"].seconds == pytest.approx(0.015 / 4)
    assert found["a: dense"].change is None
    assert found["b: compressed"].change.value == pytest.approx(-0.02)


def test_another_dense_model_keeps_its_milliseconds():
    small = finished("small", speed=2.0, metric=0.8, dense_ms=4.0, parameters=1000)
    found = {c.label: c for c in candidates_of([finished("a", speed=4.0, metric=0.84), small], (1, 128))}
    assert found["small: compressed"].seconds == pytest.approx(0.002)
    assert found["a: compressed"].seconds == pytest.approx(0.0025)
    assert found["small: dense"].seconds == pytest.approx(0.004)


def test_nothing_beats_the_front():
    runs = [
        finished("a", speed=4.0, metric=0.845),
        finished("b", speed=3.0, metric=0.83),
        finished("c", speed=8.0, metric=0.80),
    ]
    found = candidates_of(runs, (1, 128))
    front = undominated(found, lambda c: c.seconds)
    assert [c.label for c in front] == ["c: compressed", "a: compressed", "a: dense"]
    for candidate in found:
        beaten = [c for c in found if c.seconds <= candidate.seconds and c.metric > candidate.metric]
        assert (candidate in front) == (not beaten)
    said = advice(found, "accuracy", "text-classification")
    assert said[0].startswith("Within 1.25 ms: c/onnx/compressed.onnx (c: compressed), accuracy 80.0%, -5.0 ")
    assert any(line.startswith("Within 18 MB: a/onnx/compressed.onnx") for line in said)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"processor": "another one"}, r"b differs in its processor \(another one; a: a processor\)"),
        ({"metric": 0.8}, None),
    ],
)
def test_only_like_is_compared(other, message):
    runs = [finished("a", speed=4.0, metric=0.84), finished("b", **{"speed": 2.0, "metric": 0.8, **other})]
    if message is None:
        assert candidates_of(runs, (1, 128))
        return
    with pytest.raises(InputError, match=message):
        candidates_of(runs, (1, 128))


def test_a_size_that_all_measured():
    runs = [finished("a", speed=4.0, metric=0.84), finished("b", speed=2.0, metric=0.8)]
    assert chosen_setting(runs, None, None) == (1, 128)
    with pytest.raises(InputError, match=r"no size that all 2 runs measured, batch 8; "):
        chosen_setting(runs, 8, None)


def test_a_run_without_a_metric_is_refused():
    blind = run(bench([2.0], environment=MACHINE), ours=None)
    with pytest.raises(InputError, match=r"has no task metric of dense and compressed"):
        candidates_of([blind], (1, 128))


def test_the_page_holds_picture_table_and_advice(tmp_path, monkeypatch):
    runs = {name: finished(name, speed=s, metric=m) for name, s, m in (("<a>", 4, 0.84), ("b$", 8, 0.8))}
    monkeypatch.setattr(page, "read_run", lambda folder: runs[str(folder)])
    said = page.write_pareto(list(runs), tmp_path)
    html, text = ((tmp_path / f"pareto.{kind}").read_text() for kind in ("html", "md"))
    content = json.loads((tmp_path / "pareto.json").read_text())
    assert (content["kind"], content["metric"], content["advice"]) == ("pareto", "accuracy", said)
    assert len(content["candidates"]) == 4
    assert html.count("<svg") == 2
    assert "<a>" not in html
    assert "| **b$: compressed** | **80.0%** |" in text
    first = (tmp_path / "pareto.html").read_bytes()
    page.write_pareto(list(runs), tmp_path)
    assert (tmp_path / "pareto.html").read_bytes() == first
