"""Training on rounded numbers: the numbers of the exported file, gradients of the exact ones, and plain layers behind it."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from platon_compress.export.quantize import quantize_rows
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.runner import run_recipe
from platon_compress.recipe import parse_recipe
from platon_compress.tasks import rounded_phase
from platon_compress.tasks.rounded_phase import RoundedLinear, RoundedPhase, rounded_rows, rounded_tokens
from platon_compress.testing import tiny_recipe


def test_weights_are_those_of_the_file():
    torch.manual_seed(0)
    weight = torch.randn(6, 40) * (torch.rand(6, 40) < 0.4)
    weight[2] = 0
    sparse = weight.to_sparse_csr()
    values, columns, starts, scales = quantize_rows(
        sparse.values().numpy(), sparse.col_indices().numpy(), sparse.crow_indices().numpy()
    )
    dense = np.zeros((6, 40), np.float32)
    for row in range(6):
        inside = slice(starts[row], starts[row + 1])
        dense[row, columns[inside]] = values[inside] * scales[row]
    np.testing.assert_array_equal(rounded_rows(weight).numpy(), dense)


def test_tokens_are_those_of_the_specification():
    """The formulas of docs/operator.md, in float64."""
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((2, 5, 16)) * 3 + 1).astype(np.float32)
    x[0, 0], x[0, 1] = 0, np.abs(x[0, 1])
    low, high = np.minimum(0, x.min(-1, keepdims=True)), np.maximum(0, x.max(-1, keepdims=True))
    scale = np.maximum((high - low) / np.float64(255), 1e-30)
    zero = np.rint(-low / scale)
    wanted = (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale
    np.testing.assert_allclose(rounded_tokens(torch.from_numpy(x)).numpy(), wanted, atol=1e-5)
    assert np.abs(wanted - x).max() <= scale.max() * 1.01  # half a step, and half of the rounding of zero


def test_gradients_pass_straight_through():
    torch.manual_seed(0)
    exact = nn.Linear(24, 8)
    rounded = copy.deepcopy(exact)
    rounded.__class__ = RoundedLinear
    x, y = torch.randn(3, 24), torch.randn(3, 8)
    outputs = [layer(x) for layer in (exact, rounded)]
    assert 0 < float((outputs[0] - outputs[1]).abs().max()) < 0.1
    for output in outputs:
        (output * y).sum().backward()
    torch.testing.assert_close(rounded.weight.grad, y.T @ rounded_tokens(x))
    torch.testing.assert_close(rounded.bias.grad, exact.bias.grad)


def _model():
    return nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})


def test_the_phase_is_the_schedules_last_and_ends_whatever_happens():
    model = _model()
    schedule = SimpleNamespace(is_final=lambda step: step > 3)
    pruner = SimpleNamespace(schedule=schedule, names=("a.weight", "norm.weight"))
    phase = RoundedPhase(model, SimpleNamespace(pruner=pruner))
    names = set(model.state_dict())
    for step, kind in ((2, nn.Linear), (3, RoundedLinear), (4, RoundedLinear)):
        phase.on_step_begin(None, SimpleNamespace(global_step=step), None)
        assert [type(layer) for layer in model.values()] == [kind, nn.Linear, nn.LayerNorm]
    assert set(model.state_dict()) == names
    with pytest.raises(KeyboardInterrupt), phase.restored():
        raise KeyboardInterrupt
    assert [type(layer) for layer in model.values()] == [nn.Linear, nn.Linear, nn.LayerNorm]


def test_without_pruning_nothing_is_rounded():
    model = _model()
    RoundedPhase(model, None).on_step_begin(None, SimpleNamespace(global_step=0), None)
    assert type(model["a"]) is nn.Linear


@pytest.mark.train
def test_a_run_trains_the_last_phase_rounded(tmp_path, monkeypatch):
    seen = []
    original = RoundedPhase.on_step_begin

    def spy(self, args, state, control, **more):
        original(self, args, state, control, **more)
        seen.append(
            (
                self._pruning and self._pruning.pruner.schedule.is_final(state.global_step + 1),
                len(self._layers),
            )
        )

    monkeypatch.setattr(rounded_phase.RoundedPhase, "on_step_begin", spy)
    raw = tiny_recipe()
    raw["prune"] = {**raw["prune"], "quantize": "int8"}
    raw["plan"] = {**raw.get("plan", {}), "values": "int8"}
    run_recipe(parse_recipe(raw), tmp_path / "run", Reporter(quiet=True), until="prune")
    assert {layers for final, layers in seen if not final} == {0}
    assert {final for final, _ in seen} == {None, False, True}  # None: the dense training
    assert all(layers > 0 for final, layers in seen if final)
