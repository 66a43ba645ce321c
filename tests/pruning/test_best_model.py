"""Which checkpoint a Trainer with a pruner calls its best, and when early stopping may end the run."""

import logging

import pytest
import torch
from tiny_trainers import TokenRows, tiny_trainer
from transformers import EarlyStoppingCallback, TrainerCallback

from platon_compress.pruning import PlatonCallback, PruneConfig


def _config(**settings):
    return PruneConfig(**{"sparsity": 0.8, "mask_interval": 2, **settings})


class _Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


def _choosing(folder, **settings):
    """A Trainer that keeps its best model; the metric falls with every step, so the first candidate wins."""
    usual = {
        "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2,
        "load_best_model_at_end": True, "metric_for_best_model": "worst", "greater_is_better": True,
    }  # fmt: skip
    trainer = tiny_trainer(
        folder,
        eval_dataset=TokenRows(),
        compute_metrics=lambda output: {"worst": float(100 - trainer.state.global_step)},
        **{**usual, **settings},
    )
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


@pytest.mark.parametrize(("final", "best"), [(1, 14), (4, 12)])
def test_a_finished_run_that_is_resumed_keeps_its_best_model(tmp_path, final, best):
    """14 steps end within an epoch, where the Trainer repeats a step; a final phase of one must not begin again."""
    settings = _config(final_warmup_steps=final)
    trainer = _choosing(tmp_path, max_steps=14)
    PlatonCallback(settings).attach(trainer)
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    last = tmp_path / "checkpoint-14"
    again = _choosing(tmp_path, max_steps=14)
    callback = PlatonCallback(settings, resume_from=last).attach(again)
    again.train(resume_from_checkpoint=str(last))
    assert again.state.best_model_checkpoint == trainer.state.best_model_checkpoint
    assert callback.pruner.steps == best
    for (name, a), b in zip(trainer.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert _masks_are_the_weights(callback, again)


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
