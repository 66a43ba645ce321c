"""Training on a machine that has no room, and going on from a checkpoint."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.scoring import Evaluation
from platon_compress.tasks.image_classification import ImageClassification
from platon_compress.tasks.trainer import TaskTrainer
from platon_compress.tasks.training import room_to_save
from platon_compress.testing import tiny_transformer


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
def test_a_full_disk_is_no_bug(tmp_path):
    with (
        pytest.raises(InputError, match=r"could not be written below .*; free some space there"),
        room_to_save(tmp_path),
    ):
        torch.save(torch.zeros(1_000_000), "/dev/full")


def test_other_errors_pass(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), room_to_save(tmp_path):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize("family", ["bert", "deit", "dinov2", "distilbert", "vit"])
def test_all_weights_come_back_from_a_checkpoint(family, tmp_path):
    """Whatever names transformers saves them under."""
    model, _ = tiny_transformer(family)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    trained, resumed = (
        TaskTrainer(
            task=ImageClassification(DataSection()), teacher=None, evaluation=Evaluation(batches=()), model=each,
            args=arguments,
        )
        for each in (model, fresh)
    )  # fmt: skip
    trained.save_model(str(tmp_path / "checkpoint-1"))
    resumed._load_from_checkpoint(str(tmp_path / "checkpoint-1"))
    wanted = model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in fresh.state_dict().items())
