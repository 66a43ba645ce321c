"""Replicas of shards (HSDP: `fully_shard` on a 2x2 mesh, four gloo processes) against one process, bit by bit."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from platon_compress.pruning import PruneConfig, Pruner, load_pruner, save_pruner

pytestmark = pytest.mark.multiprocess
_STEPS, _STOP = 20, 9
_CASES = {
    "global": {},
    "ties": {},
    "layer": {"scope": "layer"},
    "bound": {"max_layer_sparsity": 0.8},
    "movement": {"criterion": "movement"},
    "reference": {"reference_compat": True},
    "4x1": {"granularity": "4x1"},
    "2:4": {"granularity": "2:4", "sparsity": 0.5},
    "head": {"granularity": "head", "sparsity": 0.5},
    "neuron": {"granularity": "neuron", "group_multiple": 2},
}


class _Attention(nn.Module):
    """Three heads of 8 rows: two shards cut the middle one in half."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 24) for _ in range(3))
        self.out = nn.Linear(24, 16)
        self.num_heads = 3

    def forward(self, x):
        return self.out(self.query(x) * self.key(x).tanh() + self.value(x))


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = _Attention()
        self.fc1, self.fc2 = nn.Linear(16, 40), nn.Linear(40, 16)

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.fc2(torch.relu(self.fc1(x)))


def _core():
    torch.manual_seed(0)
    return nn.Sequential(_Block(), _Block())


def _replicated():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    model = _core()
    for block in model:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def _config(name="global"):
    settings = {"sparsity": 0.7, "total_steps": _STEPS, "mask_interval": 4, "beta2": 0.9}
    return PruneConfig(**{**settings, **_CASES[name]})


def _like(parameter, whole):
    if not hasattr(parameter, "to_local"):
        return whole
    from torch.distributed.tensor import DTensor

    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(whole.chunk(2)[mesh.get_local_rank("shard")], mesh, placements)


def _whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "to_local") else tensor


def _train(model, pruner, steps, *, tied=False):
    """A real forward and backward, whose gradients are then replaced by the same ones everywhere."""
    optimizer, reports = torch.optim.SGD(model.parameters(), lr=0.02), []
    for step in steps:
        generator = torch.Generator().manual_seed(100 + step)
        model(torch.randn(8, 16, generator=generator)).square().mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                gradient = torch.randn(parameter.shape, generator=generator)
                if tied:
                    gradient = (gradient > 0).float()
                    parameter.copy_(torch.ones_like(parameter))
                parameter.grad = _like(parameter, gradient)
        optimizer.step()
        reports.append(vars(pruner.step()))
        optimizer.zero_grad()
    return reports


def _outcome(model, pruner, reports):
    state = pruner.state_dict()
    found = {
        f"{field}.{name}": _whole(tensor)
        for field in ("sensitivity_ema", "uncertainty_ema", "window", "masks")
        for name, tensor in state[field].items()
    }
    found |= {f"weight.{name}": _whole(p.detach()).clone() for name, p in model.named_parameters()}
    return found, reports


def _case(name, model):
    pruner = Pruner(model, _config(name))
    return _outcome(model, pruner, _train(model, pruner, range(_STEPS), tied=name == "ties"))


def _resumed(folder):
    """Four ranks write two files, from which four ranks go on in mid-window."""
    model = _replicated()
    pruner = Pruner(model, _config())
    _train(model, pruner, range(_STOP))
    save_pruner(pruner, folder / "state")
    distributed.barrier()
    again = _replicated()
    with torch.no_grad():
        for parameter, trained in zip(again.parameters(), model.parameters(), strict=True):
            parameter.copy_(trained)
    second = Pruner(again, _config())
    load_pruner(second, folder / "state")
    return _outcome(again, second, _train(again, second, range(_STOP, _STEPS)))


def _worker(folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    found = {name: _case(name, _replicated()) for name in _CASES}
    torch.save({**found, "resumed": _resumed(folder)}, folder / f"rank-{distributed.get_rank()}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hsdp")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    done = subprocess.run(
        [sys.executable, *launcher, __file__, str(folder)],
        check=False, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert sorted(path.name for path in (folder / "state").iterdir()) == [
        f"pruner-0000{rank}-of-00002.safetensors" for rank in range(2)
    ]
    return [torch.load(folder / f"rank-{rank}.pt") for rank in range(4)]


def _same(one, other):
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert [name for name, tensor in one[0].items() if not torch.equal(tensor, other[0][name])] == []


@pytest.mark.parametrize("name", _CASES)
def test_every_rank_has_the_masks_of_one_process(ranks, name):
    one = _case(name, _core())
    assert any(report["masked"] for report in one[1])
    for rank in ranks:
        _same(one, rank[name])


def test_resume_is_bit_identical(ranks):
    tensors, reports = _case("global", _core())
    for rank in ranks:
        _same((tensors, reports[_STOP:]), rank["resumed"])


if __name__ == "__main__":
    _worker(Path(sys.argv[1]))
