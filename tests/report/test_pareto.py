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
from platon_compress.report.pareto.members import members_of
from platon_compress.report.pareto.rivals import rival_notes, rivals_of
from platon_compress.report.words import NONE

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


def _peers(folder, **changes):
    """OpenVINO int8 takes 4 ms where ONNX Runtime's dense takes 10, at 84.5 %; PyTorch is only timed."""
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "compressed.onnx").write_bytes(b"12345")
    times = {
        "ONNX Runtime dense": 0.01,
        "ONNX Runtime compressed": 0.002,
        "OpenVINO int8": 0.004,
        "PyTorch dense": 0.02,
    }
    content = {
        "kind": "peers", "schema": 1, "compressed_bytes": 5, "unavailable": {},
        "engines": {"OpenVINO int8": {"kind": "openvino-int8", "version": "1", "disk_bytes": 7_000_000}},
        "scores": {"OpenVINO int8": scores(0.845, 0.01)},
        "settings": [
            {"batch": 1, "tokens": 128, "interleaved": {name: {"seconds": [t] * 5} for name, t in times.items()}}
        ],
    }  # fmt: skip
    (folder / "peers.json").write_text(json.dumps({**content, **changes}))
    return folder


def test_a_rival_is_a_point_where_its_metric_was_measured(tmp_path, monkeypatch):
    """Its latency is its speed over ONNX Runtime's dense, applied to the dense latency of the page."""
    made = finished(_peers(tmp_path / "a"), speed=2.0, metric=0.84, dense_ms=20.0)
    (rival,) = rivals_of([made], (1, 128))
    assert (rival.variant, rival.metric, rival.disk_bytes) == ("openvino_int8", 0.845, 7_000_000)
    assert rival.speed == pytest.approx(2.5)
    assert rival.seconds == pytest.approx(0.008)
    assert rival.change.value == pytest.approx(-0.005)
    elsewhere = finished(_peers(tmp_path / "b", settings=[]), speed=2.0, metric=0.84)
    assert rivals_of([elsewhere], (1, 128)) == []
    monkeypatch.setattr(page, "read_run", lambda folder: made)
    said = page.write_pareto([tmp_path / "a"], tmp_path)
    assert any("(a: OpenVINO int8)" in line for line in said)
    text, html = ((tmp_path / f"pareto.{kind}").read_text() for kind in ("md", "html"))
    assert "| **a: OpenVINO int8** | **84.5%** |" in text
    assert "a: PyTorch dense takes 20.0 ms; its metric was not measured" in text
    assert (
        "dense, every second layer was not measured; use bench model -o RUN --peers every-second-layer"
        in text
    )
    assert "OpenVINO int8 was not measured" not in text
    assert "OpenVINO int8" in html


def test_a_rival_that_could_not_be_measured_says_why_in_one_line(tmp_path):
    reason = "OpenVINO int8 not measured: nncf is not installed here nor in ./.venv-openvino"
    folder = _peers(tmp_path / "a", scores={}, settings=[], unavailable={"OpenVINO int8": reason})
    runs = [finished(folder, speed=2.0, metric=0.84), finished("b", speed=3.0, metric=0.83)]
    said = rival_notes(runs, (1, 128), rivals_of(runs, (1, 128)))
    assert said == [
        reason,
        "dense, every second layer was not measured; use bench model -o RUN --peers every-second-layer",
    ]


@pytest.mark.parametrize("spoil", [{"scores": {"OpenVINO int8": {}}}, {"engines": {}}, {"settings": [{}]}])
def test_damaged_peers_are_one_line(tmp_path, spoil):
    made = finished(_peers(tmp_path / "a", **spoil), speed=2.0, metric=0.84)
    with pytest.raises(InputError, match=r"measure again with `bench model --peers`|run that stage again"):
        rivals_of([made], (1, 128))


def _figures(speed, size=20_000_000):
    return {"latency_seconds": 0.01 / speed, "speedup": speed, "size_bytes": size}


def _family(folder, **changes):
    """Four members; 0.8 is finished, 0.9 was given up after the bench stage, 0.95 was never timed."""
    members = [
        (0.6, 0.85, 0.4, _figures(2.0), None),
        (0.8, 0.845, 0.9, _figures(4.0), _figures(3.9)),
        (0.9, 0.83, 2.4, _figures(7.0), _figures(6.0, 12_000_000)),
        (0.95, 0.70, 15.0, None, None),
    ]
    entries = [
        {
            "sparsity": sparsity, "steps": 10, "value": value, "standard_error": 0.01, "expected": expected,
            "measured": measured, "drop": {"value": drop, "low": drop - 0.2, "high": drop + 0.3, "paired": True},
        }
        for sparsity, value, drop, expected, measured in members
    ]  # fmt: skip
    content = {
        "kind": "family", "schema": 1, "task": "text-classification", "metric": "accuracy", "split": "validation",
        "granularity": "element",
        "tokens": 128, "batch": 1, "threads": 2, "chosen": 0.8, "candidates": entries,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "family.json").write_text(json.dumps({**content, **changes}))
    return folder


