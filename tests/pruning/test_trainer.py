"""The callback inside a real Trainer, on a tiny classifier."""

import logging
import shutil

import pytest
import torch
from thinned import thinned
from tiny_trainers import TokenRows, tiny_trainer
from transformers import Trainer, TrainerCallback

from platon_compress.errors import InputError
from platon_compress.pruning import PlatonCallback, PruneConfig, latest_complete_checkpoint

_STEPS = 16


def _trainer(folder, *, evaluate=False, **settings):
    if not evaluate:
        return tiny_trainer(folder, **settings)
    metrics = {"compute_metrics": lambda output: {"score": -float(output.predictions.mean())}}
    return tiny_trainer(folder, eval_dataset=TokenRows(), **metrics, **settings)


def _config(**settings):
    return PruneConfig(**{"sparsity": 0.8, "mask_interval": 2, **settings})


class _Reporter(TrainerCallback):
    def __init__(self):
        self.rows = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.rows.append(dict(logs))


def test_prunes_and_logs_before_the_reporters(tmp_path):
    trainer, reporter = _trainer(tmp_path), _Reporter()
    trainer.add_callback(reporter)
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()
    pruner = callback.pruner
    assert pruner.steps == _STEPS
    assert pruner.config.total_steps == _STEPS
    assert pruner.count_zeros() == int(0.8 * pruner.size)
    for rows in (reporter.rows, trainer.state.log_history):
        training = [row for row in rows if "loss" in row]
        assert len(training) == _STEPS
        assert [row["sparsity"] for row in training] == sorted(row["sparsity"] for row in training)
        assert training[-1]["sparsity"] == 0.8
        assert training[-1]["achieved_sparsity"] == pytest.approx(0.8, abs=1e-3)
        assert {"threshold", "mask_churn", "layer_sparsity_min", "layer_sparsity_max"} <= set(training[-1])
    weights = dict(trainer.model.named_parameters())
    assert all(torch.equal(weights[name] != 0, mask) for name, mask in pruner.masks().items())


def test_plain_callback_still_fills_the_history(tmp_path):
    trainer = _trainer(tmp_path)
    trainer.add_callback(PlatonCallback(_config()))
    trainer.train()
    assert [row["sparsity"] for row in trainer.state.log_history if "loss" in row][-1] == 0.8


@pytest.mark.parametrize("settings", [
    {"gradient_accumulation_steps": 2}, {"max_grad_norm": 0.1}, {"bf16": True}, {"max_grad_norm": 0.0},
])  # fmt: skip
def test_trainer_features(tmp_path, settings):
    trainer = _trainer(tmp_path, **settings)
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()
    assert callback.pruner.steps == _STEPS
    assert callback.pruner.count_zeros() == int(0.8 * callback.pruner.size)


def test_overflow_reported_by_the_optimizer_is_skipped(tmp_path):
    trainer = _trainer(tmp_path)
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()

    class _Skipping:
        step_was_skipped = True

    callback.on_optimizer_step(trainer.args, trainer.state, trainer.control, optimizer=_Skipping())
    assert (callback.pruner.steps, callback.pruner.skipped_steps) == (_STEPS + 1, 1)


@pytest.mark.parametrize(
    ("stop", "settings"),
    thinned(
        [
            (5, {}),
            (8, {}),
            (13, {}),
            *((stop, {"freeze_steps": 4, "rewind_to": 0.25}) for stop in (9, 12, 14)),
        ],
        every=3,
    ),
)
def test_resume_is_bit_identical(tmp_path, stop, settings):
    """Also from the middle of a window (5, 9, 13), inside the final phase (13), at and after a rewind (12, 14)."""
    whole = _trainer(tmp_path / "whole")
    first = PlatonCallback(_config(**settings)).attach(whole)
    whole.train()
    part = _trainer(tmp_path / "part", save_strategy="steps", save_steps=stop, save_total_limit=1)
    part.add_callback(_Stop(stop))
    PlatonCallback(_config(**settings)).attach(part)
    part.train()
    folder = latest_complete_checkpoint(tmp_path / "part")
    assert folder == tmp_path / "part" / f"checkpoint-{stop}"
    resumed = _trainer(tmp_path / "part", seed=9)
    second = PlatonCallback(_config(**settings), resume_from=folder).attach(resumed)
    resumed.train(resume_from_checkpoint=str(folder))
    for (name, a), b in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    masks = first.pruner.masks()
    assert all(torch.equal(mask, masks[name]) for name, mask in second.pruner.masks().items())
    rates = [row["learning_rate"] for row in whole.state.log_history if "loss" in row]
    assert rates[stop:] == [row["learning_rate"] for row in resumed.state.log_history if "loss" in row][stop:]


