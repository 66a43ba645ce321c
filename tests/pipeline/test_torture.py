"""Runs that are killed, damaged run folders, bad surroundings: a few of what `benchmarks/torture.py` counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.train
_STUDY = Path(__file__).parents[2] / "benchmarks" / "torture.py"


def _torture(folder, jobs="", surroundings="", count=6):
    """What the study writes; it stops at the first broken promise."""
    pytest.importorskip("sklearn")
    chosen = [f"--jobs={jobs}", f"--surroundings={surroundings}", f"--kills={count}", f"--mutations={count}"]
    words = [sys.executable, str(_STUDY), *chosen, "-o", str(folder)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return json.loads((folder / "torture.json").read_text())


@pytest.mark.parametrize("job", ["run", "family", "compress"])
def test_kills_and_damaged_folders(tmp_path, job):
    (row,) = _torture(tmp_path, jobs=job)["rows"]
    assert sum(row["stages"].values()) == 6
    assert row["finished"] >= 1
    assert row["refused"] + row["went_on"] == sum(row["kinds"].values()) == 6


def test_another_run_and_disks(tmp_path):
    """Disks of their own are root's to make."""
    two, full, read_only = _torture(tmp_path, surroundings="two,full,read-only")["surroundings"]
    assert (two["finished"], two["refused"]) == (1, 1)
    assert full["finished"] in (1, None)
    assert read_only["refused"] in (2, None)


def test_closed_output_and_foreign_locales(tmp_path):
    rows = _torture(tmp_path, surroundings="head,closed,posix,locales")["surroundings"]
    assert [row["finished"] for row in rows] in ([1, 1, 1, 2], [1, 1, 1, None])
