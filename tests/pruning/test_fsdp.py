"""FSDP2 (`fully_shard`) on two gloo processes, against one process, bit by bit."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

from platon_compress.baking import bake
from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner, load_pruner, save_pruner

pytestmark = pytest.mark.multiprocess
_STEPS, _STOP = 24, 13
_ODD = ("re:.*fc[12]", "re:.*narrow")  # their rows or columns are no multiples of 4
_CUT = (*_ODD, "re:.*(query|key|value)")  # nor are those of half of 12 rows
_COSTS = {"12x16": 3e-11, "16x12": 1e-11, "25x16": 2e-11, "16x25": 4e-11, "1x16": 9e-11}
_CASES = {
    "global": {},
    "layer": {"scope": "layer"},
    "type": {"scope": "type"},
    "bound": {"max_layer_sparsity": 0.8},
    "bounds": {"bounds": {"re:.*": (0.2, 0.9)}},
    "ties": {},
    "ties-layer": {"scope": "layer"},
    "costs": {"weight_costs": _COSTS},
    "costs-bound": {"weight_costs": _COSTS, "max_layer_sparsity": 0.8},
    "costs-ties": {"weight_costs": _COSTS, "sparsity": 0.7},
    "frozen": {"freeze_steps": 5},
    "biases": {"include_biases": True},
    "movement": {"criterion": "movement"},
    "magnitude": {"criterion": "magnitude"},
    "fisher": {"criterion": "fisher"},
    "reference": {"reference_compat": True},
    "4x1": {"granularity": "4x1", "ignore": _CUT},
    "4x1-ties": {"granularity": "4x1", "ignore": _CUT},
    "2:4": {"granularity": "2:4", "sparsity": 0.5, "ignore": _ODD},
    "2:4-ties": {"granularity": "2:4", "sparsity": 0.5, "ignore": _ODD},
    "head": {"granularity": "head", "sparsity": 0.5},
    "neuron": {"granularity": "neuron", "group_multiple": 2, "include_biases": True},
    "fused-head": {"granularity": "head", "sparsity": 0.5, "include_biases": True},
    "fused-neuron": {"granularity": "neuron", "group_multiple": 2, "include_biases": True},
}


class _Attention(nn.Module):
    """Three heads of 4 rows: two ranks cut the middle one in half."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 12) for _ in range(3))
        self.out = nn.Linear(12, 16)
        self.num_heads = 3

    def forward(self, x):
        return self.out(self.query(x) * self.key(x).tanh() + self.value(x))


class _Block(nn.Module):
    """25 rows make the second shard shorter, a single row makes it empty."""

    def __init__(self):
        super().__init__()
        self.attention = _Attention()
        self.fc1, self.fc2 = nn.Linear(16, 25), nn.Linear(25, 16)
        self.narrow = nn.Linear(16, 1)

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.fc2(torch.relu(self.fc1(x))) * self.narrow(x)


def _core(name=""):
    """`fused`: ModernBERT, where two ranks cut query, key and value in one linear within a head of the keys."""
    torch.manual_seed(0)
    if "fused" not in name:
        return nn.Sequential(_Block(), _Block())
    from transformers import ModernBertConfig, ModernBertModel

    config = ModernBertConfig(
        hidden_size=12, num_attention_heads=3, intermediate_size=25, num_hidden_layers=2, vocab_size=40,
        attention_bias=True, mlp_bias=True, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
        sep_token_id=2,
    )  # fmt: skip
    return ModernBertModel(config)


def _config(**settings):
    return PruneConfig(
        **{"sparsity": 0.75, "total_steps": _STEPS, "mask_interval": 4, "beta2": 0.9, **settings}
    )


def _inject(model, step, tied):
    """The same gradients on every rank, each taking its rows; `tied` ones have two values, and so do weights."""
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in model.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        if tied:
            gradient = (gradient > 0).float()
            parameter.detach().copy_(torch.ones_like(parameter))
        parameter.grad = _like(parameter, gradient)


def _like(parameter, whole):
    if not hasattr(parameter, "to_local"):
        return whole
    from torch.distributed.tensor import DTensor

    mesh, placements = parameter.device_mesh, parameter.placements
    parts = [*whole.chunk(mesh.size()), *[whole[:0]] * mesh.size()]  # chunk() leaves out empty ones
    mine = parts[mesh.get_local_rank()]
    return DTensor.from_local(mine, mesh, placements, shape=whole.shape, stride=whole.stride())


def _whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "to_local") else tensor


