"""A pruning training that is killed between two checkpoints, and one that is not."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

_KILLED = """
import os, sys
from transformers import TrainerCallback
from platon_compress.tasks import callbacks
class Killer(callbacks.ProgressCallback):
    def on_step_end(self, args, state, control, **more):
        super().on_step_end(args, state, control, **more)
        if "prune" in args.output_dir and state.global_step == int(sys.argv[1]):
            os.kill(os.getpid(), 9)
callbacks.ProgressCallback = Killer
from platon_compress.cli import main
sys.exit(main(sys.argv[2:]))
"""


def assert_goes_on(recipe, folder, step):
    """Killed behind `step` and called again, the recipe at that path ends with the weights of an unbroken run."""
    from platon_compress.cli import main

    words = ["prune", str(recipe), "-o"]
    assert main([*words, str(folder / "whole")]) == 0
    killed = subprocess.run(
        [sys.executable, "-P", "-c", _KILLED, str(step), *words, str(folder / "cut")],
        capture_output=True,
        cwd=Path(__file__).parents[2],
        env=os.environ,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    assert main([*words, str(folder / "cut")]) == 0
    whole, cut = (_weights(folder / run) for run in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(tensor, cut[name]) for name, tensor in whole.items())


def _weights(run):
    return load_file(next((run / "stages" / "prune").rglob("model.safetensors")))
