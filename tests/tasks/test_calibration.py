"""Inputs for pruning without training, as every task reads them, without labels."""

import numpy as np
import pytest
import tiny_berts
import torch
from task_data import WORDS, write_tasks

from platon_compress.oneshot import OneShotConfig, prune_once
from platon_compress.recipe import DataSection
from platon_compress.tasks.calibration import calibration_batches
from platon_compress.tasks.models import load_checkpoint


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_tasks(folder)
    (folder / "lines.txt").write_text(
        "\n".join(["the film was good", "", "  bad film "] * 9), encoding="utf-8"
    )
    pictures = np.random.default_rng(0).integers(0, 255, (9, 16, 16, 3), dtype=np.uint8)
    np.savez(folder / "pictures.npz", x_train=pictures)
    return folder


@pytest.fixture(scope="module")
def checkpoint(files):
    """checkpoint(task) -> a finished tiny model of that task with its tokenizer."""

    def of(task):
        if task == "image-classification":
            return load_checkpoint(str(files / "tiny-vit"), task, head={"num_labels": 2})
        kind, settings = {
            "token-classification": ("BertForTokenClassification", {}),
            "question-answering": ("BertForQuestionAnswering", {}),
            "text-ranking": ("BertForSequenceClassification", {"num_labels": 1}),
            "sentence-similarity": ("BertModel", {}),
            "feature-extraction": ("BertModel", {}),
        }.get(task, ("BertForSequenceClassification", {}))
        folder = files / task
        tiny_berts.letter_tokenizer(folder, [*tiny_berts.LETTERS, *WORDS]).save_pretrained(folder)
        tiny_berts.tiny_bert(kind, vocab_size=64, **settings).save_pretrained(folder)
        return load_checkpoint(str(folder), task)

    return of


@pytest.mark.parametrize(
    ("task", "data", "rows"),
    [
        ("text-classification", {"calibration": "lines.txt"}, 18),
        ("text-classification", {"calibration": "texts.csv"}, 40),
        ("text-classification", {"calibration": "scored-pairs.csv", "text_pair": "text_pair"}, 40),
        ("text-classification", {"calibration": "numbers.csv", "problem": "regression"}, 40),
        ("token-classification", {"calibration": "train.conll"}, 40),
        ("question-answering", {"calibration": "train.json"}, 40),
        ("sentence-similarity", {"calibration": "lines.txt"}, 18),
        ("text-ranking", {"calibration": "queries.tsv"}, 26),  # whole queries
        ("feature-extraction", {"calibration": "lines.txt"}, 18),
        ("image-classification", {"calibration": "photos/train"}, 40),
        ("image-classification", {"calibration": "photos/train/cats"}, 36),
        ("image-classification", {"calibration": "pictures.npz"}, 9),
    ],
)
def test_every_task_reads_its_files(files, checkpoint, task, data, rows):
    model = checkpoint(task)
    section = DataSection(**{**data, "calibration": str(files / data["calibration"])})
    batches = calibration_batches(model, task, section, 40, 1)
    counts = [len(next(iter(batch.values()))) for batch in batches]
    assert sum(counts) == rows
    assert max(counts) == 8
    assert not any("labels" in batch for batch in batches)
    again = calibration_batches(model, task, section, 40, 1)
    assert all(
        (one[name] == two[name]).all() for one, two in zip(batches, again, strict=True) for name in one
    )
    result = prune_once(model.model, batches, OneShotConfig(sparsity=0.5))
    assert result.examples == rows
    assert all(torch.isfinite(parameter).all() for parameter in model.model.parameters())


def test_lines_are_texts_without_what_stands_around_them(files, checkpoint):
    model = checkpoint("text-classification")
    batches = calibration_batches(
        model, "text-classification", DataSection(calibration=str(files / "lines.txt")), 2, 0
    )
    said = model.processor.batch_decode(batches[0]["input_ids"], skip_special_tokens=True)
    assert set(said) <= {"the film was good", "bad film"}
