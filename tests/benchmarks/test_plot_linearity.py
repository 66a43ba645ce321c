import json

import pytest
from plot_linearity import main

from platon_compress.schemas import stamped

pytest.importorskip("matplotlib")
ROWS = [{"weights": n * 10**6, "step_seconds": n * 1e-3, "ranking_seconds": n * 7e-3} for n in (10, 30, 300)]


def test_draws_every_row(tmp_path):
    (tmp_path / "training.json").write_text(json.dumps(stamped("training", {"linear": ROWS})))
    assert main([str(tmp_path / "training.json"), "--picture", str(tmp_path / "plot.svg")]) == 0
    drawing = (tmp_path / "plot.svg").read_text()
    assert drawing.count("<use ") >= 2 * len(ROWS)


@pytest.mark.parametrize("content", ["{}", "no json"])
def test_a_wrong_file_is_one_line(tmp_path, capsys, content):
    (tmp_path / "bad.json").write_text(content)
    assert main([str(tmp_path / "bad.json")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "bad.png").exists()
