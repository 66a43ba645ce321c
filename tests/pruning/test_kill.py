"""A Trainer run that ends without a word, at random moments and inside a save; what is resumed ends bit-identical.

The runs live in children that a worker process forks, so that only the worker pays for importing torch.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_trainers
import torch
import transformers

from platon_compress.pruning import PlatonCallback, PruneConfig, latest_complete_checkpoint

pytestmark = pytest.mark.train
_STEPS, _SAVE = 60, 3
_SEEDS, _KILLS = 4, 4
# Where a child kills itself, on the fourth time it comes by.
_PLACES = (
    "half of the pruner's state",
    "before its rename",
    "in the Trainer's part",
    "in the rotation",
    "before the seal",
)


class _Alarm(transformers.TrainerCallback):
    """So many seconds after the step has begun, the system ends the process: nobody handles SIGALRM."""

    def __init__(self, step, seconds):
        self.step, self.seconds = step, seconds

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step >= self.step:
            self.step = _STEPS  # once
            signal.setitimer(signal.ITIMER_REAL, self.seconds)


def _train(folder, callbacks=()):
    """Starts, or goes on from the last complete checkpoint; leaves weights and masks in done.pt."""
    trainer = tiny_trainers.tiny_trainer(
        folder, max_steps=_STEPS, save_strategy="steps", save_steps=_SAVE, save_total_limit=1, logging_strategy="no",
        callbacks=list(callbacks),
    )  # fmt: skip
    last = latest_complete_checkpoint(folder)
    settings = PruneConfig(sparsity=0.8, mask_interval=4)
    callback = PlatonCallback(settings, resume_from=last).attach(trainer)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    torch.save((trainer.model.state_dict(), callback.pruner.masks()), folder / "done.tmp")
    os.replace(folder / "done.tmp", folder / "done.pt")


def _fork(folder, place=None, callbacks=()):
    """Process id of a child that trains with those callbacks, and kills itself at `place`."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        folder.mkdir(exist_ok=True)
        if place is not None:
            _arm(place)
        _train(folder, callbacks)
        status = 0
    finally:
        os._exit(status)


def _die_at_fourth(original, before=lambda *arguments: None):
    """The call, which the fourth time does only `before` and kills the process."""
    passed = []

    def call(*arguments, **keywords):
        passed.append(1)
        if len(passed) == 4:
            before(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **keywords)

    return call


def _for_files(name):
    """A rename that kills the process the fourth time it is to give a file this name."""
    replace, dies = os.replace, _die_at_fourth(os.replace)

    def call(source, target, **keywords):
        return (dies if os.path.basename(target) == name else replace)(source, target, **keywords)

    return call


def _arm(place):
    from safetensors import torch as storage

    def half(tensors, path):
        save_file(tensors, path)
        os.truncate(path, os.path.getsize(path) // 2)

    def some(path):
        for file in sorted(Path(path).iterdir())[:3]:
            file.unlink()

    save_file, trainer = storage.save_file, transformers.Trainer
    if place == _PLACES[0]:
        storage.save_file = _die_at_fourth(save_file, half)  # transformers holds its own reference
    elif place == _PLACES[1]:
        os.replace = _for_files("pruner.safetensors")
    elif place == _PLACES[2]:
        trainer._save_rng_state = _die_at_fourth(trainer._save_rng_state)
    elif place == _PLACES[3]:
        shutil.rmtree = _die_at_fourth(shutil.rmtree, some)
    else:
        os.replace = _for_files("complete.json")


def _finish(child):
    """Waits; the exit status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _worker(folder):
    torch.set_num_threads(1)
    assert _finish(_fork(folder / "whole")) == 0
    for seed in range(_SEEDS):
        moments, own, left = random.Random(seed), folder / f"seed-{seed}", []
        for step in sorted(moments.sample(range(0, _STEPS - 10, _SAVE), _KILLS)):
            seconds = moments.uniform(0.0005, 0.06)  # about four steps and a save
            assert _finish(_fork(own, callbacks=(_Alarm(step, seconds),))) == -signal.SIGALRM
            last = latest_complete_checkpoint(own)
            left.append(last.name if last else "none yet")
        assert _finish(_fork(own)) == 0
        sys.stdout.write(f"seed {seed}: killed, left {', '.join(left)}\n")
    for index, place in enumerate(_PLACES):
        assert _finish(_fork(folder / f"place-{index}", place)) == -signal.SIGKILL, place
        last = latest_complete_checkpoint(folder / f"place-{index}")
        assert _finish(_fork(folder / f"place-{index}")) == 0
        sys.stdout.write(f"{place}: killed, left {last.name}\n")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    support = Path(tiny_trainers.__file__).parent
    done = subprocess.run(
        [sys.executable, "-P", __file__, str(folder)],
        env={**os.environ, "PYTHONPATH": str(support)},
        check=False,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return folder, done.stdout


def _assert_like_whole(folder, name):
    weights, masks = torch.load(folder / "whole" / "done.pt")
    others, other_masks = torch.load(folder / name / "done.pt")
    assert weights.keys() == others.keys()
    assert [key for key, value in weights.items() if not torch.equal(value, others[key])] == []
    assert [key for key, value in masks.items() if not torch.equal(value, other_masks[key])] == []


@pytest.mark.parametrize("seed", range(_SEEDS))
def test_killed_at_random_moments(runs, seed, record_property):
    folder, log = runs
    record_property("kills", log)
    assert f"seed {seed}: killed, left " in log
    _assert_like_whole(folder, f"seed-{seed}")


@pytest.mark.parametrize("index", range(len(_PLACES)), ids=_PLACES)
def test_killed_inside_a_save(runs, index):
    """The save of step 12 is cut off, so 9 is left; or, after that of step 15, the removal of an older one is.

    Without its seal the save of step 12 is whole nevertheless.
    """
    folder, log = runs
    left = {3: "checkpoint-15", 4: "checkpoint-12"}.get(index, "checkpoint-9")
    assert f"{_PLACES[index]}: killed, left {left}\n" in log
    _assert_like_whole(folder, f"place-{index}")


if __name__ == "__main__":
    _worker(Path(sys.argv[1]))
