"""A pruner goes on from its saved state bit by bit, and refuses the state of another model, config or release."""

import pytest
import torch
from residual_nets import ResidualBlock, residual_net, steps_config, take_steps
from torch import nn

from platon_compress.errors import InputError
from platon_compress.pruning import Pruner


@pytest.mark.parametrize("stop", [1, 10, 13, 30, 37])
def test_resume_is_bit_identical(stop):
    whole = residual_net()
    reports = take_steps(whole, pruner := Pruner(whole, steps_config()), 40)
    first = residual_net()
    saved = Pruner(first, steps_config())
    take_steps(first, saved, stop)
    state, weights = saved.state_dict(), {k: v.clone() for k, v in first.state_dict().items()}
    take_steps(first, saved, 2, start=stop)  # the state is a copy: going on does not change it
    second = residual_net(seed=7)
    second.load_state_dict(weights)
    resumed = Pruner(second, steps_config())
    resumed.load_state_dict(state)
    assert reports[stop:] == take_steps(second, resumed, 40 - stop, start=stop)
    for (name, a), b in zip(whole.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), name
    masks = pruner.masks()
    assert all(torch.equal(mask, masks[name]) for name, mask in resumed.masks().items())


def test_state_has_the_documented_keys():
    net = residual_net()
    pruner = Pruner(torch.compile(net, backend="eager"), steps_config())
    state = pruner.state_dict()
    assert state["step"] == 0
    assert set(state["sensitivity_ema"]) == set(state["uncertainty_ema"]) == set(state["window"])
    assert not any("_orig_mod" in name for name in state["window"])
    assert state["config"]["sparsity"] == 0.8


def test_state_of_another_config_or_model():
    state = Pruner(residual_net(), steps_config()).state_dict()
    with pytest.raises(InputError, match=r"saved with sparsity=0.8, this run has 0.9; resume with the saved"):
        Pruner(residual_net(), steps_config(sparsity=0.9)).load_state_dict(state)
    with pytest.raises(
        InputError, match=r"saved with total_steps=40, this run has 80; .* number of processes"
    ):
        Pruner(residual_net(), steps_config(total_steps=80)).load_state_dict(state)
    other = nn.Sequential(nn.ModuleList([ResidualBlock(inner=32), ResidualBlock()]))
    with pytest.raises(
        InputError, match=r"of another model: sensitivity_ema '0.0.fc1.weight' has shape \(24, 16\)"
    ):
        Pruner(other, steps_config()).load_state_dict(state)
    with pytest.raises(InputError, match="the pruner state lacks 'step'; give the result of"):
        Pruner(residual_net(), steps_config()).load_state_dict({})


def test_state_without_a_counter():
    state = Pruner(residual_net(), steps_config()).state_dict()
    del state["counters"]["ranked"]
    with pytest.raises(InputError, match="the counters of the pruner state lack 'ranked'; it is damaged"):
        Pruner(residual_net(), steps_config()).load_state_dict(state)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("step", "x", "'step' of the pruner state is 'x', not a int; give the result of"),
        ("counters", None, "'counters' of the pruner state is None, not a Mapping"),
        ("config", [], r"'config' of the pruner state is \[\], not a Mapping"),
        ("window", 3, "'window' of the pruner state is 3, not a Mapping"),
    ],
)
def test_state_with_a_part_of_another_kind(field, value, message):
    pruner = Pruner(residual_net(), steps_config())
    with pytest.raises(InputError, match=message):
        pruner.load_state_dict({**pruner.state_dict(), field: value})
    with pytest.raises(InputError, match="the pruner state is a NoneType, not a dict"):
        pruner.load_state_dict(None)


def test_state_of_another_transformers_major(caplog):
    """Other names are an error that says why; the same names are only worth a warning."""
    state = Pruner(residual_net(), steps_config()).state_dict()
    here = state["transformers_major"]
    state["transformers_major"] = 3
    renamed = nn.ModuleDict({"layers": nn.ModuleList([ResidualBlock(), ResidualBlock()])})
    with pytest.raises(
        InputError, match=rf"of another model: .* \(saved with transformers 3, here {here}\); resume"
    ):
        Pruner(renamed, steps_config()).load_state_dict(state)
    assert "saved with transformers" not in caplog.text
    Pruner(residual_net(), steps_config()).load_state_dict(state)
    assert (
        f"the pruner state was saved with transformers 3, here is {here}; names and shapes agr" in caplog.text
    )
