"""Masks become permanent zeros, pruning tools leave no trace, and the counted sparsity is the truth."""

import copy
import json
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from platon_compress.baking import BakedWeight, bake, plain_state_dict, read_baked
from platon_compress.errors import CheckFailedError, InputError
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer


def _masks(model, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(p.shape, generator=generator) < density for n, p in select(model).items()}


def test_masked_values_become_zero_and_others_stay():
    model, _ = tiny_transformer("bert")
    before = {n: p.detach().clone() for n, p in select(model).items()}
    masks = _masks(model, 0.3)
    baked = bake(model, masks)
    for name, parameter in select(model).items():
        assert torch.equal(parameter, before[name] * masks[name])
    assert not baked.model.training
    kept = sum(int(m.sum()) for m in masks.values())
    assert baked.sparsity == pytest.approx(1 - kept / sum(m.numel() for m in masks.values()))
    assert {w.name: w.nnz for w in baked.weights} == {n: int(m.sum()) for n, m in masks.items()}


def test_infinite_and_nan_values_under_the_mask_become_zero():
    model = nn.Sequential(nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
        model[0].weight[1, 1] = float("inf")
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[0, 0] = mask[1, 1] = False
    bake(model, {"0.weight": mask})
    assert model[0].weight[0, 0] == 0
    assert model[0].weight[1, 1] == 0


def test_values_that_are_not_finite_are_refused():
    model = nn.Sequential(nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"0\.weight holds 1 values that are not finite; go back"):
        bake(model, {"0.weight": torch.ones(2, 4, dtype=torch.bool)})


def test_summary_is_json_able():
    model, _ = tiny_transformer("bert")
    baked = bake(model, _masks(model, 0.5), target_sparsity=0.4)
    summary = json.loads(json.dumps(baked.to_dict()))
    assert summary["target_sparsity"] == 0.4
    assert summary["weights"][0]["density"] == baked.weights[0].density
    assert summary["skipped"] == []


def test_wrapped_names_and_wrapped_models_fit():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    mask = torch.zeros(4, 4, dtype=torch.bool)
    baked = bake(nn.DataParallel(model), {"module._orig_mod.0.weight": mask})
    assert baked.model is model
    assert torch.count_nonzero(model[0].weight) == 0


def test_torch_prune_hooks_are_folded():
    model, inputs = tiny_transformer("bert")
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    for linear in linears:
        prune.l1_unstructured(linear, "weight", amount=0.5)
    before = model(**inputs).logits
    plain_keys = set(tiny_transformer("bert")[0].state_dict())
    baked = bake(model)
    assert set(baked.model.state_dict()) == plain_keys
    assert not any(m._forward_pre_hooks for m in baked.model.modules())
    assert baked.sparsity == pytest.approx(0.5)
    assert torch.equal(before, baked.model(**inputs).logits)


def test_masks_named_after_torch_prune_parameters_fit():
    model = nn.Sequential(nn.Linear(8, 8))
    prune.random_unstructured(model[0], "weight", amount=0.5)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    assert bake(model, {"0.weight_orig": mask}).sparsity == 1


def test_parametrizations_are_folded():
    class Half(nn.Module):
        def forward(self, weight):
            return weight * (torch.arange(weight.shape[1]) % 2)

    model, _ = tiny_transformer("vit")
    for module in list(model.modules()):
        if isinstance(module, nn.Linear):
            parametrize.register_parametrization(module, "weight", Half())
    baked = bake(model)
    assert not any(parametrize.is_parametrized(m) for m in baked.model.modules())
    assert baked.sparsity == pytest.approx(0.5)


def test_tied_weights_are_counted_once():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[1].weight = model[0].weight
    half = torch.arange(36).reshape(6, 6) % 2 == 0
    baked = bake(model, {"0.weight": half, "1.weight": half})
    assert [w.name for w in baked.weights] == ["0.weight"]
    assert baked.sparsity == 0.5
    assert model[0].weight is model[1].weight


def test_parameters_that_are_not_linear_weights_are_skipped_with_a_reason():
    model = nn.ModuleDict({"linear": nn.Linear(4, 4), "table": nn.Embedding(4, 4)})
    masks = {n: torch.zeros(p.shape, dtype=torch.bool) for n, p in model.named_parameters()}
    baked = bake(model, masks)
    assert [w.name for w in baked.weights] == ["linear.weight"]
    assert {name for name, _ in baked.skipped} == {"linear.bias", "table.weight"}
    assert all("not the weight of a linear layer" in reason for _, reason in baked.skipped)
    assert baked.sparsity == 1


@pytest.mark.parametrize("target", [0.0, 0.5, 0.9])
def test_target_that_is_just_reached_passes(target):
    model, _ = tiny_transformer("bert")
    parameters = select(model)
    scores = torch.rand(sum(p.numel() for p in parameters.values()))
    zeros = math.floor(scores.numel() * target)
    keep = torch.ones_like(scores, dtype=torch.bool)
    keep[scores.argsort()[:zeros]] = False
    pieces = keep.split([p.numel() for p in parameters.values()])
    masks = {n: k.reshape(p.shape) for (n, p), k in zip(parameters.items(), pieces, strict=True)}
    assert bake(model, masks, target_sparsity=target).sparsity == zeros / scores.numel()


def test_sparsity_below_the_target_is_refused():
    model, _ = tiny_transformer("bert")
    with pytest.raises(
        CheckFailedError, match=r"sparsity is 0\.\d+ \(\d+ zeros of \d+\), below the target 0\.95; train"
    ):
        bake(model, _masks(model, 0.2), target_sparsity=0.95)


def test_a_dense_checkpoint_is_refused_with_its_counts():
    model, _ = tiny_transformer("bert")
    parameter = next(iter(select(model).values()))
    with torch.no_grad():
        parameter[0, :3] = 0
    size = sum(p.numel() for p in select(model).values())
    with pytest.raises(InputError, match=rf"holds 3 zeros among {size} weights .* not pruned; give a pruned"):
        bake(model)


def test_one_pruned_weight_is_enough():
    model, _ = tiny_transformer("bert")
    parameter = next(iter(select(model).values()))
    with torch.no_grad():
        parameter[:16] = 0
    assert bake(model).weights[0].density == 0.5


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({}, "masks is empty"),
        (
            {"9.weight": torch.ones(2, 4)},
            r"the mask '9\.weight' fits no parameter of Sequential; pass the masks",
        ),
        ({"0.weight": torch.ones(4, 2)}, r"has shape \[4, 2\], its parameter \[2, 4\]; pass the masks"),
        ({"0.weight": torch.full((2, 4), 0.5)}, "holds values beside 0 and 1; give booleans"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, message):
    with pytest.raises(InputError, match=message):
        bake(nn.Sequential(nn.Linear(4, 2)), masks)


def test_target_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"target_sparsity must be in \[0, 1\), got 1\.0"):
        bake(nn.Sequential(nn.Linear(4, 2)), {}, target_sparsity=1.0)


