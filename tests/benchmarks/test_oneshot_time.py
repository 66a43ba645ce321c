"""The study of how long pruning without training takes, on a tiny model."""

import json

import oneshot_time
import pytest
import tiny_berts
from tables.oneshot import oneshot_times


@pytest.fixture
def flags(tmp_path):
    tiny_berts.saved_bert(tmp_path / "model", "BertForSequenceClassification", num_labels=2)
    (tmp_path / "texts.txt").write_text("\n".join(tiny_berts.letter_texts(64)))
    paths = ["--model", str(tmp_path / "model"), "--calibration", str(tmp_path / "texts.txt")]
    return [*paths, "--threads", "1", "--title", "Tiny on letters", "-o", str(tmp_path)]


@pytest.mark.multiprocess
def test_the_whole_command_is_timed(flags, tmp_path, capsys):
    assert oneshot_time.main(flags) == 0
    result = json.loads((tmp_path / "oneshot-time.json").read_text())
    assert {"prune", "export", "verify", "bench", "report"} <= result["stages"].keys()
    assert sum(result["stages"].values()) <= result["seconds"]
    assert result["calibration_rows"] == 64
    assert result["peak_bytes"] > 1e6
    assert "minutes: " in capsys.readouterr().out
    (said,) = oneshot_times({"a": result, "b": {"kind": "sizes"}})
    assert said.startswith("Tiny on letters, 50% zeros, int8: ")
    assert said.endswith(" (1 thread).")


def test_a_command_that_fails_is_one_line(flags, tmp_path, capfd):
    flags[flags.index("--calibration") + 1] = str(tmp_path / "none.txt")
    assert oneshot_time.main(flags) == 1
    assert "error: compress ended with 2; what it said stands above" in capfd.readouterr().err
