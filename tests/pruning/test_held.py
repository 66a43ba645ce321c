"""Masks that are given: held from the first step, without scores, the same bits after a resume."""

import pytest
import torch
from safetensors.torch import save_file
from tiny_trainers import tiny_trainer
from torch import nn

from platon_compress.errors import InputError
from platon_compress.file_names import names_in_files
from platon_compress.pruning import PlatonCallback, PruneConfig, Pruner, latest_complete_checkpoint
from platon_compress.pruning.held import held_config, mask_sparsity, masks_for, read_masks
from platon_compress.pruning.preview import preview
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer

NAMES = ("bert.encoder.layer.0.intermediate.dense.weight", "bert.encoder.layer.1.attention.self.query.weight")


def _masks(model):
    generator = torch.Generator().manual_seed(3)
    return {name: torch.rand(model.get_parameter(name).shape, generator=generator) > 0.75 for name in NAMES}


def _assert_held(model, masks):
    for name, mask in masks.items():
        assert torch.equal(model.get_parameter(name) != 0, mask)


def test_masks_are_held_from_the_start_and_nothing_is_scored():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    masks = {"0.weight": torch.eye(8, dtype=torch.bool)}
    pruner = Pruner(net, held_config(masks, 10), masks=masks)
    assert int(net[0].weight.count_nonzero()) == 8
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(10):
        net(torch.randn(4, 8)).square().sum().backward()
        optimizer.step()
        report = pruner.step()
        optimizer.zero_grad()
        assert (report.masked, report.threshold, report.mask_churn) == (True, None, 0)
        assert report.sparsity == report.achieved_sparsity == 56 / 64
    assert torch.equal(net[0].weight != 0, masks["0.weight"])
    assert pruner.memory_bytes() == {"states": 0, "masks": 64, "scratch": pruner.memory_bytes()["scratch"]}
    assert torch.equal(pruner.masks()["0.weight"], masks["0.weight"])


def test_held_masks_need_no_gradients():
    net = nn.Sequential(nn.Linear(8, 8))
    masks = {"0.weight": torch.eye(8, dtype=torch.bool)}
    pruner = Pruner(net, held_config(masks, 10), masks=masks)
    net[0].weight.grad = torch.full((8, 8), float("nan"))
    assert not pruner.step().skipped
    assert pruner.skipped_steps == 0


def test_a_trainer_holds_them_and_a_resumed_one_ends_in_the_same_bits(tmp_path):
    ends = []
    for folder, stop in ((tmp_path / "whole", None), (tmp_path / "cut", 8)):
        trainer = tiny_trainer(folder, save_strategy="steps", save_steps=8)
        masks = _masks(trainer.model)
        callback = PlatonCallback(held_config(masks), masks=masks).attach(trainer)
        trainer.train()
        if stop is not None:
            import shutil

            shutil.rmtree(folder / "checkpoint-16")
            last = latest_complete_checkpoint(folder)
            trainer = tiny_trainer(folder, seed=5)
            callback = PlatonCallback(held_config(masks), masks=masks, resume_from=last).attach(trainer)
            trainer.train(resume_from_checkpoint=str(last))
        _assert_held(trainer.model, masks)
        assert callback.pruner.steps == 16
        rows = [row for row in trainer.state.log_history if "loss" in row]
        assert {round(row["achieved_sparsity"], 6) for row in rows} == {round(mask_sparsity(masks), 6)}
        assert "threshold" not in rows[-1]
        ends.append(trainer.model.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_the_preview_is_flat(tmp_path):
    model = tiny_trainer(tmp_path).model
    masks = _masks(model)
    shown = preview(model, held_config(masks, 40))
    assert {sparsity for _, sparsity in shown.schedule} == {mask_sparsity(masks)}
    assert (shown.first_mask, shown.final_step, shown.warnings) == (1, 1, ())
    assert shown.state_bytes == shown.weights == sum(mask.numel() for mask in masks.values())


GOOD = torch.eye(8, dtype=torch.bool)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            {"1.weight": GOOD},
            r"the mask '1\.weight' fits no parameter of Sequential; give masks of this very",
        ),
        ({"0.weight": GOOD[:4]}, r"the mask '0\.weight' has shape \(4, 8\), its parameter \(8, 8\)"),
        ({"0.weight": GOOD.float()}, r"the mask '0\.weight' holds torch\.float32, not booleans"),
    ],
)
def test_masks_of_another_model_are_refused(masks, message):
    with pytest.raises(InputError, match=message):
        Pruner(nn.Sequential(nn.Linear(8, 8)), held_config(masks, 10), masks=masks)


def test_masks_and_their_schedule_go_together():
    net, masks = nn.Sequential(nn.Linear(8, 8)), {"0.weight": GOOD}
    with pytest.raises(InputError, match=r"masks go with schedule 'held', got schedule 'held' and no masks"):
        Pruner(net, held_config(masks, 10))
    with pytest.raises(InputError, match=r"got schedule 'cubic' and masks; make the config with held_config"):
        Pruner(net, PruneConfig(sparsity=0.5, total_steps=100, targets="0"), masks=masks)
    with pytest.raises(InputError, match=r"takes given masks as they are, got freeze_steps=5; leave it out"):
        PruneConfig(sparsity=0.5, schedule="held", freeze_steps=5)


@pytest.mark.parametrize(("kept", "message"), [(True, "keep every weight"), (False, "keep no weight")])
def test_masks_that_hold_nothing(kept, message):
    with pytest.raises(InputError, match=message):
        held_config({"0.weight": torch.full((4, 4), kept)}, 10)


def test_masks_are_taken_by_the_names_of_files_in_every_transformers():
    model, _ = tiny_transformer("vit")
    files = {own: file for own, file in names_in_files(model).items() if own in select(model)}
    assert "vit.encoder.layer.0.attention.attention.query.weight" in files.values()
    own = {name: weight.detach() > 0 for name, weight in select(model).items()}
    named = masks_for(model, {files[name]: mask for name, mask in own.items()})
    assert named.keys() == own.keys()
    assert all(torch.equal(mask, own[name]) for name, mask in named.items())
    assert masks_for(model, own).keys() == own.keys()
    assert masks_for(model, {"foreign": GOOD}).keys() == {"foreign"}


def test_a_mask_may_keep_nothing_beside_one_that_does(tmp_path):
    save_file({"a": GOOD, "b": ~GOOD & False}, tmp_path / "masks.safetensors")
    masks = read_masks(tmp_path / "masks.safetensors", "name another file")
    assert torch.equal(masks["a"], GOOD)
    assert not masks["b"].any()


_CONTENTS = {
    "nothing": {},
    "NaN": {"a": torch.full((2, 2), float("nan"))},
    "floats": {"a": GOOD, "b": GOOD.float()},
    "all zero": {"a": ~GOOD & False},
}


@pytest.mark.parametrize("spoil", ["empty", "torn", "gone", *_CONTENTS])
def test_a_file_that_holds_no_masks_is_one_line(tmp_path, spoil):
    path = tmp_path / "masks.safetensors"
    if spoil != "gone":
        save_file(_CONTENTS.get(spoil, {"a": GOOD}), path)
    if spoil == "empty":
        path.write_bytes(b"")
    if spoil == "torn":
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"masks\.safetensors.*; name another file") as caught:
        read_masks(path, "name another file")
    assert "\n" not in str(caught.value)
