"""What a step reads back from the device: a few numbers, however many parameters there are.

There is no accelerator here, so the device's code paths run on CPU tensors, and everything that would wait for a
device is counted.
"""

import logging
from collections import Counter
from copy import deepcopy

import pytest
import torch
from thinned import thinned
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.pruning.masks import arrays, elements, threshold
from platon_compress.testing import tiny_transformer

_STEPS = 12
_COSTS = {"32x32": 3e-11, "64x32": 1e-11, "32x64": 2e-11}
_CASES = {
    "element": {},
    "layer": {"scope": "layer"},
    "type": {"scope": "type"},
    "bound": {"max_layer_sparsity": 0.75},
    "bounds": {"bounds": {"re:.*": (0.2, 0.9)}},
    "costs": {"weight_costs": _COSTS},
    "movement": {"criterion": "movement"},
    "magnitude": {"criterion": "magnitude"},
    "sensitivity": {"criterion": "sensitivity", "scope": "layer"},
    "fisher": {"criterion": "fisher"},
    "reference": {"reference_compat": True},
    "4x1": {"granularity": "4x1"},
    "2:4": {"granularity": "2:4", "sparsity": 0.5},
    "head": {"granularity": "head", "sparsity": 0.5},
    "neuron": {"granularity": "neuron"},
}
_WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique", "bincount")


class _Reads(TorchDispatchMode):
    """Counts operators that wait for a device, and uses of a tensor's numbers in Python."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.found = Counter()
        for name in ("tolist", "cpu", "numpy"):
            monkeypatch.setattr(Tensor, name, self._counted(name, getattr(Tensor, name)))

    def _counted(self, name, original):
        def method(tensor, *arguments, **keywords):
            self.found[name] += tensor.numel() > 0
            return original(tensor, *arguments, **keywords)

        return method

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indexed_by_bool = name.startswith("index") and any(
            t is not None and t.dtype == torch.bool for a in args if isinstance(a, list | tuple) for t in a
        )
        if indexed_by_bool or any(name.startswith(waiting) for waiting in _WAITING):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_device(monkeypatch):
    for module in (arrays, elements, threshold):
        monkeypatch.setattr(module, "on_host", lambda device: False)


def _deep(layers):
    """A BERT of so many blocks, each with weights of its own."""
    model, _ = tiny_transformer("bert")
    encoder, generator = model.bert.encoder, torch.Generator().manual_seed(1)
    encoder.layer = nn.ModuleList([deepcopy(encoder.layer[0]) for _ in range(layers)])
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model


def _train(model, pruner, *, tied):
    generator = torch.Generator().manual_seed(0)
    for step in range(_STEPS):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            if tied:
                parameter.grad = parameter.grad.sign()
                parameter.data.fill_(1)
            parameter.data.add_(parameter.grad, alpha=-0.01)
        yield step


def _run(model, settings, *, tied=False, count=None):
    """Masks of every step; with `count`, the most that a step read back, by how."""
    base = {"sparsity": 0.7, "total_steps": _STEPS, "mask_interval": 2, "initial_warmup_steps": 1}
    pruner = Pruner(model, PruneConfig(**{**base, **settings}))
    masks, most = [], Counter()
    for _ in _train(model, pruner, tied=tied):
        if count is None:
            report = pruner.step()
        else:
            count.found.clear()
            with count:
                report = pruner.step()
            most |= count.found
        masks.append((report, pruner.masks()))
    return masks, most


@pytest.mark.parametrize("tied", thinned([False, True], every=2))
@pytest.mark.parametrize("case", _CASES)
def test_reads_do_not_grow_with_the_parameters(case, tied, as_on_a_device, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)
    reads = _Reads(monkeypatch)
    small, large = (_run(_deep(layers), _CASES[case], tied=tied, count=reads)[1] for layers in (1, 4))
    assert small.total() > 0
    assert large == small
    assert large.total() <= 8, large


@pytest.mark.parametrize("tied", thinned([False, True], every=2))
@pytest.mark.parametrize("case", _CASES)
def test_a_device_gives_the_masks_of_the_host(case, tied, monkeypatch):
    on_host, _ = _run(_deep(2), _CASES[case], tied=tied)
    for module in (arrays, elements, threshold):
        monkeypatch.setattr(module, "on_host", lambda device: False)
    monkeypatch.setattr(elements, "_SAMPLED", 100)
    elsewhere, _ = _run(_deep(2), _CASES[case], tied=tied)
    for (report, masks), (other, others) in zip(on_host, elsewhere, strict=True):
        assert report == other
        assert all(torch.equal(mask, others[name]) for name, mask in masks.items())


def test_a_step_that_overflows_reads_once_more(as_on_a_device, monkeypatch):
    """Which elements are not finite is asked of all gradients together."""
    reads, found = _Reads(monkeypatch), []
    for layers in (1, 4):
        model = _deep(layers)
        pruner = Pruner(model, PruneConfig(sparsity=0.7, total_steps=_STEPS, mask_interval=2))
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float("inf"))
        reads.found.clear()
        with reads:
            assert pruner.step().skipped
        found.append(dict(reads.found))
    assert found[0] == found[1]
