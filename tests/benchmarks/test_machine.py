import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import machine
import numpy as np
import pytest
from machine import PARTS, main, run_part
from parts.cells import Cell, Part, Setup, timed
from parts.record import open_record

from platon_compress.errors import InputError
from platon_compress.library import supported_kernels

SCRIPT = Path(machine.__file__)
HERE = {"environment": {"cpu_model": "one", "cores_logical": 4}, "facts": {}}


def _part(**cells):
    made = tuple(Cell(name=name, run=run) for name, run in cells.items())
    return Part(name="mine", title="a part of the test", share=1.0, cells=lambda setup: made)


def _record(tmp_path, part):
    setup = Setup(models=tmp_path, tiny=True, device="cpu")
    return open_record(tmp_path / "m.json", (part,), setup, lambda: HERE), setup


@pytest.fixture
def setup(tmp_path_factory):
    return Setup(models=tmp_path_factory.getbasetemp() / "machine-models", tiny=True, device="cpu")


def test_kernels_are_measured_once_and_kept(tmp_path, capsys):
    arguments = ["--parts", "kernels", "--tiny", "--minutes", "10", "-o", str(tmp_path / "m.json")]
    assert main(arguments) == 0
    data = json.loads((tmp_path / "m.json").read_text())
    assert (data["kind"], data["schema"], data["tiny"]) == ("machine", 1, True)
    assert data["environment"]["python"]
    entry = data["parts"]["kernels"]
    assert (entry["failed"], entry["left"], entry["unavailable"], entry["running"]) == ({}, [], None, None)
    single = [cell["result"] for name, cell in entry["cells"].items() if name.startswith("single")]
    assert {row["kernel"] for row in single[0]["rows"]} == set(supported_kernels())
    assert all(len(row["seconds"]) == 2 for result in single for row in result["rows"])
    assert f"kernels: {len(entry['cells'])} cells done, 0 failed, 0 left" in capsys.readouterr().err
    before = data["parts"]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "m.json").read_text())["parts"] == before


