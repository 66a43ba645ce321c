"""Published data sets become the files that the grid of tasks reads."""

import io
import json

import numpy as np
import prepare_data
import pytest
import torch
from PIL import Image
from prepare_data import decoded, main, ranked, sentences_of, shrunk_positions, topics
from safetensors.numpy import load_file
from transformers import Dinov2Config, Dinov2ForImageClassification

from platon_compress.recipe import DataSection
from platon_compress.tasks.data.tables import read_split
from platon_compress.tasks.models import load_checkpoint

SPLITS = ("train", "validation", "test")
CONTEXT = 'One fell. "Two" rose (in 1990).  Three sat still! four? Five.'


def _jpeg(shade):
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), shade, dtype=np.uint8)).save(file, "JPEG")
    return np.frombuffer(file.getvalue(), dtype=np.uint8)


def _pictures(split, shades):
    files = [_jpeg(shade) for shade in shades]
    return {
        f"{split}_bytes": np.concatenate(files),
        f"{split}_off": np.cumsum([0, *map(len, files)]),
        f"y_{split}": np.arange(len(files)) % 2,
    }


def _articles(count):
    asked = {"question": " Who rose? ", "answers": [{"text": "rose", "answer_start": 16}]}
    paragraphs = [{"context": CONTEXT, "qas": [{"id": f"q{n}", **asked}]} for n in range(count)]
    data = [{"title": str(n), "paragraphs": [paragraph]} for n, paragraph in enumerate(paragraphs)]
    return {"version": "1.1", "data": data}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    for name in ("cifar10", "squad", "stsb", "sst2"):
        (folder / name).mkdir()
    shades = np.linspace(0, 255, 1004).astype(int)
    archive = {**_pictures("train", shades), **_pictures("test", range(0, 251, 50))}
    np.savez(folder / "cifar10" / "cifar10.npz", **archive)
    for split, count in (("train", 6), ("dev", 2)):
        (folder / "squad" / f"{split}.json").write_text(json.dumps(_articles(count)))
    for split, count in (("train", 760), ("dev", 5)):
        lines = [f'{n}\tA "{split}" {n}\tB {n}\t{n % 6}' for n in range(count)]
        text = "\n".join(["index\tsentence1\tsentence2\tscore", *lines, ""])
        (folder / "stsb" / f"{split}.tsv").write_text(text)
    texts = ["fine film \t1", "B 3\t0", "a fine film\t1", 'say "no" to it\t0', "film\t1"]
    (folder / "sst2" / "train.tsv").write_text("\n".join(["sentence\tlabel", *texts, ""]))
    (folder / "sst2" / "dev.tsv").write_text("sentence\tlabel\nno\t0\n")
    return folder


@pytest.fixture(scope="module")
def made(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_data, "_SST2_PARTS", {"test": 1, "validation": 1})
        assert main([str(published), "-o", str(folder)]) == 0
    return folder


def _rows(folder, task, **more):
    paths = {split: str(next(folder.glob(f"{split}.*"))) for split in SPLITS}
    section = DataSection(**paths, **more)
    return [read_split(section, split, task, 1) for split in paths]


def test_pictures_are_split_once_more_and_read_by_the_product(published, made):
    train, validation, test = _rows(made / "cifar10-split", "image-classification")
    assert list(map(len, (train, validation, test))) == [4, 1000, 6]
    with np.load(published / "cifar10" / "cifar10.npz") as archive:
        whole = decoded(archive, "train")
    assert whole.shape == (1004, 32, 32, 3)
    assert [int(picture.mean().round()) for picture in test.inputs] == [0, 50, 100, 150, 200, 250]
    together = sorted(picture.tobytes() for picture in (*train.inputs, *validation.inputs))
    assert together == sorted(picture.tobytes() for picture in whole)


def test_articles_stay_whole(made):
    train, validation, test = _rows(made / "squad-split", "question-answering")
    assert [sorted(set(rows.groups)) for rows in (train, validation, test)] == [
        ["0", "1"], ["2", "3", "4", "5"], ["0", "1"]
    ]  # fmt: skip