def test_density_of_a_weight():
    assert BakedWeight(name="w", shape=(4, 8), nnz=8).density == 0.25


class TestPlainStateDict:
    def test_torch_prune_keys_become_plain(self):
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
        prune.l1_unstructured(model[0], "weight", amount=0.5)
        wanted = model[0].weight.detach().clone()
        plain = plain_state_dict(model.state_dict())
        assert set(plain) == {"0.weight", "0.bias", "1.weight", "1.bias"}
        assert torch.equal(plain["0.weight"], wanted)

    def test_parametrized_masks_become_plain(self):
        weight, mask = torch.randn(3, 4), torch.rand(3, 4) > 0.5
        state = {"fc.parametrizations.weight.original": weight, "fc.parametrizations.weight.0.mask": mask}
        plain = plain_state_dict(state)
        assert set(plain) == {"fc.weight"}
        assert torch.equal(plain["fc.weight"], weight * mask)

    def test_other_keys_pass(self):
        state = {"a.weight": torch.ones(2), "attention_mask": torch.ones(2), "b_orig": torch.ones(2)}
        assert plain_state_dict(state).keys() == state.keys()

    def test_mask_of_another_shape_is_refused(self):
        state = {"w_orig": torch.ones(2, 2), "w_mask": torch.ones(2)}
        with pytest.raises(InputError, match=r"w_mask has shape \[2\], but w_orig has \[2, 2\]; save"):
            plain_state_dict(state)