def test_the_list_needs_neither_torch_nor_pydantic():
    code = (
        "import sys, runpy\n"
        "for name in ('torch', 'transformers', 'pydantic', 'onnx'): sys.modules[name] = None\n"
        "sys.argv = ['machine.py', '--list']\n"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    titles = [line.split(":")[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert titles == [part.name for part in PARTS]


def test_a_cell_that_fails_is_a_line_and_the_next_one_runs(tmp_path):
    def broken(seconds):
        raise ZeroDivisionError("no good\nat all")

    part = _part(broken=broken, fine=lambda seconds: {"given": seconds})
    record, setup = _record(tmp_path, part)
    run_part(part, setup, record, time.time() + 6000)
    entry = json.loads((tmp_path / "m.json").read_text())["parts"]["mine"]
    assert entry["failed"] == {"broken": "ZeroDivisionError: no good"}
    assert 5000 < entry["cells"]["fine"]["result"]["given"] <= 6000
    assert entry["left"] == []
    again, _ = _record(tmp_path, part)
    assert again.waiting("mine") == ["broken"]


def test_no_cell_begins_when_the_time_is_over(tmp_path):
    part = _part(one=lambda seconds: {}, two=lambda seconds: {})
    record, setup = _record(tmp_path, part)
    run_part(part, setup, record, time.time() - 1)
    assert record.waiting("mine") == ["one", "two"]


def test_a_part_that_cannot_run_says_why(tmp_path):
    part = Part(
        name="mine", title="", share=1.0, cells=_part(one=lambda s: {}).cells, unavailable=lambda setup: "no device"
    )  # fmt: skip
    record, setup = _record(tmp_path, part)
    run_part(part, setup, record, time.time() + 60)
    assert record.reload().part("mine")["unavailable"] == "no device"
    assert record.waiting("mine") == []


_DIES = """
import json, os, pathlib, sys
path = pathlib.Path(sys.argv[1])
data = json.loads(path.read_text())
entry = data["parts"]["mine"]
done = {*entry["cells"], *entry["failed"]}
entry["running"] = next(name for name in entry["left"] if name not in done)
path.write_text(json.dumps(data))
os.kill(os.getpid(), 9)
"""


def test_a_process_that_dies_costs_the_cell_it_was_at(tmp_path):
    (tmp_path / "dies.py").write_text(_DIES)
    part = _part(one=lambda seconds: {}, two=lambda seconds: {})
    record, _ = _record(tmp_path, part)
    command = [sys.executable, str(tmp_path / "dies.py"), str(tmp_path / "m.json")]
    record = machine._give(part, record, 60, time.time() + 60, command)
    failed = record.part("mine")["failed"]
    assert failed == dict.fromkeys(("one", "two"), "the process ended with -9")


def test_a_process_that_hangs_is_stopped(tmp_path):
    part = _part(one=lambda seconds: {})
    record, _ = _record(tmp_path, part)
    record.start("mine", "one")
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    record = machine._one_process(part, record, time.time() + 1, time.time() + 1, command)
    assert record.part("mine")["failed"] == {"one": "stopped, because the time was up"}


def test_a_process_that_cannot_start_is_not_tried_for_ever(tmp_path):
    part = _part(one=lambda seconds: {})
    record, _ = _record(tmp_path, part)
    record = machine._give(part, record, 60, time.time() + 60, [sys.executable, "-c", "raise SystemExit(3)"])
    assert record.part("mine")["unavailable"] == "the process ended with 3 before its first cell"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environment": {"cpu_model": "two", "cores_logical": 4}}, r"another machine \(cpu_model two\)"),
        ({"tiny": False}, "holds a run with --tiny off"),
        ({"kind": "plan"}, "a result of the kind plan, not machine"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, change, message):
    record, _ = _record(tmp_path, _part())
    record.data.update(change)
    record.save()
    with pytest.raises(InputError, match=message):
        _record(tmp_path, _part())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts", "kernels,gpu"], "no part 'gpu'; choose from kernels, bert, pruner"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_rounds_follow_the_seconds_and_never_fall_below_the_least():
    calls = {"a": 0, "b": 0}

    def side(name):
        calls[name] += 1
        time.sleep(0.002)

    sides = {name: lambda name=name: side(name) for name in calls}
    content = timed(sides, 0.0, "a", pause_seconds=0.0)
    assert [len(values) for values in content["seconds"].values()] == [6, 6]
    assert content["ratios"][0]["candidate"] == "b"
    assert content["ratios"][0]["low"] is not None
    assert len(timed(sides, 60.0, "a", pause_seconds=0.0, most=9)["seconds"]["a"]) == 9
    assert calls["a"] == calls["b"]


def _cells(part, setup):
    return {cell.name: cell for cell in part.cells(setup)}


def test_encoders_run_at_every_number_of_threads(setup):
    cells = _cells(machine.BERT, setup)
    agreement = cells["agreement"].run(0)["files"]
    assert list(agreement) == ["90"]
    assert agreement["90"]["max_difference"] < 1e-5 * agreement["90"]["max_value"] + 1e-7
    measured = cells["16 tokens x 1, 1 threads"].run(0.05)
    assert list(measured["seconds"]) == ["dense", "90", "int8"]
    assert (measured["threads"], measured["tokens"]) == (1, 16)
    assert cells["file dense"].run(0)["bytes"] > 0
    assert {count for count in (1, 2, 4, 8, 16) if f"128 tokens x 8, {count} threads" in cells} == set(
        setup.threads
    )


@pytest.mark.skipif(len(supported_kernels()) < 2, reason="there is one kernel set here")
def test_a_session_keeps_the_instruction_set_it_was_opened_with(setup, monkeypatch):
    monkeypatch.setenv("PLATON_FORCE_ISA", "scalar")
    last = list(supported_kernels()[-2:])
    found = _cells(machine.BERT, setup)[f"{' against '.join(last)}, 1 threads"].run(0.05)
    assert list(found["seconds"]) == last
    assert os.environ["PLATON_FORCE_ISA"] == "scalar"
    forced = []
    monkeypatch.setattr(
        "parts.encoders.open_on", lambda path, threads: forced.append(os.environ["PLATON_FORCE_ISA"])
    )
    with pytest.raises(AttributeError):
        _cells(machine.BERT, setup)[f"{' against '.join(last)}, 1 threads"].run(0.05)
    assert forced == last[:1]
    assert os.environ["PLATON_FORCE_ISA"] == "scalar"


def test_images_are_fed_at_the_size_of_the_file(setup):
    from parts.encoders import _feed
    from parts.random_models import VIT_B16, model_file

    from platon_compress.measure.sessions import open_on

    session = open_on(model_file(VIT_B16, setup.models, "dense", tiny=True), threads=1)
    assert [value.shape for value in _feed(session, 3, None).values()] == [(3, 3, 32, 32)]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_training_steps_with_and_without_the_pruner(setup, precision):
    found = _cells(machine.PRUNER, setup)[precision].run(0.0)
    assert len(found["seconds"]["pruned"]) == len(found["masks"]) == 20
    assert any(found["masks"])
    assert found["mask_share"] is not None
    assert found["skipped_steps"] == 0
    assert found["mean_share"] == pytest.approx(
        np.mean(found["seconds"]["pruned"]) / np.mean(found["seconds"]["without"]) - 1
    )


def test_waits_are_counted_by_torchs_own_warnings():
    from parts.pruner import count_waits

    modes = []

    def step():
        for message in ("called a synchronizing CUDA operation", "something else"):
            warnings.warn(message, stacklevel=1)
            warnings.warn(message, stacklevel=1)

    assert count_waits(step, modes.append) == 2
    assert modes == ["warn", "default"]


def test_waits_that_grow_with_the_depth_are_seen(setup, monkeypatch):
    from parts import pruner

    assert not _cells(machine.PRUNER, setup)["host waits per step"].run(0)["grows_with_the_parameters"]
    depths = []
    monkeypatch.setattr(
        pruner, "_waits_of_depth", lambda setup, layers, switch: depths.append(layers) or [3, layers]
    )
    assert pruner._waits(setup, 0)["grows_with_the_parameters"]
    assert depths == [2, 4]


def test_forms_compute_what_their_zeros_say(setup):
    import torch
    from parts.forms import keep_two_of_four, top_operators
    from parts.random_models import BERT_BASE, halved, random_inputs, random_model

    from platon_compress.selection import select

    model = random_model(BERT_BASE, tiny=True)
    inputs = random_inputs(model, 2, 8)
    shrunk = halved(model)
    assert {entry.after * 2 for entry in shrunk.removed} == {entry.before for entry in shrunk.removed}
    with torch.inference_mode():
        assert torch.allclose(shrunk.model(**inputs).logits, model(**inputs).logits, atol=1e-6)
    weight = next(iter(select(model).values()))
    whole = weight.detach().clone()
    keep_two_of_four(model)
    assert int((weight.view(-1, 4) != 0).sum(1).max()) == 2
    assert torch.equal(weight, torch.where(weight == 0, 0, whole))
    assert weight.view(-1, 4).abs().sum() >= whole.view(-1, 4).abs()[:, :2].sum()
    names = [row["name"] for row in top_operators(lambda: model(**inputs), "cpu")]
    assert any("mm" in name for name in names)


def test_what_a_device_cannot_do_is_said_beside_the_rest(setup):
    (cell,) = machine.FORMS.cells(setup)
    found = cell.run(0.0)
    assert list(found["seconds"]) == ["dense", "structured", "2:4 zeros, dense"]
    assert "CUDA" in found["missing"]["2:4"]
    (on_device,) = machine.ONNX_CUDA.cells(setup)
    assert list(on_device.run(0.0)["seconds"]) == ["dense", "structured"]


def test_cuda_parts_say_where_there_is_no_cuda():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    cuda = Setup(models=Path("unused"))
    reasons = [part.unavailable(cuda) for part in (machine.PRUNER, machine.FORMS, machine.ONNX_CUDA)]
    assert reasons[:2] == ["torch sees no CUDA device here"] * 2
    assert "no CUDA provider" in reasons[2]
