"""Sharded parameters on a single rank: DTensors without other processes. test_fsdp.py has two ranks."""

import pytest
import torch
from torch import distributed, nn

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner, load_pruner, save_pruner
from platon_compress.testing import tiny_transformer


@pytest.fixture
def one_rank():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def _model(sharded):
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model, _ = tiny_transformer("bert")
    return fully_shard(model) if sharded else model


def _config(**settings):
    return PruneConfig(**{"sparsity": 0.7, "total_steps": 20, "mask_interval": 2, **settings})


def _run(model, pruner, steps=range(20)):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        with torch.no_grad():
            for parameter in model.parameters():
                gradient = torch.randn(parameter.shape, generator=generator)
                if hasattr(parameter, "to_local"):
                    from torch.distributed.tensor import DTensor

                    gradient = DTensor.from_local(gradient, parameter.device_mesh, parameter.placements)
                parameter.grad = gradient
                parameter.add_(gradient, alpha=-0.01)
        report = pruner.step()
    return report


@pytest.mark.parametrize("granularity", ["element", "neuron"])
def test_one_shard_is_the_plain_model(one_rank, granularity):
    found = []
    for sharded in (False, True):
        model = _model(sharded)
        pruner = Pruner(model, _config(granularity=granularity))
        assert pruner.shards.active is sharded
        found.append((_run(model, pruner), pruner.full_masks(), pruner.masks()))
    assert found[0][0] == found[1][0]
    for masks in found[1][1:]:
        assert all(torch.equal(mask, masks[name]) for name, mask in found[0][1].items())


def test_states_move_between_sharded_and_plain(one_rank, tmp_path):
    plain, sharded = _model(False), _model(True)
    whole = Pruner(plain, _config())
    _run(plain, whole, range(7))
    shards = Pruner(sharded, _config())
    _run(sharded, shards, range(7))
    save_pruner(shards, tmp_path)
    for target, state in (
        (Pruner(_model(False), _config()), shards),
        (Pruner(_model(True), _config()), whole),
    ):
        target.load_state_dict(state.state_dict())
        assert torch.equal(_window(target), _window(whole))
    load_pruner(fresh := Pruner(_model(False), _config()), tmp_path)
    assert torch.equal(_window(fresh), _window(whole))


def _window(pruner):
    state = pruner.state_dict()["window"]
    return torch.cat([(t.full_tensor() if hasattr(t, "to_local") else t).flatten() for t in state.values()])


def test_state_of_another_model_names_whole_shapes(one_rank, tmp_path):
    save_pruner(Pruner(_model(True), _config()), tmp_path)
    other = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)) for _ in range(2)])
    with pytest.raises(
        InputError, match=r"the pruner state is of another model: sensitivity_ema '0.0.weight' has shape None"
    ):
        load_pruner(Pruner(other, _config()), tmp_path)


@pytest.mark.filterwarnings("ignore:FSDP is switching to use")
def test_fsdp1_is_refused(one_rank):
    from torch.distributed.fsdp import FullyShardedDataParallel

    wrapped = FullyShardedDataParallel(_model(False), device_id=torch.device("cpu"))
    with pytest.raises(
        InputError, match=r"wrapped by FullyShardedDataParallel, .*; shard it with .*fully_shard"
    ):
        Pruner(wrapped, _config())


def test_a_save_by_other_ranks_is_replaced(one_rank, tmp_path):
    pruner = Pruner(_model(True), _config())
    (tmp_path / "pruner-00000-of-00002.safetensors").write_bytes(b"old")
    save_pruner(pruner, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pruner.safetensors"]


def test_a_file_with_another_record(tmp_path):
    from safetensors.torch import save_file

    save_file({"window.a": torch.zeros(2)}, tmp_path / "pruner.safetensors", metadata={"platon": "[]"})
    with pytest.raises(InputError, match=r"is no pruner state \(its record is a list\); take another"):
        load_pruner(Pruner(_model(False), _config()), tmp_path)