def test_the_learning_rate_goes_back_when_the_mask_freezes(tmp_path):
    """16 steps of linear decay from 1e-3, the last 4 frozen: from step 13 on, the rates of steps 5, 8, 11, 14."""
    trainer = _trainer(tmp_path)
    PlatonCallback(_config(freeze_steps=4, rewind_to=0.25)).attach(trainer)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    # The Trainer logs the rate of the step that has just been taken.
    taken = [1 - step / 16 for step in (*range(12), 4, 7, 10, 13)]
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [1e-3 * share for share in taken], rel=1e-6
    )


def test_a_schedule_that_cannot_be_rewound(tmp_path):
    trainer = _trainer(
        tmp_path, evaluate=True, eval_strategy="steps", eval_steps=4, lr_scheduler_type="reduce_lr_on_plateau",
        metric_for_best_model="score",
    )  # fmt: skip
    PlatonCallback(_config(freeze_steps=4, rewind_to=0.25)).attach(trainer)
    with pytest.raises(
        InputError, match=r"rewind_to 0.25 rewinds a learning-rate schedule .* got ReduceLROnPl"
    ):
        trainer.train()


@pytest.mark.parametrize("steps", thinned([14, 16], every=2))
@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_resume_of_a_finished_run_changes_nothing(tmp_path, strategy, steps, caplog):
    """Where the last step ends no epoch (14), the Trainer itself would take one more, and save it."""
    whole = _trainer(tmp_path, max_steps=steps, save_strategy=strategy, save_steps=8)
    PlatonCallback(_config()).attach(whole)
    whole.train()
    folder = latest_complete_checkpoint(tmp_path)
    assert folder.name == f"checkpoint-{steps}"
    files = {path: path.read_bytes() for path in folder.iterdir()}
    again = _trainer(tmp_path, seed=9, max_steps=steps, save_strategy=strategy, save_steps=8)
    callback = PlatonCallback(_config(), resume_from=folder).attach(again)
    again.train(resume_from_checkpoint=str(folder))
    assert again.state.global_step == callback.pruner.steps == steps
    assert f"step {steps} is the last of this run; nothing is left to train" in caplog.text
    for (name, a), b in zip(whole.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert files == {path: path.read_bytes() for path in folder.iterdir()}
    assert not (tmp_path / f"checkpoint-{steps + 1}").exists()


class _Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


def test_state_is_written_before_the_trainer_saves(tmp_path, monkeypatch):
    trainer = _trainer(tmp_path, save_strategy="steps", save_steps=8)
    PlatonCallback(_config()).attach(trainer)
    seen = []
    original = Trainer._save_checkpoint

    def save(self, *args, **kwargs):
        folder = tmp_path / f"checkpoint-{self.state.global_step}"
        seen.append([path.name for path in folder.iterdir()])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "_save_checkpoint", save)
    trainer.train()
    assert seen == [["pruner.safetensors"], ["pruner.safetensors"]]


def test_incomplete_checkpoints_are_passed_over(tmp_path):
    trainer = _trainer(tmp_path, save_strategy="steps", save_steps=4)
    PlatonCallback(_config()).attach(trainer)
    trainer.train()
    (tmp_path / "checkpoint-16" / "trainer_state.json").write_text('{"global_step": 1')
    (tmp_path / "checkpoint-12" / "pruner.safetensors").write_bytes(b"\x10\0\0\0")
    (tmp_path / "checkpoint-99").mkdir()
    assert latest_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-8"
    assert latest_complete_checkpoint(tmp_path / "nowhere") is None


