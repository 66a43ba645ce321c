import json

import numpy as np
import pytest
import torch
from exported_models import CORPUS
from transformers import pipeline

from platon_compress.errors import InputError
from platon_compress.runtime import load

TEXTS = [*CORPUS, "short", "Berlin?", " ".join(CORPUS), ""]
PAIRS = [(a, b) for a in ("who flew?", " ".join(CORPUS), "beans") for b in TEXTS[:5]]
THREE = ("good", "bad", "neither")


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_texts_get_the_pipelines_labels_and_scores(exported, family, batch_size):
    model, tokenizer, folder = exported(family, "text", labels=THREE)
    found = load(folder, threads=1).predict(TEXTS, batch_size=batch_size)
    expected = pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True)(TEXTS)
    assert found.labels == [row["label"] for row in expected]
    assert len(set(found.labels)) > 1
    assert np.allclose(found.scores, [row["score"] for row in expected], atol=1e-5)
    assert np.allclose(found.probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_pairs_are_cut_and_marked_as_the_tokenizer_does(exported, family):
    model, tokenizer, folder = exported(family, "text", labels=THREE)
    found = load(folder, threads=1).predict(PAIRS)
    first, second = zip(*PAIRS, strict=True)
    batch = tokenizer(list(first), list(second), padding=True, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == tokenizer.model_max_length
    with torch.inference_mode():
        expected = model(**batch).logits.numpy()
    assert np.abs(found.logits - expected).max() < 1e-4


def test_many_workers_give_the_same_numbers(exported):
    folder = exported("bert", "text", labels=THREE)[2]
    one, four = (load(folder, workers=workers).predict(TEXTS * 8, batch_size=2) for workers in (1, 4))
    assert np.abs(one.logits - four.logits).max() < 1e-5


def test_a_file_without_padding_gives_the_same_numbers(exported):
    model, tokenizer, folder = exported("bert", "text", unpad=True, labels=THREE)
    found = load(folder, threads=1).predict(TEXTS)
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        assert np.abs(found.logits - model(**batch).logits.numpy()).max() < 1e-4


def test_progress_counts_inputs(exported):
    seen = []
    load(exported("bert", "text", labels=THREE)[2]).predict(
        TEXTS, batch_size=3, progress=lambda done, total, status="": seen.append((done, total))
    )
    assert seen == [(3, 8), (6, 8), (8, 8)]


def test_thousands_of_texts_are_taken_some_at_a_time(exported, monkeypatch):
    from platon_compress.runtime import texts

    runner, seen = load(exported("bert", "text", labels=THREE)[2], threads=1), []
    whole = runner.predict(TEXTS)
    monkeypatch.setattr(texts, "_SLAB", 3)
    found = runner.predict(
        TEXTS, progress=lambda done, total, status="": seen.append((done, total)), batch_size=2
    )
    assert np.abs(found.logits - whole.logits).max() < 1e-5
    assert seen == [(2, 8), (3, 8), (5, 8), (6, 8), (8, 8)]


def test_nothing_in_nothing_out(exported):
    found = load(exported("bert", "text", labels=THREE)[2]).predict([])
    assert found.logits.shape == (0, 3)
    assert (found.labels, found.names) == ([], THREE)


def test_several_labels_at_once(exported):
    model, tokenizer, folder = exported(
        "bert", "text", labels=THREE, problem_type="multi_label_classification"
    )
    found = load(folder).predict(TEXTS)
    expected = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, truncation=True)(
        TEXTS
    )
    assert found.above(0.5) == [
        tuple(n for n in THREE if {r["label"]: r["score"] for r in rows}[n] > 0.5) for rows in expected
    ]
    assert len({len(names) for names in found.above(0.5)}) > 1


@pytest.mark.parametrize(("problem", "kind"), [(None, "sigmoid"), ("regression", "none")])
def test_one_output_is_a_score(exported, problem, kind):
    settings = {} if problem is None else {"problem_type": problem}
    model, tokenizer, folder = exported("bert", "text", labels=("score",), **settings)
    found = load(folder).predict(TEXTS)
    assert found.activation == kind
    expected = pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True)(TEXTS)
    assert np.allclose(found.scores, [row["score"] for row in expected], atol=1e-4)


@pytest.mark.parametrize("activation", ["Sigmoid", "Identity"])
def test_a_cross_encoder_scores_as_sentence_transformers(exported, tmp_path, activation):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model, tokenizer, folder = exported("bert", "text", labels=("score",))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    theirs = sentence_transformers.CrossEncoder(str(tmp_path), activation_fn=getattr(torch.nn, activation)())
    theirs.save_pretrained(str(tmp_path / "saved"))
    (tmp_path / "saved" / "model.onnx").write_bytes((folder / "compressed.onnx").read_bytes())
    runner = load(tmp_path / "saved")
    found = runner.predict(PAIRS)
    assert np.allclose(found.scores, theirs.predict([list(pair) for pair in PAIRS]), atol=1e-4)
    assert found.activation == {"Sigmoid": "sigmoid", "Identity": "none"}[activation]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("one text", r"give a list of texts or of pairs, got a str; write \[text\]"),
        ([("a", "b", "c")], "entry 0 is neither a text nor a pair of texts"),
        (["fine", None], "entry 1 is neither a text nor a pair of texts: 'None'"),
    ],
)
def test_other_inputs_are_refused(exported, inputs, message):
    with pytest.raises(InputError, match=message):
        load(exported("bert", "text", labels=THREE)[2]).predict(inputs)


@pytest.mark.parametrize("size", [0, True, 2.0])
def test_a_batch_size_that_is_none(exported, size):
    with pytest.raises(InputError, match=r"batch_size is .*; give a whole number from 1"):
        load(exported("bert", "text", labels=THREE)[2]).predict(TEXTS, batch_size=size)


def test_labels_that_do_not_fit_the_file(exported, tmp_path):
    folder = exported("bert", "text", labels=THREE)[2]
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"].pop("2")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"names 2 labels \(0\.\.\.\), compressed\.onnx has 3 outputs"):
        load(tmp_path).predict(TEXTS)
