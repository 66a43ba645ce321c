"""A checkpoint counts when every file of it is whole; one damaged file, and the one before is taken."""

import json
import shutil

import pytest
from tiny_trainers import tiny_trainer

from platon_compress.pruning import PlatonCallback, PruneConfig, latest_complete_checkpoint
from platon_compress.pruning.state.completeness import SEAL, SealCallback, is_complete

_FILES = (
    "config.json",
    "model.safetensors",
    "optimizer.pt",
    "pruner.safetensors",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
)
_DAMAGE = {
    "deleted": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\x07" * path.stat().st_size),
}


def _train(folder, *, prunes, **settings):
    trainer = tiny_trainer(
        folder, max_steps=6, save_strategy="steps", save_steps=2, logging_strategy="no",
        callbacks=[] if prunes else [SealCallback()], **settings,
    )  # fmt: skip
    if prunes:
        PlatonCallback(PruneConfig(sparsity=0.5, mask_interval=1)).attach(trainer)
    trainer.train()
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return _train(tmp_path_factory.mktemp("trained"), prunes=True)


@pytest.fixture
def folder(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def test_whole_checkpoints_are_sealed(trained):
    for step in (2, 4, 6):
        listed = json.loads((trained / f"checkpoint-{step}" / SEAL).read_text())
        assert set(_FILES) <= listed.keys()
        assert is_complete(trained / f"checkpoint-{step}")
    assert latest_complete_checkpoint(trained).name == "checkpoint-6"


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("damage", _DAMAGE)
@pytest.mark.parametrize("name", _FILES)
def test_one_damaged_file_and_the_one_before_is_taken(folder, name, damage, sealed):
    last = folder / "checkpoint-6"
    if not sealed:
        (last / SEAL).unlink()
    _DAMAGE[damage](last / name)
    found = latest_complete_checkpoint(folder).name
    # Without a seal nobody knows that there was a config.json, or what a safetensors file of the right size held.
    unknown = name == "config.json" and damage == "deleted"
    assert found == ("checkpoint-6" if unknown and not sealed else "checkpoint-4")


def test_a_flipped_bit_is_seen_by_the_seal(folder):
    path = folder / "checkpoint-6" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert latest_complete_checkpoint(folder).name == "checkpoint-4"


@pytest.mark.parametrize("content", ["{", "[]", '{"model.safetensors": 3}', '{"model.safetensors": []}'])
def test_a_damaged_seal_is_no_seal(folder, content):
    (folder / "checkpoint-6" / SEAL).write_text(content)
    assert latest_complete_checkpoint(folder).name == "checkpoint-4"


def test_shards_that_an_index_names_must_be_there(folder):
    last = folder / "checkpoint-6"
    (last / SEAL).unlink()
    (last / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"w": "model-00002.safetensors"}})
    )
    assert latest_complete_checkpoint(folder).name == "checkpoint-4"


def test_a_training_without_a_pruner(tmp_path):
    _train(tmp_path, prunes=False)
    (tmp_path / "checkpoint-6" / "optimizer.pt").write_bytes(b"")
    assert latest_complete_checkpoint(tmp_path, with_pruner=False).name == "checkpoint-4"


def test_weights_alone_where_nothing_else_was_asked_for(tmp_path):
    _train(tmp_path, prunes=False, save_only_model=True)
    assert latest_complete_checkpoint(tmp_path, with_pruner=False).name == "checkpoint-6"
