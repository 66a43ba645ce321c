"""The study of pauses on a tiny model, and its table."""

import json
import os

import pauses
import pytest
from tables.pauses import pause_tables

from platon_compress.measure.sessions import caller_pinned


def test_every_side_after_every_pause(tiny_target, tmp_path, capsys):
    tiny_target(cells={(1, 8): {}})
    flags = ["--model", "tiny", "--sparsity", "0.5", "--threads", "1", "--pauses", "1,2", "--runs", "3"]
    assert pauses.main([*flags, "-o", str(tmp_path), "--onnx", str(tmp_path / "models")]) == 0
    result = json.loads((tmp_path / "pauses.json").read_text())
    assert [row["pause_ms"] for row in result["pauses"]] == [1, 2]
    files = ("dense", "dense int8", "float32", "int8")
    for row in result["pauses"]:
        assert set(row["seconds"]) == {f"{file}, {how}" for file in files for how in ("free", "pinned")}
        assert {len(taken) for taken in row["seconds"].values()} == {3}
    ((entry, table),) = pause_tables({"pauses": result})
    assert entry is result
    assert "| int8, pinned |" in str(table)
    assert "after 2 ms: dense, free" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins nothing")
def test_the_caller_is_pinned_for_a_while():
    before = os.sched_getaffinity(0)
    with caller_pinned():
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
