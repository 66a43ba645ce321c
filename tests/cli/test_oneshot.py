"""`compress --sparsity --calibration`: a dense model, a file of texts, no training."""

import json

import numpy as np
import pytest
import tiny_berts
import torch
import transformers

from platon_compress.cli import main
from platon_compress.files import read_json


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a dense classifier (`model`), texts.txt, and rows with its own answers as labels (rows.csv)."""
    folder = tmp_path_factory.mktemp("place")
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    kind = "BertForSequenceClassification"
    tiny_berts.saved_bert(folder / "model", kind, spread=0.3, **names)
    texts = tiny_berts.letter_texts(80)
    (folder / "texts.txt").write_text("\n\n".join(tiny_berts.letter_texts(60, seed=1)) + "\n")
    tokenizer = tiny_berts.letter_tokenizer(folder / "words")
    model = getattr(transformers, kind).from_pretrained(folder / "model").eval()
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    logits -= logits.median(0).values
    rows = [f"{text},{names['id2label'][int(row.argmax())]}" for text, row in zip(texts, logits, strict=True)]
    (folder / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def compress(place, output, *more):
    given = [str(place / "model"), "--sparsity", "0.5", "--calibration", str(place / "texts.txt")]
    return ["compress", *given, "--runs", "5", "--threads", "1", "--no-calibrate", "-o", str(output), *more]


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "run"
    assert main(compress(place, output, "--data", str(place / "rows.csv"))) == 0
    return output


def test_half_of_the_weights_are_gone_and_the_rest_was_changed(place, finished):
    before = transformers.AutoModelForSequenceClassification.from_pretrained(place / "model").state_dict()
    after = transformers.AutoModelForSequenceClassification.from_pretrained(finished / "model").state_dict()
    name = "bert.encoder.layer.0.output.dense.weight"
    kept = after[name] != 0
    assert int(kept.sum()) == kept.numel() // 2
    assert not torch.equal(before[name][kept], after[name][kept])
    assert torch.equal(before["classifier.weight"], after["classifier.weight"])
    assert read_json(finished / "model" / "bake.json", "")["sparsity"] == pytest.approx(0.5)


def test_dense_is_the_model_that_was_given(place, finished):
    scores = read_json(finished / "parity.json", "")["scores"]
    assert scores["dense"]["values"]["accuracy"] > scores["onnx_compressed"]["values"]["accuracy"] - 1e-9
    state = read_json(finished / "state.json", "")["stages"]
    assert state["data"]["result"]["values"]["accuracy"] == scores["dense"]["values"]["accuracy"]
    oneshot = state["prune"]["result"]["oneshot"]
    assert (oneshot["method"], oneshot["sparsity"], oneshot["examples"]) == ("sparsegpt", 0.5, 60)
    assert len(oneshot["layers"]) == 12
    report = (finished / "report.md").read_text()
    assert "pruned without training (SparseGPT) and compressed for ONNX Runtime" in report
    assert "--sparsity 0.5 --calibration FILE" in report
    assert "No dense model was given" not in report
    assert f"against {scores['dense']['values']['accuracy']:.1%} for dense" in report


def test_what_is_done_is_not_done_again(place, finished, capsys):
    again = compress(place, finished, "--data", str(place / "rows.csv"))
    assert main([*again, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"]["prune"]["oneshot"]["examples"] == 60
    assert main(compress(place, finished, "--data", str(place / "rows.csv"), "--method", "wanda")) == 2
    said = capsys.readouterr().err
    assert "oneshot.method was not set, now 'wanda'" in said


@pytest.mark.slow
def test_random_inputs_where_there_is_nothing_to_judge_by(place, tmp_path, capsys):
    assert main(compress(place, tmp_path / "run", "--method", "magnitude")) == 0
    assert "parity on random inputs, no task metric" in capsys.readouterr().out
    assert read_json(tmp_path / "run" / "parity.json", "")["inputs"] == "random inputs"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--sparsity", "0.5"), "data.calibration (--calibration of compress) is not given"),
        (("--calibration", "texts.txt"), "give oneshot.sparsity (--sparsity of compress) too"),
        (("--method", "wanda"), "--method says how --sparsity prunes, which is not given"),
        (("--sparsity", "0.5", "--calibration", "none.txt"), "--calibration 'none.txt' does not exist"),
        (("--sparsity", "0.5", "--calibration", "empty.txt"), "the calibration data holds no rows"),
        (("--sparsity", "0.5", "--calibration", "bytes.txt"), "'bytes.txt' is no UTF-8 text"),
        (("--sparsity", "0.5", "--calibration", "texts.xml"), "none of .csv .tsv .json .jsonl .parquet .txt"),
        (
            ("--sparsity", "0.5", "--calibration", "rows.csv", "--text", "t"),
            "has no such column; its columns: text",
        ),
        (("--sparsity", "1.5", "--calibration", "texts.txt"), "a number from 0.01 to 0.9999"),
        (
            ("--sparsity", "0.5", "--calibration", "texts.txt", "--method", "x"),
            "choose one of sparsegpt, wanda",
        ),
    ],
)
def test_one_line_and_nothing_written(place, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(place)
    (place / "empty.txt").write_text("\n \n")
    (place / "bytes.txt").write_bytes(np.arange(128, 256, dtype=np.uint8).tobytes())
    (place / "texts.xml").write_text("<a/>")
    assert main(["compress", "model", "-o", str(tmp_path / "run"), *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert message in said[0]
    assert not (tmp_path / "run" / "stages" / "prune").exists()