def test_members_that_were_not_finished_stand_beside_the_files(tmp_path):
    """Their latency is their speed over dense applied to the page's dense latency; the bench stage's figures count first."""
    runs = [finished(_family(tmp_path / "a"), speed=4.0, metric=0.84), finished("b", speed=2.0, metric=0.8)]
    found = {member.sparsity: member for member in members_of(runs, (1, 128))}
    assert list(found) == [0.6, 0.9, 0.95]
    assert (found[0.6].seconds, found[0.6].timed) == (pytest.approx(0.005), "for the choice")
    assert (found[0.9].speed, found[0.9].timed) == (6.0, "by the bench stage")
    assert found[0.9].disk_bytes == 12_000_000
    assert (found[0.95].seconds, found[0.95].timed, found[0.95].disk_bytes) == (None, None, None)
    change = found[0.6].change
    assert (change.value, change.low, change.high) == pytest.approx((-0.004, -0.007, -0.002))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 8}, "predicted from batch 8, 128 tokens, 2 threads"),
        ({"tokens": 64, "threads": None}, "predicted from batch 1, 64 tokens"),
        ({"threads": 1}, "predicted from batch 1, 128 tokens, 1 thread"),
    ],
)
def test_a_member_that_was_timed_otherwise_has_a_predicted_latency(tmp_path, changes, said):
    """The finished member was 3.9 times as fast as dense there and is 4.68 times here: a fifth more, for the others too."""
    runs = [finished(_family(tmp_path / "a", **changes), speed=4.68, metric=0.84)]
    found = {member.sparsity: member for member in members_of(runs, (1, 128))}
    assert (found[0.6].speed, found[0.6].timed, found[0.6].predicted) == (pytest.approx(2.4), said, True)
    assert found[0.9].speed == pytest.approx(7.2)
    assert found[0.9].seconds == pytest.approx(0.01 / 7.2)
    assert (found[0.95].speed, found[0.95].timed, found[0.95].predicted) == (None, None, False)
    assert found[0.6].disk_bytes == 20_000_000  # the size of a file is the same for all


def test_nothing_is_predicted_without_the_finished_member(tmp_path):
    folder = _family(tmp_path / "a", batch=8)
    content = json.loads((folder / "family.json").read_text())
    content["candidates"][1] |= {"expected": None, "measured": None}
    (folder / "family.json").write_text(json.dumps(content))
    found = members_of([finished(folder, speed=4.0, metric=0.84)], (1, 128))
    assert {(member.seconds, member.predicted) for member in found} == {(None, False)}


def test_a_predicted_latency_is_dotted_in_that_panel_alone(tmp_path, monkeypatch):
    run = finished(_family(tmp_path / "a", batch=8), speed=4.0, metric=0.84)
    monkeypatch.setattr(page, "read_run", lambda folder: run)
    page.write_pareto([tmp_path / "a"], tmp_path)
    text, html = ((tmp_path / f"pareto.{kind}").read_text() for kind in ("md", "html"))
    assert "| predicted from batch 8, 128 tokens, 2 threads |" in text
    assert "dotted where their latency is predicted" in html
    assert "member, latency predicted" in html
    assert (
        "member, selection split" not in html
    )  # named by the left panel, where all with a latency are predicted


def test_members_are_hollow_in_the_table_and_never_on_the_line(tmp_path, monkeypatch):
    """0.6 would beat everything: it is neither advised nor joined to the line, and the page says where it was judged."""
    best = {"expected": _figures(20.0, 1_000_000)}
    run = finished(_family(tmp_path / "a"), speed=4.0, metric=0.84)
    content = json.loads((tmp_path / "a" / "family.json").read_text())
    content["candidates"][0] |= best
    (tmp_path / "a" / "family.json").write_text(json.dumps(content))
    monkeypatch.setattr(page, "read_run", lambda folder: run)
    said = page.write_pareto([tmp_path / "a"], tmp_path)
    assert not any("60%" in line for line in said)
    text, html = ((tmp_path / f"pareto.{kind}").read_text() for kind in ("md", "html"))
    assert "| a: 60% zeros | 85.0% | -0.4 ± 0.2 | 0.50 | 20.00x | 1 MB | for the choice |" in text
    assert f"| a: 95% zeros | 70.0% | -15.0 ± 0.2 | {NONE} | {NONE} | {NONE} | never |" in text
    assert "evaluated on the validation rows that were used to choose among them" in text
    assert "member, selection split" in html
    assert html.count("hollow") >= 2  # caption and text for those who do not see it
    members = json.loads((tmp_path / "pareto.json").read_text())["members"]
    assert [member["sparsity"] for member in members] == [0.6, 0.9, 0.95]


@pytest.mark.parametrize(
    "spoil", [{"candidates": [{"sparsity": 0.5}]}, {"candidates": 3}, {"split": None, "candidates": [None]}]
)
def test_a_damaged_family_is_one_line(tmp_path, spoil):
    runs = [finished(_family(tmp_path / "a", **spoil), speed=4.0, metric=0.84)]
    with pytest.raises(
        InputError, match=r"family\.json is no record of a family .*; run the stage choose again"
    ):
        members_of(runs, (1, 128))


def test_no_point_lies_at_the_edge_of_the_picture(tmp_path, monkeypatch):
    """The axis begins at 0, and the other end leaves room for what is painted last too."""
    from matplotlib.figure import Figure

    from platon_compress.report.pareto import plot

    figure = Figure()
    monkeypatch.setattr(plot, "draw", lambda name, paint, **rest: paint(figure, False))
    runs = [finished(_family(tmp_path / "a"), speed=4.0, metric=0.84)]
    found, members = candidates_of(runs, (1, 128)), members_of(runs, (1, 128))
    plot.pareto_plot(found, members, "accuracy", "text-classification")
    dearest = [1e3 * max(c.seconds for c in found), max(c.disk_bytes for c in found) / 1e6]
    for axes, most in zip(figure.axes, dearest, strict=True):
        low, high = axes.get_xlim()
        assert low == 0
        assert high > 1.05 * most