def test_sentences_are_ranked_for_their_question(made):
    _, _, test = _rows(made / "squad-rank", "text-ranking", group="query_id")
    assert test.passages[:4] == ["One fell.", '"Two" rose (in 1990).', "Three sat still! four?", "Five."]
    assert list(test.labels[:4]) == [0, 1, 0, 0]
    assert test.queries[0] == "Who rose?"
    assert all(CONTEXT[first:].startswith(text) for first, text in sentences_of(CONTEXT))


def test_an_answer_over_two_sentences_is_in_both():
    articles = _articles(1)["data"]
    (question,) = articles[0]["paragraphs"][0]["qas"]
    question["answers"] = [{"text": 'fell. "Two"', "answer_start": 4}]
    assert [row["label"] for row in ranked(articles)] == [1, 1, 0, 0]
    articles[0]["paragraphs"][0]["context"] = "One sentence only."
    assert list(ranked(articles)) == []


def test_questions_of_a_paragraph_stay_in_one_split_and_every_article_is_in_each(made):
    first, *_ = (made / "squad-topics" / "train.jsonl").read_text().splitlines()
    assert json.loads(first) == {"text": "Who rose?", "label": "0"}
    paragraphs = [{"qas": [{"question": f"{n} {k}"} for k in "ab"]} for n in range(20)]
    rows = topics({"title": title, "paragraphs": paragraphs} for title in ("one", "two"))
    asked = {split: {(row["label"], row["text"].split()[0]) for row in rows[split]} for split in SPLITS}
    assert [len(rows[split]) for split in SPLITS] == [56, 8, 16]
    assert len(set.union(*asked.values())) == 40
    assert all({title for title, _ in pairs} == {"one", "two"} for pairs in asked.values())


def test_pairs_keep_their_scores_and_sentences_have_none(made):
    train, validation, test = _rows(made / "stsb-split", "sentence-similarity")
    assert list(map(len, (train, validation, test))) == [11, 749, 5]
    assert test.texts[1] == ('A "dev" 1', "B 1")
    assert list(test.scores) == [0, 1, 2, 3, 4]
    held = {text for row in validation.texts for text in row}
    lines = (made / "stsb-sentences" / "train.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    phrases = {"fine film", "B 3", "a fine film", 'say "no" to it', "film"}
    assert {text for row in train.texts for text in row} | phrases == set(texts)
    assert held & set(texts) <= {"B 3"}
    assert len(texts) == len(set(texts))


def test_phrases_stay_with_their_sentence(made):
    fine = {"fine film", "a fine film", "film"}
    sides = [
        {
            json.loads(line)["text"]
            for line in (made / "sst2-split" / f"{split}.jsonl").read_text().splitlines()
        }
        for split in ("train", "validation", "test")
    ]
    assert sorted(sides, key=len) == sorted(sides, key=lambda side: fine <= side)
    assert set().union(*sides) == fine | {"B 3", 'say "no" to it'}
    assert (made / "sst2-split" / "dev.jsonl").read_text() == '{"text": "no", "label": 0}\n'


def test_a_vision_model_for_smaller_pictures_answers_as_the_large_one(published, tmp_path):
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2}
    large = Dinov2ForImageClassification(Dinov2Config(image_size=518, patch_size=14, **sizes)).eval()
    large.save_pretrained(tmp_path / "large")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([str(empty), "--model", str(tmp_path / "large"), "-o", str(tmp_path)]) == 0
    small = load_checkpoint(str(tmp_path / "vit-small-112"), "image-classification")
    assert small.model.config.image_size == 112
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pixels = small.processor(picture, return_tensors="pt")["pixel_values"]
    assert tuple(pixels.shape) == (1, 3, 112, 112)
    with torch.no_grad():
        ours, theirs = (model(pixels).logits for model in (small.model, large))
    assert torch.allclose(ours, theirs, atol=1e-5)
    weights = load_file(tmp_path / "large" / "model.safetensors")
    name = next(key for key in weights if key.endswith("position_embeddings"))
    assert shrunk_positions(weights[name], 37) == pytest.approx(weights[name], abs=1e-5)


def test_what_is_no_such_data_is_one_line(tmp_path, capsys):
    (tmp_path / "cifar10").mkdir()
    assert main([str(tmp_path), "-o", str(tmp_path / "to")]) == 2
    assert "holds 0 .npz files; leave one there" in capsys.readouterr().err
