"""The callback inside a real Trainer, on a tiny classifier."""

import logging
import shutil

import pytest
import torch
import transformers
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from platon_compress.errors import InputError
from platon_compress.pruning import PlatonCallback, PruneConfig, latest_complete_checkpoint

_STEPS = 16


class _Rows(Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        ids = torch.randint(3, 40, (6,), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": int(ids.sum()) % 2}


def _trainer(folder, *, seed=0, evaluate=False, **settings):
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=40,
        max_position_embeddings=16,
    )  # fmt: skip
    arguments = {
        "max_steps": _STEPS, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True,
    }  # fmt: skip
    return Trainer(
        model=transformers.BertForSequenceClassification(config),
        args=TrainingArguments(output_dir=str(folder), **{**arguments, **settings}),
        train_dataset=_Rows(),
        eval_dataset=_Rows() if evaluate else None,
        compute_metrics=(lambda output: {"score": -float(output.predictions.mean())}) if evaluate else None,
    )


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
    [(5, {}), (8, {}), (13, {}), *((stop, {"freeze_steps": 4, "rewind_to": 0.25}) for stop in (9, 12, 14))],
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


def _choosing(folder, **settings):
    """A Trainer that keeps its best model; the metric falls with every step, so the first candidate wins."""
    trainer = _trainer(folder, evaluate=True, **{
        "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2,
        "load_best_model_at_end": True, "metric_for_best_model": "worst", "greater_is_better": True, **settings,
    })  # fmt: skip
    trainer.compute_metrics = lambda output: {"worst": float(100 - trainer.state.global_step)}
    return trainer


def _masks_are_the_weights(callback, trainer):
    weights = dict(trainer.model.named_parameters())
    return all(torch.equal(weights[name] != 0, mask) for name, mask in callback.pruner.masks().items())


def test_best_model_comes_from_the_final_phase(tmp_path):
    """The metric is best at the start, when the model is dense; that checkpoint must not win."""
    trainer = _choosing(tmp_path)
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-14")  # the final phase starts at step 13
    assert callback.pruner.count_zeros() == int(0.8 * callback.pruner.size)
    # The masks go back with the weights, or bake() would take weights away that the best model has.
    assert callback.pruner.steps == 14
    assert _masks_are_the_weights(callback, trainer)


@pytest.mark.parametrize("settings", [{"save_steps": 12, "eval_steps": 12}, {"save_strategy": "best"}])
def test_a_candidate_from_before_the_final_phase_is_never_loaded(tmp_path, settings):
    """What is loaded then, if anything, depends on the version: 5.x evaluates at the end, 4.57 has a "best" strategy
    that loads nothing."""
    trainer = _choosing(tmp_path, **settings)
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()
    best = trainer.state.best_model_checkpoint
    assert best is None or best.endswith(("checkpoint-14", "checkpoint-16"))
    assert callback.pruner.steps == (16 if best is None else int(best.rpartition("-")[2]))
    assert callback.pruner.count_zeros() == int(0.8 * callback.pruner.size)
    assert _masks_are_the_weights(callback, trainer)


@pytest.mark.parametrize(("stop", "best"), [(10, 14), (14, 14)])
def test_a_resumed_run_chooses_the_same_best_model(tmp_path, stop, best):
    """Stopped before the final phase, the dense candidates are forgotten; within it, the best so far stays."""
    part = _choosing(tmp_path)
    part.add_callback(_Stop(stop))
    PlatonCallback(_config()).attach(part)
    part.train()
    folder = tmp_path / f"checkpoint-{stop}"
    resumed = _choosing(tmp_path)
    callback = PlatonCallback(_config(), resume_from=folder).attach(resumed)
    resumed.train(resume_from_checkpoint=str(folder))
    assert resumed.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    assert callback.pruner.steps == best
    assert _masks_are_the_weights(callback, resumed)


def test_a_best_model_without_pruner_state_is_said_loudly(tmp_path, caplog):
    trainer = _choosing(tmp_path)

    class _Loses(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 15:
                (tmp_path / "checkpoint-14" / "pruner.safetensors").unlink()

    PlatonCallback(_config()).attach(trainer)
    trainer.add_callback(_Loses())
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert "holds no pruner state: the pruner's masks are those of step 16" in caplog.text


def test_early_stopping_waits_for_the_final_phase(tmp_path, caplog):
    trainer = _choosing(tmp_path)
    trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=1))
    callback = PlatonCallback(_config()).attach(trainer)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert (
        "early stopping at step 4 is refused: the model is not at its final sparsity before step 13"
        in caplog.text
    )
    assert caplog.text.count("is refused") == 1
    assert callback.pruner.count_zeros() == int(0.8 * callback.pruner.size)
    assert trainer.state.global_step == 16


def test_early_stopping_in_the_final_phase_is_granted(tmp_path, caplog):
    """Dense evaluations must not use up the patience: 20 .. 32 are final, 22 and 24 are the two without progress."""
    trainer = _choosing(tmp_path, max_steps=32)
    trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=2))
    callback = PlatonCallback(_config(final_warmup_steps=14)).attach(trainer)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert trainer.state.global_step == 24
    assert callback.pruner.steps == 20
    assert callback.pruner.count_zeros() == int(0.8 * callback.pruner.size)
    assert "TRAINING ENDED AT" not in caplog.text
    assert _masks_are_the_weights(callback, trainer)


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
