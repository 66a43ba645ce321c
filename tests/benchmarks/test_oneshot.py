"""The study of pruning without training on a tiny classifier; what it measures is only checked against itself."""

import json

import oneshot
import pytest
import tiny_berts
from tables.oneshot import oneshot_table


@pytest.fixture
def flags(tmp_path):
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    tiny_berts.saved_bert(tmp_path / "model", "BertForSequenceClassification", spread=0.3, **names)
    texts = tiny_berts.letter_texts(64)
    rows = [f"{text},{'yes' if 'a' in text else 'no'}" for text in texts]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    given = {"model": "model", "data": "rows.csv", "calibration": "texts.txt"}
    paths = [part for name, file in given.items() for part in (f"--{name}", str(tmp_path / file))]
    return [*paths, "--task", "text-classification", "--title", "Tiny on letters", "-o", str(tmp_path)]


def test_every_method_on_the_same_rows(flags, tmp_path, capsys):
    assert oneshot.main([*flags, "--sparsity", "0.5", "--rows", "20"]) == 0
    result = json.loads((tmp_path / "oneshot-tiny-on-letters.json").read_text())
    assert [row["method"] for row in result["rows"]] == ["sparsegpt", "wanda", "magnitude"]
    assert result["calibration_rows"] == 20
    for row in result["rows"]:
        change = row["difference"]
        assert change["paired"]
        assert row["value"] - result["dense"]["value"] == pytest.approx(change["value"])
        assert change["low"] <= change["value"] <= change["high"]
    table = oneshot_table({"a": result, "b": {"kind": "sizes"}})
    assert next(cells[:4] for cells in table.rows) == ("Tiny on letters", "accuracy", "50%", "sparsegpt")
    assert "magnitude, 50%: " in capsys.readouterr().out


def test_a_file_that_is_not_there(flags, tmp_path, capsys):
    flags[flags.index("--calibration") + 1] = str(tmp_path / "none.txt")
    assert oneshot.main(flags) == 2
    assert "does not exist" in capsys.readouterr().err
