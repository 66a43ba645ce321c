"""The authors' behaviour: against outputs of their code, and against our float64 reference."""

import numpy as np
import pytest
import torch
from torch import nn

from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.testing import NaivePlaton

_FIELDS = ("total", "warmup", "initial", "final", "beta1", "beta2", "interval", "remaining", "lr")


class _Node(nn.Module):
    pass


def _model(weights):
    """Modules nested as the names say; the innermost are linear layers."""
    root = _Node()
    for name, values in weights.items():
        *path, leaf = name.split(".")
        module = root
        for depth, part in enumerate(path):
            if not hasattr(module, part):
                shape = weights[".".join([*path, "weight"])].shape
                is_linear = depth == len(path) - 1
                module.add_module(part, nn.Linear(shape[1], shape[0]) if is_linear else _Node())
            module = getattr(module, part)
        getattr(module, leaf).data = torch.tensor(values, dtype=torch.float32)
    return root


def _sgd(parameters, gradients, lr):
    with torch.no_grad():
        for name, gradient in gradients.items():
            parameters[name].grad = torch.tensor(gradient, dtype=torch.float32)
            parameters[name].sub_(lr * parameters[name].grad)


@pytest.mark.parametrize("vector", ["platon_a", "platon_b"])
def test_golden_vector(vector, shared_folder):
    data = np.load(shared_folder / "vectors" / f"{vector}.npz")
    given = dict(zip(_FIELDS, data["config"].tolist(), strict=True))
    names = [str(name) for name in data["prunable"]]
    model = _model({name: data[f"init/{name}"] for name in names})
    parameters = dict(model.named_parameters())
    total, interval = int(given["total"]), int(given["interval"])
    pruner = Pruner(
        model,
        PruneConfig(
            sparsity=1 - given["remaining"],
            total_steps=total,
            initial_warmup_steps=int(given["initial"] * given["warmup"]),
            final_warmup_steps=int(given["final"] * given["warmup"]),
            mask_interval=interval,
            beta1=given["beta1"],
            beta2=given["beta2"],
            targets=names,
            reference_compat=True,
        ),
    )
    snapshots = 0
    for step in range(1, total + 1):
        _sgd(parameters, {name: data[f"grad/{name}"][step - 1] for name in names}, given["lr"])
        report = pruner.step()
        assert 1 - report.sparsity == pytest.approx(data["remaining_ratio"][step - 1], abs=1e-14)
        assert round(report.achieved_sparsity * pruner.size) == data["zeros"][step - 1]
        expected = data["threshold"][step - 1]
        assert report.threshold is None if np.isnan(expected) else report.threshold == expected
        if step % interval == 0 or step == total:
            state = pruner.state_dict()
            for name in names:
                _same(state["sensitivity_ema"][name], data[f"sensitivity/{name}"][snapshots])
                _same(state["uncertainty_ema"][name], data[f"uncertainty/{name}"][snapshots])
                _same(parameters[name], data[f"weight/{name}"][snapshots])
            snapshots += 1
    assert snapshots == len(data[f"weight/{names[0]}"])


def _same(tensor, array):
    np.testing.assert_allclose(tensor.detach().numpy(), array, rtol=1e-6, atol=1e-12)


_SHAPES = {"a.weight": (16, 16), "a.bias": (16,), "b.weight": (24, 16), "b.bias": (24,), "c.weight": (16, 24)}


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize(("interval", "beta1", "beta2", "sparsity"), [
    (1, 0.85, 0.95, 0.9), (5, 0.5, 0.9, 0.75), (10, 0.85, 0.85, 0.6), (3, 0.0, 0.7, 0.95),
])  # fmt: skip
def test_equals_the_naive_reference(reference, interval, beta1, beta2, sparsity):
    rng = np.random.default_rng(interval)
    weights = {name: rng.standard_normal(shape) for name, shape in _SHAPES.items()}
    model = _model({**weights, "c.bias": np.zeros(16)})
    parameters = dict(model.named_parameters())
    settings = {
        "sparsity": sparsity,
        "total_steps": 40,
        "initial_warmup_steps": 4,
        "final_warmup_steps": 12,
        "mask_interval": interval,
        "beta1": beta1,
        "beta2": beta2,
    }
    naive = NaivePlaton(weights, **settings, reference=reference)
    pruner = Pruner(model, PruneConfig(**settings, targets=list(_SHAPES), reference_compat=reference))
    for _ in range(40):
        gradients = {name: rng.standard_normal(shape) for name, shape in _SHAPES.items()}
        _sgd(parameters, gradients, 0.05)
        for name, gradient in gradients.items():
            weights[name] -= 0.05 * gradient
        report = pruner.step()
        ratio, threshold = naive.step(gradients)
        assert 1 - report.sparsity == pytest.approx(ratio, abs=1e-12)
        assert (report.threshold is None) == (threshold is None)
        assert threshold is None or report.threshold == pytest.approx(threshold, rel=1e-4)
        for name, weight in weights.items():
            np.testing.assert_allclose(parameters[name].detach().numpy(), weight, atol=1e-5)
    for name in _SHAPES:
        state = pruner.state_dict()
        np.testing.assert_allclose(state["sensitivity_ema"][name].numpy(), naive.sensitivity[name], rtol=1e-4)
        np.testing.assert_allclose(
            state["uncertainty_ema"][name].numpy(), naive.uncertainty[name], rtol=1e-3, atol=1e-7
        )


def test_window_of_one_consumes_an_empty_first_window():
    """interval 1 in the authors' code: at t = 1 the finished window is the zero of t = 0."""
    model = _model({"a.weight": np.ones((16, 16)), "a.bias": np.zeros(16)})
    config = PruneConfig(
        sparsity=0.5, total_steps=9, initial_warmup_steps=0, final_warmup_steps=1, mask_interval=1,
        targets="a.weight", reference_compat=True,
    )  # fmt: skip
    pruner = Pruner(model, config)
    model.a.weight.grad = torch.full((16, 16), 2.0)
    first = pruner.step()
    assert (first.masked, first.threshold, first.achieved_sparsity) == (True, 0.0, 0.0)
    assert float(pruner.state_dict()["sensitivity_ema"]["a.weight"].max()) == 0
    assert float(pruner.state_dict()["window"]["a.weight"].max()) == 2
    pruner.step()
    assert float(pruner.state_dict()["sensitivity_ema"]["a.weight"][0, 0]) == pytest.approx(0.3)
