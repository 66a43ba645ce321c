"""Batches of texts of one length: every row once, what is padded, other batches in every epoch, a resumed training."""

import itertools
import random

import pytest
import yaml
from killed_training import assert_goes_on
from tiny_berts import letter_texts, saved_bert, tiny_text_recipe

from platon_compress.errors import InputError
from platon_compress.recipe import parse_recipe
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.grouping import LengthSampler, padded_share

LENGTHS = random.Random(0).choices(range(1, 61), k=1003)


def _batches(epoch=0, seed=1, size=8, lengths=LENGTHS):
    order = list(LengthSampler(lengths, size, seed, lambda: epoch))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _computed(batches):
    """Tokens, with what is padded."""
    return sum(len(batch) * max(LENGTHS[row] for row in batch) for batch in batches)


def test_every_row_comes_once_and_hardly_anything_is_padded():
    batches = _batches()
    assert sorted(row for batch in batches for row in batch) == list(range(1003))
    assert [len(batch) for batch in batches] == [8] * 125 + [3]
    shuffled = random.Random(1).sample(range(1003), 1003)
    as_they_come = _computed([shuffled[start : start + 8] for start in range(0, 1003, 8)])
    assert _computed(batches) < 1.05 * sum(LENGTHS)
    assert as_they_come > 1.5 * sum(LENGTHS)


def test_long_texts_come_at_any_time():
    means = [sum(LENGTHS[row] for row in batch) / len(batch) for batch in _batches()]
    rises = sum(after > before for before, after in itertools.pairwise(means))
    assert 40 < rises < 85
    thirds = [sum(means[start : start + 41]) / 41 for start in (0, 41, 82)]
    assert max(thirds) - min(thirds) < 12


def test_the_order_is_of_the_seed_and_the_epoch():
    assert _batches(epoch=2, seed=3) == _batches(epoch=2, seed=3)
    together = {frozenset(batch) for batch in _batches()}
    for other in (_batches(epoch=1), _batches(seed=5)):
        assert len(together & {frozenset(batch) for batch in other}) < 5


def test_the_share_of_padding_is_that_of_random_batches():
    shuffled = random.Random(1).sample(range(1003), 1003)
    as_they_come = _computed([shuffled[start : start + 8] for start in range(0, 1003, 8)])
    assert padded_share(LENGTHS, 8) == pytest.approx(1 - sum(LENGTHS) / as_they_come, abs=0.02)
    assert padded_share([7] * 30, 8) == 0


@pytest.mark.parametrize("rows", [1, 7, 8])
def test_few_rows_come_too(rows):
    assert sorted(LengthSampler(LENGTHS[:rows], 8, 0, lambda: 0)) == list(range(rows))


def test_of_several_texts_the_longest_counts():
    assert Examples([{"input_ids": [1, 2, 3]}, {"input_ids": [4]}], ()).lengths == [3, 1]
    assert Examples([{"texts": ({"input_ids": [1]}, {"input_ids": [1, 2]})}], ()).lengths == [2]
    assert Examples([{"pixel_values": [1]}], ()).lengths is None


def test_pictures_have_no_length():
    raw = {
        "model": {"name": "some/model", "task": "image-classification"},
        "data": {"train": "a", "validation": "b"},
        "prune": {"sparsity": 0.9},
        "train": {"group_by_length": True},
    }
    with pytest.raises(
        InputError, match=r"train\.group_by_length is for texts, and model\.task is image-classification"
    ):
        parse_recipe(raw, "recipe")


def _recipe(folder, **train):
    """108 texts of 1 to 20 letters: two epochs of 7 steps with 16 rows each."""
    rows = random.Random(0)
    lines = ["text\tlabel"]
    for text in letter_texts(108):
        words = (text.split() * 20)[: rows.randint(1, 20)]
        lines.append(f"{' '.join(words)}\t{int('a' in words)}")
    folder.mkdir(exist_ok=True)
    for name in ("train", "validation"):
        (folder / f"{name}.tsv").write_text("\n".join(lines))
    data = {"train": str(folder / "train.tsv"), "validation": str(folder / "validation.tsv"), "text": "text"}
    raw = tiny_text_recipe(saved_bert(folder / "model", dropout=0.1), "text-classification", data)
    raw["train"] |= {"group_by_length": True, "evaluations": 7, **train}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture
def widths(tmp_path, monkeypatch):
    """Tokens of every batch of the dense and of the pruned training, in order, padding and all."""
    from platon_compress.pipeline.reporter import Reporter
    from platon_compress.pipeline.runner import run_recipe
    from platon_compress.recipe import load_recipe
    from platon_compress.tasks.text_classification import TextClassification

    seen, forward = [], TextClassification.forward

    def watched(self, model, inputs, **options):
        if model.training:
            seen.append(tuple(inputs["input_ids"].shape))
        return forward(self, model, inputs, **options)

    monkeypatch.setattr(TextClassification, "forward", watched)
    run_recipe(load_recipe(_recipe(tmp_path)), tmp_path / "run", Reporter(quiet=True), until="prune")
    return seen


def test_both_trainings_meet_the_same_batches(widths):
    assert len(widths) == 2 * 14
    assert widths[:14] == widths[14:]
    assert widths[:7] != widths[7:14], "the second epoch has batches of its own"
    assert [rows for rows, _ in widths[:14]] == [16, 16, 16, 16, 16, 16, 12] * 2
    # 20 letters and two marks are the longest text; sorted into six batches each has a length of its own
    assert len({tokens for _, tokens in widths[:6]}) > 3


def test_a_run_says_where_much_is_padded(tmp_path, capsys):
    from platon_compress.cli import main

    said = "of what a step computes is padding: --set train.group_by_length=true avoids most of it"
    for grouped in (False, True):
        recipe = _recipe(tmp_path, group_by_length=grouped)
        assert main(["run", str(recipe), "-o", str(tmp_path / "run"), "--dry-run"]) == 0
        assert (said in " ".join(capsys.readouterr().out.split())) != grouped


@pytest.mark.train
@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_killed_training_goes_on_with_the_same_batches(accumulated, tmp_path):
    """Killed in the second epoch, of 7 or of 4 steps, behind a checkpoint in its middle."""
    recipe = _recipe(tmp_path, gradient_accumulation_steps=accumulated, evaluations=14 // accumulated)
    assert_goes_on(recipe, tmp_path, step=11 if accumulated == 1 else 6)
