"""Whole runs where something around them is wrong: another run, a full or read-only disk, a closed pipe, a strange locale.

Each ends well, with the same bits as an undisturbed run, or in one line and exit 2; then the same command goes on. Disks and
locale take many runs: PLATON_TORTURE=1.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from forked_runs import command, finish, fork, run_results, run_worker

from platon_compress.testing import tiny_recipe

pytestmark = pytest.mark.train
RECIPE = tiny_recipe(train={"epochs": 1, "evaluations": 1})
_SIZES = ("200k", "600k", "1500k")  # of disks: full at once, and in later stages
_PLENTY = "200m"


def _one_line(log, words):
    """Of an error; a slow run also tells the time left, a line a minute."""
    said = [line for line in log.read_text().splitlines() if line.startswith("error:")]
    assert len(said) == 1, log.read_text()
    assert words in said[0], said
    assert "this is a bug" not in said[0]


def _two_at_once(place, recipe, whole):
    logs = [place.with_suffix(f".{number}") for number in range(2)]
    children = [fork(command("run", recipe, "-o", place), log) for log in logs]
    status = [finish(child) for child in children]
    assert sorted(status) == [0, 2], [log.read_text() for log in logs]
    _one_line(logs[status.index(2)], "another process works on")
    assert run_results(place) == whole


def _full_disk(disk, recipe, whole, log):
    failed = 0
    for size in (*_SIZES, _PLENTY):
        _mount(disk, "remount,size=" + size)
        status = finish(fork(command("run", recipe, "-o", disk / "run"), log))
        if status == 0:
            break
        assert (status, size != _PLENTY) == (2, True), log.read_text()
        _one_line(log, "free")
        failed += 1
    assert failed
    assert run_results(disk / "run") == whole


def _read_only(disk, recipe, log):
    before = run_results(disk / "run")
    _mount(disk, "remount,ro")
    for folder in ("run", "other"):
        assert finish(fork(command("run", recipe, "--set", "plan.tokens=9", "-o", disk / folder), log)) == 2
        _one_line(log, "")
    assert run_results(disk / "run") == before


def _mount(disk, options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)


def _disks(folder, recipe, whole):
    """A disk of its own is root's to make."""
    disk = folder / "disk"
    disk.mkdir()
    try:
        _mount(disk, "size=100k")
    except (OSError, subprocess.CalledProcessError):
        return "not tried"
    try:
        _full_disk(disk, recipe, whole, folder / "log")
        _read_only(disk, recipe, folder / "log")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    return "fine"


def _closed_pipe(place, recipe, whole):
    """As `| head -1` does it."""
    reading, writing = os.pipe()
    child = fork(command("run", recipe, "-o", place), place.with_suffix(".log"), stdout=writing)
    os.close(writing)
    assert os.read(reading, 1)
    os.close(reading)
    assert finish(child) == 0, place.with_suffix(".log").read_text()
    assert run_results(place) == whole


def _strange_locale(place, recipe, whole):
    """Nothing may depend on what the system takes for the encoding of texts."""
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    copy = recipe.with_name("r\u00e9cipe.yaml")
    shutil.copy(recipe, copy)
    words = [sys.executable, "-P", "-m", "platon_compress", "run", str(copy), "-o", str(place)]
    done = subprocess.run(words, env={**os.environ, **plain}, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert run_results(place) == whole


def _worker(folder):
    import torch
    from sklearn.datasets import load_digits

    import platon_compress.pipeline.runner
    import platon_compress.pruning.trainer  # noqa: F401

    torch.set_num_threads(1)
    load_digits()
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    assert finish(fork(command("run", recipe, "-o", folder / "whole"), folder / "log")) == 0
    whole = run_results(folder / "whole")
    _two_at_once(folder / "twice", recipe, whole)
    _closed_pipe(folder / "closed", recipe, whole)
    if os.environ.get("PLATON_TORTURE"):  # several runs more
        _strange_locale(folder / "pl\u00e4ce", recipe, whole)
        sys.stdout.write(f"disks: {_disks(folder, recipe, whole)}\n")


def test_runs_in_bad_surroundings(tmp_path, record_property):
    pytest.importorskip("sklearn")
    record_property("disks", run_worker(__file__, tmp_path, 1800))


if __name__ == "__main__":
    _worker(Path(sys.argv[1]))
