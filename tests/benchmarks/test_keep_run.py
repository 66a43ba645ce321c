"""Keeping a run as a committed result."""

import json

import pytest
from keep_run import keep_run, main

from platon_compress.errors import CheckFailedError, InputError
from platon_compress.schemas import stamped


def _run(folder, *, dirty=False, stages=None):
    done = {
        "bake": {"result": {"sparsity": 0.9}},
        "prune": {"result": {"steps": 540}},
        "report": {"result": {"verdict": "Verdict: yes: faster."}},
    }
    files = {
        "benchmark.json": stamped("benchmark", {"environment": {"git": {"dirty": dirty}}, "variants": {}}),
        "state.json": {"stages": done if stages is None else stages},
        "parity.json": {
            "scores": {
                "onnx_compressed": {"values": {"accuracy": 0.9, "f1": 0.8}, "standard_error": 0.01},
                "dense": {"values": {"accuracy": 1}, "standard_error": 0},
            }
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def test_a_result_holds_accuracy_steps_and_verdict(tmp_path):
    kept = json.loads(keep_run(_run(tmp_path), "demo", "Demo", tmp_path / "results").read_text())
    assert kept["accuracy"]["compressed"] == {"accuracy": 0.9, "f1": 0.8, "standard_error": 0.01}
    assert (kept["steps"], kept["sparsity"], kept["masks"]) == (540, 0.9, "trained")
    assert kept["verdict"] == "Verdict: yes: faster."


def test_a_distilled_model_is_called_one(tmp_path):
    run = _run(tmp_path)
    state = json.loads((run / "state.json").read_text())
    state["stages"]["prune"]["result"]["distillation"] = {"teacher": "the dense baseline"}
    (run / "state.json").write_text(json.dumps(state))
    kept = json.loads(keep_run(run, "demo", "Demo", tmp_path / "results").read_text())
    assert kept["masks"] == "trained, distilled"


def test_what_is_not_worth_keeping_is_refused(tmp_path, capsys):
    with pytest.raises(CheckFailedError, match="measured from a checkout with local changes"):
        keep_run(_run(tmp_path, dirty=True), "demo", "Demo", tmp_path / "results")
    with pytest.raises(InputError, match="is no finished run"):
        keep_run(_run(tmp_path, stages={}), "demo", "Demo", tmp_path / "results")
    assert main([str(tmp_path / "none"), "-o", str(tmp_path / "results")]) == 2
    assert "finish the run first" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_scratch_folder_takes_what_is_not_committed(tmp_path, capsys):
    run = str(_run(tmp_path, dirty=True))
    assert main([run, "-o", str(tmp_path / "scratch"), "--name", "mine", "--title", "Mine"]) == 0
    assert json.loads((tmp_path / "scratch" / "mine.json").read_text())["title"] == "Mine"
    assert capsys.readouterr().out == f"written: {tmp_path / 'scratch' / 'mine.json'}\n"
