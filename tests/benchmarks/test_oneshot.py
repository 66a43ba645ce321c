"""The study of pruning without training, on a tiny model that puts a number to a text."""

import json

import oneshot
import pytest
import tiny_berts
from tables.oneshot import oneshot_table


@pytest.fixture
def flags(tmp_path):
    one = {"num_labels": 1, "problem_type": "regression"}
    tiny_berts.saved_bert(tmp_path / "model", "BertForSequenceClassification", spread=0.3, **one)
    texts = tiny_berts.letter_texts(64)
    rows = [f"{text},{text.count('a')}" for text in texts]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    given = {"model": "model", "data": "rows.csv", "calibration": "texts.txt"}
    paths = [part for name, file in given.items() for part in (f"--{name}", str(tmp_path / file))]
    task = ["--task", "text-classification", "--problem", "regression"]
    return [*paths, *task, "--title", "Tiny on letters", "-o", str(tmp_path)]


def test_every_method_on_the_same_rows(flags, tmp_path, capsys):
    assert oneshot.main([*flags, "--sparsity", "0.5,0.9", "--rows", "20"]) == 0
    result = json.loads((tmp_path / "oneshot.json").read_text())
    methods = ["sparsegpt", "wanda", "magnitude"]
    assert [(row["sparsity"], row["method"]) for row in result["rows"]] == [
        (sparsity, method) for sparsity in (0.5, 0.9) for method in methods
    ]
    assert result["calibration_rows"] == 20
    for row in result["rows"]:
        change = row["difference"]
        assert change["paired"]
        assert row["value"] - result["dense"]["value"] == pytest.approx(change["value"])
        assert change["low"] <= change["value"] <= change["high"]
    assert len({row["value"] for row in result["rows"]}) == 6
    errors = [row["mean_layer_error"] for row in result["rows"]]
    assert errors[0] < errors[1] < errors[2]
    assert all(half < most for half, most in zip(errors[:3], errors[3:], strict=True))
    table = oneshot_table({"a": result, "b": {"kind": "sizes"}})
    assert next(cells[:4] for cells in table.rows) == (
        "Tiny on letters", "Spearman correlation", "50%", "sparsegpt"
    )  # fmt: skip
    assert "magnitude, 50%: " in capsys.readouterr().out


def test_a_file_that_is_not_there(flags, tmp_path, capsys):
    flags[flags.index("--calibration") + 1] = str(tmp_path / "none.txt")
    assert oneshot.main(flags) == 2
    assert "does not exist" in capsys.readouterr().err
