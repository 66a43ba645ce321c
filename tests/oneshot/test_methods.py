"""The methods against naive float64 references, which invert what is left of the matrix at every column."""

import numpy as np
import pytest
import torch

from platon_compress.errors import InputError
from platon_compress.oneshot import methods
from platon_compress.oneshot.methods import METHODS
from platon_compress.oneshot.moments import Moments, valid_rows


@pytest.fixture
def case():
    """(weight [24, 40], inputs [300, 40] that hang together and are off zero, their moments)"""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((300, 12)) @ rng.standard_normal((12, 40)) + rng.standard_normal((300, 40))
    inputs = torch.tensor(inputs + 2 * rng.standard_normal(40)).float()
    moments = Moments.empty(40)
    for part in inputs.split(70):
        moments.add(part)
    return torch.tensor(rng.standard_normal((24, 40))), inputs.double(), moments


def naive_sparsegpt(weight, second, sparsity, block):
    """Optimal brain surgeon, column after column: zero, repair what is to the right, forget the column."""
    weight, columns = weight.clone(), weight.shape[1]
    second = second + 0.01 * second.diagonal().mean() * torch.eye(columns)
    gone = torch.zeros_like(weight, dtype=torch.bool)
    for column in range(columns):
        if column % block == 0:
            end = min(column + block, columns)
            pivots = [torch.linalg.inv(second[j:, j:])[0, 0] for j in range(column, end)]
            scores = weight[:, column:end] ** 2 / torch.stack(pivots)
            due = int(len(weight) * end * sparsity) - int(gone.sum())
            flat = torch.zeros(scores.numel(), dtype=torch.bool)
            flat[scores.flatten().argsort(stable=True)[:due]] = True
            gone[:, column:end] = flat.view_as(scores)
        inverse = torch.linalg.inv(second[column:, column:])
        lost = torch.where(gone[:, column], weight[:, column], 0.0)
        weight[:, column:] -= torch.outer(lost / inverse[0, 0], inverse[0])
    return weight.masked_fill(gone, 0.0)


def lost(weight, after, second):
    return float((((weight - after) @ second) * (weight - after)).sum())


@pytest.mark.parametrize("block", [40, 16])
@pytest.mark.parametrize("centred", [False, True])
def test_sparsegpt_is_the_surgeon(case, monkeypatch, block, centred):
    weight, _, moments = case
    monkeypatch.setattr(methods, "_BLOCK", block)
    after = METHODS["sparsegpt"](weight, moments, 0.6, centred)
    expected = naive_sparsegpt(weight, moments.second(centred=centred), 0.6, block)
    assert torch.equal(after == 0, expected == 0)
    torch.testing.assert_close(after, expected, rtol=1e-6, atol=1e-7)


def test_moments_are_those_of_all_rows(case):
    _, inputs, moments = case
    assert moments.count == len(inputs)
    torch.testing.assert_close(moments.mean, inputs.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(moments.second(centred=False), inputs.T @ inputs / 300, rtol=1e-5, atol=1e-4)
    spread = torch.cov(inputs.T, correction=0)
    torch.testing.assert_close(moments.second(centred=True), spread, rtol=1e-4, atol=1e-3)


def test_choices_are_the_papers(case):
    weight, inputs, moments = case
    sizes = weight.abs()
    kept = METHODS["magnitude"](weight, moments, 0.5, True)
    assert torch.equal(kept != 0, sizes > sizes.flatten().sort().values[24 * 40 // 2 - 1])
    scores = sizes * inputs.norm(dim=0)
    bounds = scores.sort(dim=1).values[:, 19:20]
    kept = METHODS["wanda"](weight, moments, 0.5, True)
    assert torch.equal(kept != 0, scores > bounds)
    assert torch.equal(kept[kept != 0], weight[kept != 0])


@pytest.mark.parametrize("sparsity", [0.01, 0.3, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("method", METHODS)
def test_zeros_are_as_many_as_asked_for(case, monkeypatch, method, sparsity):
    weight, _, moments = case
    monkeypatch.setattr(methods, "_BLOCK", 16)
    after = METHODS[method](weight, moments, sparsity, False)
    wanted = 24 * int(40 * sparsity) if method == "wanda" else int(24 * 40 * sparsity)
    assert int((after == 0).sum()) == wanted
    assert torch.isfinite(after).all()


def test_what_stays_makes_good(case):
    weight, _, moments = case
    second = moments.second(centred=False)
    damage = [lost(weight, METHODS[name](weight, moments, 0.5, False), second) for name in METHODS]
    assert damage[0] < 0.6 * min(damage[1:])


def test_a_bias_takes_the_mean(case):
    weight, _, moments = case
    spread = moments.second(centred=True)
    whole = METHODS["sparsegpt"](weight, moments, 0.5, False)
    centred = METHODS["sparsegpt"](weight, moments, 0.5, True)
    assert lost(weight, centred, spread) < lost(weight, whole, spread)


@pytest.mark.parametrize("centred", [False, True])
def test_a_layer_catches_up_with_changed_inputs(case, centred):
    weight, inputs, _ = case
    now = inputs + 0.3 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0)).double()
    moments = Moments.empty(40)
    for x, z in zip(now.split(70), inputs.split(70), strict=True):
        moments.add(x, z)
    x, z = (rows - rows.mean(0) if centred else rows for rows in (now, inputs))
    ridge = 0.01 * (x**2).sum(0).mean() * torch.eye(40)
    expected = torch.linalg.inv(x.T @ x + ridge) @ x.T @ (z - x) @ weight.T
    found = methods.caught_up(weight, moments, centred)
    torch.testing.assert_close(found, expected.T, rtol=1e-3, atol=1e-3)
    aims = z @ weight.T
    assert (x @ (weight + found).T - aims).norm() < 0.98 * (x @ weight.T - aims).norm()


def test_unchanged_inputs_need_no_catching_up(case):
    weight, _, moments = case
    assert not methods.caught_up(weight, moments, True).any()


def test_features_that_never_vary_do_no_harm(case):
    weight, inputs, _ = case
    inputs = inputs.clone()
    inputs[:, 5], inputs[:, 7] = 0.0, 3.0
    moments = Moments.empty(40)
    moments.add(inputs)
    for centred in (False, True):
        after = METHODS["sparsegpt"](weight, moments, 0.5, centred)
        assert torch.isfinite(after).all()
        assert after.abs().max() < 100


def test_infinite_inputs_are_refused():
    moments = Moments.empty(3)
    moments.add(torch.tensor([[1.0, float("inf"), 2.0]]))
    with pytest.raises(InputError, match="not finite or all alike"):
        METHODS["sparsegpt"](torch.ones(2, 3, dtype=torch.float64), moments, 0.5, False)


def test_padding_is_left_out():
    x = torch.arange(24.0).reshape(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert valid_rows(x, mask)[:, 0].tolist() == [0, 4, 12]
    assert valid_rows(x, None).shape == (6, 4)
    assert valid_rows(x[:, 0], mask).shape == (2, 4)
    assert valid_rows(x, torch.ones(2, 4)).shape == (6, 4)
