"""The walk through a model: every family, layer after layer on what is compressed already."""

import copy

import pytest
import torch
from torch import nn

from platon_compress.errors import InputError
from platon_compress.oneshot import OneShotConfig, prune, prune_once
from platon_compress.oneshot.methods import METHODS
from platon_compress.oneshot.moments import Moments, valid_rows
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer

HALF = OneShotConfig(sparsity=0.5)
FAMILIES = (
    "bert",
    "roberta",
    "distilbert",
    "electra",
    "mpnet",
    "deberta-v3",
    "modernbert",
    "vit",
    "dinov2",
    "clip-text",
)


def calibration(inputs, count=8, seed=1):
    """Batches of other inputs of the same sizes, whose first is `inputs`."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [inputs]
    for _ in range(count - 1):
        batch = {}
        for name, tensor in inputs.items():
            batch[name] = tensor
            if name == "input_ids":
                ids = torch.randint(3, 80, tensor.shape, generator=generator)
                batch[name] = torch.where(inputs["attention_mask"] == 0, tensor, ids)
            elif tensor.is_floating_point():
                batch[name] = torch.randn(tensor.shape, generator=generator)
        drawn.append(batch)
    return [{name: tensor.numpy() for name, tensor in batch.items()} for batch in drawn]


@torch.no_grad()
def first_output(model, inputs):
    return next(iter(model(**inputs).values()))


@pytest.mark.parametrize("family", FAMILIES)
def test_half_of_every_layer_goes(family):
    model, inputs = tiny_transformer(family)
    before = first_output(model, inputs)
    names = list(select(model))
    result = prune_once(model, calibration(inputs), HALF)
    assert {layer.name for layer in result.layers} == set(names)
    for layer in result.layers:
        weight = model.get_parameter(layer.name)
        assert layer.nnz == int(torch.count_nonzero(weight)) == weight.numel() - int(weight.numel() * 0.5)
        assert 0 < layer.error < 1
    assert result.examples == 16
    after = first_output(model, inputs)
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)


def test_tokens_are_counted_without_padding():
    model, inputs = tiny_transformer("bert")
    assert prune_once(model, calibration(inputs, 3), HALF).tokens == 3 * 19


def test_padding_changes_nothing():
    model, inputs = tiny_transformer("bert")
    longer, batches = copy.deepcopy(model), calibration(inputs)
    padded = []
    for batch in batches:
        wide = {name: torch.zeros(2, 20, dtype=torch.long) for name in batch}
        for name, array in batch.items():
            wide[name][:, :12] = torch.from_numpy(array)
        padded.append({name: tensor.numpy() for name, tensor in wide.items()})
    prune_once(model, batches, HALF)
    prune_once(longer, padded, HALF)
    for one, other in zip(model.parameters(), longer.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_every_layer_sees_what_is_compressed_before_it():
    """Layer after layer through the whole model, by hooks alone: the same weights, without any replay."""
    model, inputs = tiny_transformer("bert")
    naive, given, batches = copy.deepcopy(model), copy.deepcopy(model), calibration(inputs)
    prune_once(model, batches, HALF)
    paths = {id(module): path for path, module in naive.named_modules()}
    blocks = [naive.bert.encoder.layer[i] for i in range(2)]
    for block in blocks:
        attention = block.attention
        together = [[attention.self.query, attention.self.key, attention.self.value]]
        for group in (*together, [attention.output.dense], [block.intermediate.dense], [block.output.dense]):
            x, z = (_inputs_of(m, paths[id(group[0])], batches) for m in (naive, given))
            moments = Moments.empty(x.shape[1])
            moments.add(x, z)
            for layer in group:
                weight = layer.weight.detach().double()
                wanted = (z - z.mean(0)).double() @ weight.T
                aimed = weight + _least_squares((x - x.mean(0)).double(), wanted, weight)
                after = METHODS["sparsegpt"](aimed, moments, 0.5, True)
                layer.bias.data += (weight @ z.double().mean(0) - after @ x.double().mean(0)).float()
                layer.weight.data = after.float()
    for (name, one), other in zip(model.named_parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)


@torch.no_grad()
def _inputs_of(model, path, batches):
    """Rows [n, in] that the layer at `path` reads."""
    rows = []
    for batch in batches:
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        mask = tensors["attention_mask"]
        layer = model.get_submodule(path)
        handle = layer.register_forward_pre_hook(lambda _, x, mask=mask: rows.append(valid_rows(x[0], mask)))
        model(**tensors)
        handle.remove()
    return torch.cat(rows)


def _least_squares(x, wanted, weight):
    """D that makes x (W + D)^T nearest to `wanted`, with a ridge on D."""
    ridge = 0.01 * (x**2).sum(0).mean()
    return torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]), x.T @ (wanted - x @ weight.T)).T


def test_a_smaller_loss_than_without_making_good():
    model, inputs = tiny_transformer("bert")
    batches, before = calibration(inputs, 24), first_output(model, inputs)
    gaps = {}
    for method in METHODS:
        pruned = copy.deepcopy(model)
        prune_once(pruned, batches, OneShotConfig(sparsity=0.5, method=method))
        gaps[method] = float((first_output(pruned, inputs) - before).abs().mean())
    assert gaps["sparsegpt"] < min(gaps["wanda"], gaps["magnitude"])


def test_the_answers_are_nearer_to_the_given_model(monkeypatch):
    model, inputs = tiny_transformer("bert")
    batches, before = calibration(inputs, 24), first_output(model, inputs)
    gaps = []
    for _ in range(2):
        pruned = copy.deepcopy(model)
        prune_once(pruned, batches, HALF)
        gaps.append(float((first_output(pruned, inputs) - before).norm()))
        monkeypatch.setattr(prune, "caught_up", lambda weight, moments, centred: torch.zeros_like(weight))
    assert gaps[0] < gaps[1]


def test_the_model_is_left_as_it_was_but_for_its_layers():
    model, inputs = tiny_transformer("bert")
    model.train()
    others = {
        n: p.clone() for n, p in model.named_parameters() if n not in select(model) and "layer" not in n
    }
    seen = []
    prune_once(
        model, calibration(inputs), HALF, progress=lambda done, total, status="": seen.append((done, total))
    )
    assert not model.training
    assert all(torch.equal(model.get_parameter(name), value) for name, value in others.items())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert seen == [(1, 2), (2, 2)]


class Twice(nn.Module):
    """Blocks of two linears; `between` is done to what one block gives before the next takes it."""

    def __init__(self, between, repeats=1):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(2)
        )
        self.between, self.repeats = between, repeats

    def forward(self, x):
        for block in self.blocks:
            for _ in range(self.repeats):
                x = block(x)
            x = self.between(x)
        return x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Twice(lambda x: x + 1), "something is computed between blocks.1 and the block before"),
        (Twice(lambda x: x[:4]), "something is computed between"),
        (Twice(lambda x: x, repeats=2), "not run once each in their order"),
    ],
)
def test_models_that_do_more_than_their_blocks_are_refused(model, message):
    batches = [{"x": torch.randn(6, 8).numpy()}]
    with pytest.raises(InputError, match=message):
        prune_once(model, batches, HALF)
    assert not any(torch.count_nonzero(p == 0) for p in model.parameters())


def test_blocks_in_a_row_need_no_transformer():
    model = Twice(lambda x: x)
    prune_once(model, [{"x": torch.randn(64, 8).numpy()}], HALF)
    assert [int(torch.count_nonzero(b[0].weight)) for b in model.blocks] == [32, 32]


def test_no_data_and_wrong_settings():
    model, inputs = tiny_transformer("bert")
    with pytest.raises(InputError, match="needs calibration data"):
        prune_once(model, [], HALF)
    for settings, message in (
        ({"sparsity": 0}, "above 0 and below 1"),
        ({"sparsity": 1.0}, "above 0 and below 1"),
        ({"sparsity": float("nan")}, "above 0 and below 1"),
        ({"sparsity": 0.5, "method": "obs"}, "sparsegpt, wanda, magnitude"),
    ):
        with pytest.raises(InputError, match=message):
            OneShotConfig(**settings)
    model.bert.embeddings.word_embeddings.weight.data[:] = float("inf")
    with pytest.raises(InputError, match="not finite"):
        prune_once(model, calibration(inputs), HALF)


def test_a_layer_that_never_runs_is_named():
    model = Twice(lambda x: x)
    model.blocks[1].append(nn.Identity())
    model.blocks[1][3].unused = nn.Linear(8, 8)
    with pytest.raises(
        InputError, match=r"blocks\.1\.3\.unused\.weight does nothing on the calibration data"
    ):
        prune_once(model, [{"x": torch.randn(64, 8).numpy()}], HALF)