def _train(model, pruner, start, stop, *, tied=False, forward=False):
    """`forward`: lets FSDP gather, reduce and scatter for real before the gradients are replaced."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    reports = []
    for step in range(start, stop):
        if forward:
            batch = torch.randn(8, 16, generator=torch.Generator().manual_seed(step))
            model(batch).square().mean().backward()
        with torch.no_grad():
            _inject(model, step, tied)
        optimizer.step()
        reports.append(pruner.step())
        optimizer.zero_grad()
    return reports


def _outcome(model, pruner, reports):
    """All that must agree, as plain whole tensors."""
    state = pruner.state_dict()
    tensors = {
        f"{field}.{name}": _whole(tensor)
        for field in ("sensitivity_ema", "uncertainty_ema", "window", "masks")
        for name, tensor in state[field].items()
    }
    weights = {f"weight.{name}": _whole(p.detach()).clone() for name, p in model.named_parameters()}
    figures = {
        "reports": [tuple(vars(report).values()) for report in reports],
        "counters": state["counters"],
        "layers": pruner.layer_sparsity(),
    }
    return {**tensors, **weights, **{f"full.{n}": m for n, m in pruner.full_masks().items()}}, figures


def _case(name, model):
    pruner = Pruner(model, _config(**_CASES[name]))
    return _outcome(
        model, pruner, _train(model, pruner, 0, _STEPS, tied="ties" in name, forward=name == "global")
    )


def _sharded(name=""):
    from torch.distributed.fsdp import fully_shard

    model = _core(name)
    for block in getattr(model, "layers", model):
        fully_shard(block)
    fully_shard(model)
    return model


def _by_columns():
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard

    model = _core()
    fully_shard(model, shard_placement_fn=lambda p: Shard(1) if p.ndim == 2 and p.shape[1] == 16 else None)
    return model


def _partly():
    from torch.distributed.fsdp import fully_shard

    model = _core()
    for block in model:
        fully_shard(block.attention)
    return model


def _worker(folder):
    """One rank under torchrun: every case and check, rank 0 leaves what the tests compare."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    found = {name: _case(name, _sharded(name)) for name in _CASES}
    extras = {
        "odd_blocks": _refusal(granularity="4x1", model=_sharded(), ignore=_ODD),
        "columns": _refusal(model=_by_columns()),
        "partly": _refusal(model=_partly()),
        "not_a_number": _not_a_number(rank),
        "reductions": _reductions(),
        "baked": _baked(rank),
        "half": _half(folder),
    }
    if rank == 0:
        torch.save((found, extras), folder / "found.pt")
    distributed.destroy_process_group()


def _refusal(*, model, **settings):
    with pytest.raises(InputError) as caught:
        Pruner(model, _config(**settings))
    return str(caught.value)


def _not_a_number(rank):
    """Rank 1 alone sees it, both skip."""
    model = _sharded()
    pruner = Pruner(model, _config())
    _inject(model, 0, False)
    if rank == 1:
        next(model.parameters()).grad.to_local()[-1, 0] = float("nan")
    report = pruner.step()
    assert report.skipped
    assert pruner.skipped_steps == 1
    assert not any(bool(t.to_local().any()) for t in pruner.state_dict()["window"].values())
    return report.skipped


def _reductions():
    """Sizes of what the ranks exchange in a step with a fresh ranking, and in one without a mask."""
    model, sizes = _sharded(), []
    pruner = Pruner(model, _config())
    _train(model, pruner, 0, 11)
    original, steps = distributed.all_reduce, []

    def counted(tensor, *arguments, **keywords):
        sizes.append(tensor.numel())
        return original(tensor, *arguments, **keywords)

    for step in (11, 12):
        _inject(model, step, False)
        sizes.clear()
        distributed.all_reduce = counted
        pruner.step()
        distributed.all_reduce = original
        steps.append(list(sizes))
    return steps