def test_resume_without_or_with_the_wrong_state(tmp_path):
    trainer = _trainer(tmp_path, save_strategy="steps", save_steps=8)
    PlatonCallback(_config()).attach(trainer)
    trainer.train()
    folder = tmp_path / "checkpoint-8"
    again = _trainer(tmp_path)
    PlatonCallback(_config()).attach(again)
    with pytest.raises(
        InputError, match="the Trainer is at step 8, the pruner at step 0; resume both from one"
    ):
        again.train(resume_from_checkpoint=str(folder))
    again = _trainer(tmp_path)
    PlatonCallback(_config(), resume_from=folder).attach(again)
    with pytest.raises(InputError, match="the Trainer is at step 0, the pruner at step 8"):
        again.train()
    (folder / "pruner.safetensors").unlink()
    again = _trainer(tmp_path)
    PlatonCallback(_config(), resume_from=folder).attach(again)
    with pytest.raises(
        InputError, match=r"pruner.safetensors is missing, so the pruner cannot go on from there"
    ):
        again.train(resume_from_checkpoint=str(folder))
    (folder / "pruner.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"pruner.safetensors is no pruner state \(.*\); take another"):
        again.train(resume_from_checkpoint=str(folder))


def test_config_longer_than_the_training(tmp_path):
    trainer = _trainer(tmp_path)
    PlatonCallback(_config(total_steps=100)).attach(trainer)
    with pytest.raises(InputError, match="total_steps 100 exceeds the Trainer's 16 steps"):
        trainer.train()


def test_pruner_before_training():
    with pytest.raises(InputError, match="PlatonCallback has no pruner yet"):
        _ = PlatonCallback(_config()).pruner


class _Rebuild(TrainerCallback):
    """What code does that replaces parameters and lets the optimizer follow, but not the pruner."""

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        if state.global_step == 8:
            group = optimizer.param_groups[0]
            group["params"] = [torch.nn.Parameter(p.detach().clone()) for p in group["params"]]


def test_an_optimizer_rebuilt_in_mid_run_is_noticed(tmp_path, caplog):
    trainer = _trainer(tmp_path)
    trainer.add_callback(_Rebuild())
    PlatonCallback(_config()).attach(trainer)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    text = "the optimizer does not hold 12 of 12 pruned parameters, first bert.encoder.layer.0.attention"
    assert caplog.text.count(text) == 1


def test_the_authors_rule_is_no_early_end(tmp_path, caplog):
    """It keeps one weight more than the sparsity asks for."""
    trainer = _trainer(tmp_path)
    callback = PlatonCallback(_config(sparsity=0.803, reference_compat=True)).attach(trainer)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    pruner = callback.pruner
    assert pruner.count_zeros() == int(pruner.size * 0.803) - 1
    assert "TRAINING ENDED" not in caplog.text


def test_a_run_of_another_length_cannot_take_the_state(tmp_path):
    """As after a change of the number of processes, when epochs give the number of steps."""
    trainer = _trainer(tmp_path, save_strategy="steps", save_steps=8)
    PlatonCallback(_config()).attach(trainer)
    trainer.train()
    again = _trainer(tmp_path, max_steps=32)
    PlatonCallback(_config(), resume_from=tmp_path / "checkpoint-8").attach(again)
    with pytest.raises(InputError, match="saved with total_steps=16, this run has 32; resume with the saved"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))


def test_ending_early_is_said_loudly(tmp_path, caplog):
    trainer = _trainer(tmp_path)
    trainer.add_callback(_Stop(6))
    PlatonCallback(_config()).attach(trainer)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert "TRAINING ENDED AT SPARSITY" in caplog.text
    assert "NOT 0.8000, after step 6 of 16" in caplog.text


def test_disk_state_survives_a_crash_while_writing(tmp_path, monkeypatch):
    from safetensors import torch as storage

    from platon_compress.pruning import load_pruner, save_pruner

    trainer = _trainer(tmp_path)
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()
    path = save_pruner(callback.pruner, tmp_path / "state")
    before = path.read_bytes()

    def broken(tensors, target, metadata=None):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "save_file", broken)
    with pytest.raises(KeyboardInterrupt):
        save_pruner(callback.pruner, tmp_path / "state")
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == ["pruner.safetensors"]
    load_pruner(callback.pruner, tmp_path / "state")
    shutil.rmtree(tmp_path / "state")


def test_fsdp_is_refused(tmp_path):
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    trainer = _trainer(tmp_path)
    callback = PlatonCallback(_config())
    trainer.args.fsdp = "full_shard"  # as launched with --fsdp
    with pytest.raises(
        InputError, match=r"the Trainer runs with FSDP \(fsdp='full_shard'\), PlatonCallback does"
    ):
        callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=trainer.model)
    trainer.args.fsdp = []
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        callback.attach(trainer)
        fully_shard(trainer.model)
        with pytest.raises(InputError, match="use fully_shard and Pruner in a training loop of your own"):
            trainer.train()
    finally:
        distributed.destroy_process_group()


def test_one_training_has_one_pruner(tmp_path):
    trainer, callback = _trainer(tmp_path), PlatonCallback(_config())
    callback.attach(trainer)
    for another in (callback, PlatonCallback(_config())):
        with pytest.raises(
            InputError, match=r"has a PlatonCallback already, and two would prune twice a step"
        ):
            another.attach(trainer)
    trainer.add_callback(PlatonCallback(_config()))
    with pytest.raises(InputError, match=r"two PlatonCallbacks, or one given twice, see the same training"):
        trainer.train()


def test_a_callback_serves_one_training_after_another(tmp_path):
    callback = PlatonCallback(_config())
    for seed in (0, 1):
        trainer = _trainer(tmp_path, seed=seed)
        callback.attach(trainer)
        trainer.train()
        assert callback.pruner.steps == _STEPS
