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
_STEPS = 24


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 24), nn.Linear(24, 16)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(x)))


def _run(model, core, rank, ranks, *, injected):
    """Trains on this rank's share of each batch; `injected` gives every rank the same gradients instead."""
    pruner = Pruner(model, PruneConfig(sparsity=0.75, total_steps=_STEPS, mask_interval=4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for step in range(_STEPS):
        batch = torch.randn(8, 16, generator=torch.Generator().manual_seed(step))
        model(batch[rank::ranks]).square().mean().backward()
        if injected:
            generator = torch.Generator().manual_seed(100 + step)
            for p in core.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
        pruner.step()
        optimizer.zero_grad()
    return torch.cat([mask.flatten() for mask in pruner.masks().values()])


def _core():
    torch.manual_seed(0)
    return nn.Sequential(_Block(), _Block(), _Block())


def _worker(injected, folder):
    """One rank under torchrun: trains, asserts that the masks agree, leaves rank 0's mask."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, core = distributed.get_rank(), _core()
    mask = _run(DistributedDataParallel(core), core, rank, 2, injected=injected)
    digests = [None, None]
    distributed.all_gather_object(digests, hashlib.sha256(mask.numpy().tobytes()).hexdigest())
    assert digests[0] == digests[1]
    if rank == 0:
        torch.save(mask, folder / "mask.pt")
    distributed.destroy_process_group()


def _both(injected, folder):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [__file__, "injected" if injected else "real", str(folder)]
    done = subprocess.run(
        [sys.executable, *launcher, *arguments], check=False, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    core = _core()
    return torch.load(folder / "mask.pt"), _run(core, core, 0, 1, injected=injected)


def test_equal_gradients_give_the_masks_of_one_process(tmp_path):
    two, one = _both(True, tmp_path)
    assert torch.equal(two, one)


def test_real_gradients_agree_across_ranks_and_nearly_with_one_process(tmp_path, record_property):
    two, one = _both(False, tmp_path)
    share = float((two != one).float().mean())
    record_property("share_of_masks_that_differ", share)
    assert int(two.sum()) == int(one.sum())
    assert share < 0.02


if __name__ == "__main__":
    _worker(sys.argv[1] == "injected", Path(sys.argv[2]))