def _baked(rank):
    """Whole weights and masks meet on rank 0, where they become a plain model."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    model = _sharded()
    pruner = Pruner(model, _config())
    _train(model, pruner, 0, _STEPS)
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, masks = get_model_state_dict(model, options=options), pruner.full_masks()
    with pytest.raises(InputError, match=r"is sharded; gather the weights .* Pruner.full_masks"):
        bake(model, pruner.masks())
    if rank != 0:
        assert masks == {}
        return None
    plain = _core()
    plain.load_state_dict(weights)
    return bake(plain, masks, target_sparsity=0.75).sparsity


def _half(folder):
    """Stops in mid-window, and goes on from the ranks' files, from torch.distributed.checkpoint, from one file."""
    import torch.distributed.checkpoint as dcp

    model = _sharded()
    pruner = Pruner(model, _config())
    _train(model, pruner, 0, _STOP)
    save_pruner(pruner, folder / "two")
    dcp.save({"pruner": pruner.state_dict()}, checkpoint_id=folder / "dcp")
    weights = {name: _whole(p.detach()).clone() for name, p in model.named_parameters()}
    torch.save(weights, folder / f"weights-{distributed.get_rank()}.pt")
    results = {}
    for kind in ("two", "dcp", "one"):
        again = _sharded()
        with torch.no_grad():
            for name, parameter in again.named_parameters():
                parameter.copy_(_like(parameter, weights[name]))
        resumed = Pruner(again, _config())
        if kind == "dcp":
            state = {"pruner": resumed.state_dict()}
            dcp.load(state, checkpoint_id=folder / "dcp")
            resumed.load_state_dict(state["pruner"])
        else:
            load_pruner(resumed, folder / kind)
        results[kind] = _outcome(again, resumed, _train(again, resumed, _STOP, _STEPS))
    return results


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fsdp")
    core = _core()
    pruner = Pruner(core, _config())
    _train(core, pruner, 0, _STOP)
    save_pruner(pruner, folder / "one")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, __file__, str(folder)],
        check=False, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, *torch.load(folder / "found.pt")


def _assert_equal(one, two):
    (tensors, figures), (others, other_figures) = one, two
    assert tensors.keys() == others.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []
    assert figures == other_figures


@pytest.mark.parametrize("name", _CASES)
def test_equal_gradients_give_the_masks_of_one_process(found, name):
    """Masks, averages, windows, weights and reports."""
    one = _case(name, _core(name))
    assert any(report[4] for report in one[1]["reports"])
    _assert_equal(one, found[1][name])


@pytest.mark.parametrize("kind", ["two", "dcp", "one"])
def test_resume_is_bit_identical(found, kind):
    core = _core()
    pruner = Pruner(core, _config())
    tensors, figures = _outcome(core, pruner, _train(core, pruner, 0, _STEPS))
    figures["reports"] = figures["reports"][_STOP:]
    _assert_equal((tensors, figures), found[2]["half"][kind])


def test_one_process_goes_on_from_two(found):
    folder, cases, _ = found
    core = _core()
    core.load_state_dict(torch.load(folder / "weights-0.pt"))
    pruner = Pruner(core, _config())
    load_pruner(pruner, folder / "two")
    tensors, _ = _outcome(core, pruner, _train(core, pruner, _STOP, _STEPS))
    assert all(torch.equal(tensor, cases["global"][0][name]) for name, tensor in tensors.items())


def test_a_rank_file_is_missing_or_of_another_step(found, tmp_path):
    folder = found[0]
    names = [f"pruner-0000{rank}-of-00002.safetensors" for rank in range(2)]
    assert sorted(path.name for path in (folder / "two").iterdir()) == names
    (tmp_path / names[0]).write_bytes((folder / "two" / names[0]).read_bytes())
    pruner = Pruner(_core(), _config())
    with pytest.raises(InputError, match=r"state of an unfinished save, 1 files of 2 ranks; take another"):
        load_pruner(pruner, tmp_path)
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(folder / "two" / names[1], framework="pt") as file:
        record = file.metadata()["platon"].replace(f'"step": {_STOP}', '"step": 12')
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / names[1], metadata={"platon": record})
    with pytest.raises(InputError, match=r"are of different steps, \[13, 12\]; a save was cut off"):
        load_pruner(pruner, tmp_path)


def test_blocks_that_shards_would_cut(found):
    assert (
        "granularity '4x1' needs shards of whole blocks: 2 ranks cut 0.attention.query.weight of 12 "
        "rows at row 6, no multiple of 4; use another number of ranks, leave it out" in found[2]["odd_blocks"]
    )


def test_other_ways_of_sharding_are_refused(found):
    columns = found[2]["columns"]
    assert "'0.attention.query.weight' is sharded as (Shard(dim=1),), the pruner takes rows only" in columns
    assert "8 of 14 parameters to prune are sharded, '0.fc1.weight' is not; call" in found[2]["partly"]


def test_ranks_exchange_counts_never_scores(found):
    """A flag, then the zeros; with a ranking two histograms and the counts of weights moved and kept."""
    ranking, plain = found[2]["reductions"]
    assert plain == [1, 1]
    assert sorted(ranking) == [1, 1, 2, 14, 65538, 65538]


def test_checks_inside_the_workers(found):
    assert found[2]["not_a_number"]
    assert found[2]["baked"] == pytest.approx(0.75, abs=1e-3)


if __name__ == "__main__":
    _worker(Path(sys.argv[1]))
