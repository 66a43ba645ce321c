"""What every study promises: it starts without flags, says what it is, and commits nothing from a changed checkout."""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import study
from study import RESULTS, add_output, keep, run_study, study_parser

from platon_compress.errors import InputError
from platon_compress.measure import environment
from platon_compress.measure.environment import describe_environment, started_from
from platon_compress.schemas import stamped

STUDIES = sorted(
    path.stem for path in RESULTS.parent.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
)
# What they read is the user's own, and named on the command line.
NEEDS_DATA = {"gate", "keep_rounded", "oneshot", "oneshot_time", "prepare_data", "quality", "serving"}


def test_the_index_lists_every_study():
    index = (RESULTS.parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in STUDIES if f"[{name}.py]({name}.py)" not in index] == []


@pytest.mark.parametrize("name", sorted(set(STUDIES) - NEEDS_DATA))
def test_a_study_starts_without_flags(name, monkeypatch):
    module = importlib.import_module(name)
    if name == "machine":  # keeps to its minutes and survives a kill, so its command line is its own
        assert module._parse([]).output.parent == study.SCRATCH
        return
    seen = []
    monkeypatch.setattr(module, "run_study", lambda work, parser, arguments: seen.append((parser, arguments)))
    module.main([])
    ((parser, arguments),) = seen
    options = parser.parse_args(arguments)
    assert getattr(options, "output", study.SCRATCH) == study.SCRATCH
    assert f"python benchmarks/{name}.py" in parser.format_help()


def _options(*arguments):
    parser = study_parser("What it is.")
    add_output(parser, "one")
    return parser, list(arguments)


def test_lines_and_errors(tmp_path, capsys):
    def work(options: argparse.Namespace):
        yield f"{options.name} {options.threads}"
        raise InputError("that is wrong; do this")

    assert run_study(work, *_options("-o", str(tmp_path), "--threads", "3")) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("one 3\n", "error: that is wrong; do this\n")


def test_a_reader_who_has_seen_enough_ends_nothing(tmp_path):
    done = tmp_path / "done"
    code = (
        "import sys, pathlib; from study import run_study, study_parser\n"
        "def work(options):\n"
        "    yield from (str(n) for n in range(20000))\n"
        f"    pathlib.Path({str(done)!r}).touch()\n"
        "sys.exit(run_study(work, study_parser('What it is.'), []))"
    )
    command = [sys.executable, "-P", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(RESULTS.parent)}
    study = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert study.stdout.readline() == b"0\n"
    study.stdout.close()
    assert study.stderr.read() == b"standard output was closed; the work goes on without it\n"
    assert study.wait() == 0
    assert done.exists()


def test_a_changed_checkout_commits_nothing(monkeypatch, capsys):
    monkeypatch.setattr(study, "started_from", lambda: {"commit": "1", "dirty": True})
    started = []
    assert run_study(started.append, *_options("-o", str(RESULTS))) == 1
    assert started == []
    assert "this checkout has local changes, so nothing may go into" in capsys.readouterr().err


@pytest.fixture
def checkout(monkeypatch):
    """The state that the checkout is in; a test may change it."""
    state = {"commit": "1", "dirty": False}
    monkeypatch.setattr(environment, "git_state", lambda: dict(state))
    monkeypatch.setattr(study, "git_state", lambda: dict(state))
    started_from.cache_clear()
    yield state
    started_from.cache_clear()


@pytest.mark.parametrize("changes", [{}, {"dirty": True}, {"commit": "2"}])
def test_a_checkout_that_changes_meanwhile_costs_no_result(checkout, changes, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(study, "RESULTS", tmp_path)

    def work(options):
        checkout.update(changes)
        yield keep(options, stamped("rounding", {"environment": describe_environment()}), title="One")

    assert run_study(work, *_options("-o", str(tmp_path))) == 0
    kept = json.loads((tmp_path / "one.json").read_text())
    assert kept["environment"]["git"] == {"commit": "1", "dirty": False}
    assert ("the checkout has changed since the start" in capsys.readouterr().out) == bool(changes)


def test_a_scratch_folder_takes_results_of_a_changed_checkout(tmp_path):
    parser, arguments = _options("-o", str(tmp_path / "scratch"))
    dirty = {"environment": {"git": {"commit": "1", "dirty": True}}}
    line = keep(parser.parse_args(arguments), stamped("rounding", dirty), title="One")
    assert line == f"written: {tmp_path / 'scratch' / 'one.json'}"
    assert Path(line.split(": ")[1]).is_file()


def test_a_file_is_no_output_folder(tmp_path, capsys):
    (tmp_path / "x").touch()
    assert run_study(lambda options: (), *_options("-o", str(tmp_path / "x"))) == 2
    assert "which is a file; give a folder" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "1", "nan", "90", "0.5,-0.1"])
def test_shares_out_of_range_are_refused(text, capsys):
    for name in ("sizes", "int8", "targets"):
        with pytest.raises(SystemExit, match="2"):
            importlib.import_module(name).main(["--sparsity", text])
        said = f"argument --sparsity: must lie between 0 and 1, got {text.split(',')[-1]}; write for example"
        assert said in capsys.readouterr().err
