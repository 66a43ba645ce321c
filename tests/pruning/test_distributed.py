"""Two gloo processes with DistributedDataParallel against one process."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from platon_compress.pruning import PruneConfig, Pruner

pytestmark = pytest.mark.multiprocess
_STEPS = 60


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 48), nn.Linear(48, 64)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(x)))


def _digits():
    """1,797 real images of handwritten digits, 64 pixels each, and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)


def _run(model, core, rank, ranks, *, injected):
    """Trains on this rank's share of each batch; `injected` gives every rank the same gradients instead.

    Returns all masks and all prunable weights, flat.
    """
    pruner = Pruner(model, PruneConfig(sparsity=0.75, total_steps=_STEPS, mask_interval=4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    images, labels = _digits()
    for step in range(_STEPS):
        rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(step))[:64][rank::ranks]
        nn.functional.cross_entropy(model(images[rows])[:, :10], labels[rows]).backward()
        if injected:
            generator = torch.Generator().manual_seed(100 + step)
            for p in core.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
        pruner.step()
        optimizer.zero_grad()
    masks, weights = pruner.masks(), dict(core.named_parameters())
    return tuple(torch.cat([found[name].detach().flatten() for name in masks]) for found in (masks, weights))


def _core():
    torch.manual_seed(0)
    return nn.Sequential(_Block(), _Block(), _Block())


def _worker(injected, folder):
    """One rank under torchrun: trains, leaves its masks and weights."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, core = distributed.get_rank(), _core()
    torch.save(
        _run(DistributedDataParallel(core), core, rank, 2, injected=injected), folder / f"rank-{rank}.pt"
    )
    distributed.destroy_process_group()


def _runs(injected, folder):
    """What rank 0, rank 1 and one process end with."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [__file__, "injected" if injected else "real", str(folder)]
    done = subprocess.run(
        [sys.executable, *launcher, *arguments], check=False, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    core = _core()
    one = _run(core, core, 0, 1, injected=injected)
    return torch.load(folder / "rank-0.pt"), torch.load(folder / "rank-1.pt"), one


def _digest(run):
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in run)).hexdigest()


def test_equal_gradients_give_masks_and_weights_of_one_process(tmp_path):
    first, second, one = _runs(True, tmp_path)
    assert _digest(first) == _digest(second) == _digest(one)


def test_real_data_gives_equal_masks_on_every_rank(tmp_path, record_property, capsys):
    """The averaged gradients are not bit-equal to one process's, so its mask differs at near-ties; how much is said."""
    first, second, one = _runs(False, tmp_path)
    assert _digest(first) == _digest(second)
    assert int(first[0].sum()) == int(one[0].sum()) == len(one[0]) - int(0.75 * len(one[0]))
    masks, weights = (float((a != b).float().mean()) for a, b in zip(first, one, strict=True))
    record_property("share_of_masks_that_differ", masks)
    with capsys.disabled():
        sys.stdout.write(
            f"\nDDP, 2 ranks, {_STEPS} steps on digits, against one process: {masks:.4%} of {len(one[0])} masks "
            f"and {weights:.4%} of the weights' values differ\n"
        )
    assert masks < 0.02


if __name__ == "__main__":
    _worker(sys.argv[1] == "injected", Path(sys.argv[2]))