def test_values_are_rounded_to_float16():
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.Linear(8, 8) for _ in range(2)])})
    masks = {f"layers.{i}.weight": torch.rand(8, 8) > 0.5 for i in range(2)}
    before = {name: model.get_parameter(name).detach().clone() for name in masks}
    bias = model["layers"][0].bias.detach().clone()
    bake(model, masks, values="float16")
    for name, mask in masks.items():
        assert torch.equal(model.get_parameter(name), before[name].half().float() * mask)
    assert torch.equal(model["layers"][0].bias, bias)


def test_values_beyond_float16_are_refused():
    model = torch.nn.Linear(4, 4)
    with torch.no_grad():
        model.weight[0, 0] = 1e5
    with pytest.raises(InputError, match="weight holds values above 65504, which float16 lacks"):
        bake(model, {"weight": torch.ones(4, 4, dtype=torch.bool)}, values="float16")
    with pytest.raises(InputError, match="values must be one of float32, float16, got 'int8'"):
        bake(model, {"weight": torch.ones(4, 4, dtype=torch.bool)}, values="int8")


def _saved():
    model, _ = tiny_transformer("bert")
    baked = bake(model, {name: torch.rand(p.shape) < 0.3 for name, p in select(model).items()})
    return model, baked, json.loads(json.dumps(baked.to_dict()))


def test_counts_are_read_back():
    model, baked, record = _saved()
    assert read_baked(copy.deepcopy(model), record).to_dict() == baked.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, r: r.pop("weights"), "counts of the baked model are damaged"),
        (lambda m, r: r["weights"][0].pop("nnz"), "counts of the baked model are damaged"),
        (lambda m, r: r["weights"][0].update(nnz=float("inf")), "counts of the baked model are damaged"),
        (lambda m, r: r["weights"][0].update(name=[]), r"the baked model has no \[\]"),
        (lambda m, r: r.update(target_sparsity={}), "counts of the baked model are damaged"),
        (lambda m, r: r.update(sparsity="much"), "counts of the baked model are damaged"),
        (
            lambda m, r: r["weights"][0].update(name="elsewhere"),
            "has no elsewhere, .* another version of transformers named it; bake it again",
        ),
        (
            lambda m, r: m.get_parameter(r["weights"][3]["name"]).data.zero_(),
            "is not the one that was counted",
        ),
    ],
)
def test_counts_of_another_model_are_refused(change, message):
    model, _, record = _saved()
    change(model, record)
    with pytest.raises(InputError, match=message):
        read_baked(model, record)


def test_negative_zeros_become_zeros():
    """Tools that multiply by their mask leave half of the zeros negative."""
    model, _ = tiny_transformer("bert")
    with torch.no_grad():
        for parameter in select(model).values():
            parameter.mul_((torch.rand(parameter.shape) < 0.3).float())
    assert any(bool(torch.signbit(p[p == 0]).any()) for p in select(model).values())
    bake(model)
    assert not any(bool(torch.signbit(p[p == 0]).any()) for p in select(model).values())


@pytest.mark.parametrize("size", [1e-20, 1e-40, 1e-12])
def test_values_that_are_almost_zero_are_said(size):
    model = _tiny_blocks()
    for block in model:
        block[0].weight.data[torch.rand(8, 8) < 0.5] = size
    with pytest.raises(
        InputError, match=r"holds \d+ values that are almost zero, and stay; .*set them to zero"
    ):
        bake(model)
    model[0][1].weight.data[:4] = 0
    assert any("almost zero" in reason for _, reason in bake(model).skipped)


def _tiny_blocks():
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)) for _ in range(2)))
