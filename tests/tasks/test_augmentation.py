"""Pictures while training: what is done to them, that nothing else sees it, that a resumed training goes on with them."""

import pytest
import torch
import torch.nn.functional as F
import yaml
from killed_training import assert_goes_on

from platon_compress.errors import InputError
from platon_compress.recipe import load_recipe, parse_recipe
from platon_compress.recipe.loading import shipped_recipe
from platon_compress.tasks.augmentation import Augmenter, shifted
from platon_compress.testing import tiny_recipe


def _pictures(count=16, channels=3, height=16, width=24):
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def _shown(kinds, step=3, seed=1, process=0):
    return Augmenter(kinds, seed, process)({"pixel_values": _pictures()}, step)["pixel_values"]


def test_a_shifted_picture_is_a_crop_of_the_padded_one():
    pixels, shifts = _pictures(3), torch.tensor([[2, -3], [0, 0], [-2, 1]])
    flips = torch.tensor([False, True, True])
    padded = F.pad(pixels, (3, 3, 2, 2), mode="reflect")
    for place, (down, right) in enumerate(shifts.tolist()):
        crop = padded[place, :, 2 + down : 18 + down, 3 + right : 27 + right]
        expected = crop.flip(-1) if flips[place] else crop
        assert torch.equal(shifted(pixels, shifts, flips)[place], expected)


def test_no_shift_is_the_picture_itself():
    pixels = _pictures(2, height=5, width=7)  # an eighth of it is less than a pixel
    shown = Augmenter(("crop",), 1)({"pixel_values": pixels, "labels": 5}, 0)
    assert torch.equal(shown["pixel_values"], pixels)
    assert shown["labels"] == 5


def test_flip_mirrors_some_pictures_and_moves_none():
    pixels, shown = _pictures(), _shown(("flip",))
    mirrored = [torch.equal(after, before.flip(-1)) for before, after in zip(pixels, shown, strict=True)]
    same = [torch.equal(after, before) for before, after in zip(pixels, shown, strict=True)]
    assert any(mirrored)
    assert any(same)
    assert all(one != other for one, other in zip(mirrored, same, strict=True))


def test_crop_mirrors_none_and_flip_does_not_change_where_it_moves_them():
    moved, both = _shown(("crop",)), _shown(("flip", "crop"))
    pixels = F.pad(_pictures(), (3, 3, 2, 2), mode="reflect")
    windows = pixels.unfold(2, 16, 1).unfold(3, 24, 1).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    assert all(
        any(torch.equal(one, window) for window in row) for one, row in zip(moved, windows, strict=True)
    )
    # What is mirrored was cut out at the same place, of the picture that was mirrored at that border.
    assert all(
        torch.equal(one, other) or torch.equal(one.flip(-1), other)
        for one, other in zip(moved, both, strict=True)
    )


def test_what_is_shown_depends_on_seed_step_batch_and_process_alone():
    kinds = ("flip", "crop")
    assert torch.equal(_shown(kinds), _shown(kinds))
    others = [_shown(kinds, step=4), _shown(kinds, seed=2), _shown(kinds, process=1)]
    assert all(not torch.equal(_shown(kinds), other) for other in others)
    accumulating = Augmenter(kinds, 1)
    first, second = (accumulating({"pixel_values": _pictures()}, 3)["pixel_values"] for _ in range(2))
    assert torch.equal(first, _shown(kinds))
    assert not torch.equal(second, first)
    assert torch.equal(accumulating({"pixel_values": _pictures()}, 4)["pixel_values"], _shown(kinds, step=4))


def test_the_demo_mirrors_no_digit():
    assert load_recipe(shipped_recipe("digits")).train.augment == ()


def test_texts_cannot_be_mirrored():
    raw = {
        "model": {"name": "some/model", "task": "text-classification"},
        "data": {"train": "a.tsv", "validation": "b.tsv"},
        "prune": {"sparsity": 0.9},
        "train": {"augment": "flip"},
    }
    with pytest.raises(
        InputError,
        match=r"train\.augment is for pictures, and model\.task is text-classification; leave it out",
    ):
        parse_recipe(raw, "recipe")
    raw["train"] = {"augment": ["rotate"]}
    with pytest.raises(InputError, match=r"train\.augment\.0 is 'rotate'; choose one of flip, crop"):
        parse_recipe(raw, "recipe")


def _recipe(path, **train):
    recipe = tiny_recipe(
        data={"train_rows": 128},
        train={"epochs": 2, "evaluations": 4, "augment": ["crop"], **train},
        distill={"weight": 0.5},
    )
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """By part, the pictures of every batch of a tiny run: `student` and `teacher` while training, `judged` otherwise."""
    from platon_compress.pipeline.reporter import Reporter
    from platon_compress.pipeline.runner import run_recipe
    from platon_compress.tasks.distillation import Teacher
    from platon_compress.tasks.image_classification import ImageClassification

    seen = {"student": [], "teacher": [], "judged": []}
    forward, answer = ImageClassification.forward, Teacher.answer

    def watched(self, model, inputs, **options):
        if model.training:
            seen["student"].append(inputs["pixel_values"].clone())
        return forward(self, model, inputs, **options)

    def answered(self, inputs):
        seen["teacher"].append(inputs["pixel_values"].clone())
        return answer(self, inputs)

    monkeypatch.setattr(ImageClassification, "forward", watched)
    monkeypatch.setattr(Teacher, "answer", answered)
    recipe = load_recipe(_recipe(tmp_path / "recipe.yaml"))
    run_recipe(recipe, tmp_path / "run", Reporter(quiet=True), until="prune")
    return seen


def test_student_and_teacher_see_the_same_pictures_and_so_does_the_dense_training(seen):
    dense, pruned = seen["student"][:8], seen["student"][8:]
    assert len(dense) == len(pruned) == len(seen["teacher"]) == 8
    for one, other, taught in zip(dense, pruned, seen["teacher"], strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, taught)
    # Two passes over the same rows, and no picture that moved is seen twice.
    first, second = (torch.cat(dense[part]).flatten(1) for part in (slice(0, 4), slice(4, 8)))
    again = (first[:, None] == second[None]).all(-1).any(1).float().mean()
    assert again < 0.5


@pytest.mark.train
def test_a_run_killed_in_training_goes_on_with_the_same_pictures(tmp_path):
    """8 steps of two batches, a checkpoint every other step; killed behind the seventh."""
    recipe = _recipe(tmp_path / "recipe.yaml", batch_size=16, gradient_accumulation_steps=2)
    assert_goes_on(recipe, tmp_path, step=7)
