"""Ranking by score per measured second."""

import math

import pytest
import torch
from torch import nn

from platon_compress.errors import InputError
from platon_compress.planning import CostTable, weight_costs
from platon_compress.pruning import PruneConfig, Pruner

COSTS = {"4x8": 3e-9, "2x4": 1e-9}


def _model():
    """32 weights 1.00 .. 1.31 in the dear layer, 8 weights 0.50 .. 0.57 in the cheap one."""
    model = nn.Sequential(nn.Linear(8, 4, bias=False), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_((1 + torch.arange(32) / 100).view(4, 8))
        model[1].weight.copy_((0.5 + torch.arange(8) / 100).view(2, 4))
    return model


def _config(**settings):
    return PruneConfig(**{
        "sparsity": 0.25, "total_steps": 4, "initial_warmup_steps": 0, "mask_interval": 1,
        "criterion": "magnitude", "schedule": "one_shot", "targets": ["0", "1"], "weight_costs": COSTS, **settings,
    })  # fmt: skip


def _kept(model, config):
    pruner = Pruner(model, config)
    for _ in range(4):
        report = pruner.step()
    return {name: mask.sum().item() for name, mask in pruner.masks().items()}, report.threshold


def test_a_dear_layer_gives_up_weights_that_score_more():
    """Rule: 10 of 40 weights go. By score the whole cheap layer goes; per second the dear layer pays alone,
    because 1.09 / 3 is less than 0.50 / 1."""
    assert _kept(_model(), _config(weight_costs=None))[0] == {"0.weight": 30, "1.weight": 0}
    kept, threshold = _kept(_model(), _config())
    assert kept == {"0.weight": 22, "1.weight": 8}
    mean = (32 * 3e-9 + 8 * 1e-9) / 40
    assert threshold == pytest.approx(1.09 / (3e-9 / mean), rel=1e-6)


def test_the_mask_is_that_of_the_formula():
    """Against float64: the k smallest s * c / c_l, on scores without a pattern, with the sampled search too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1024, 1024, bias=False), nn.Linear(1024, 512, bias=False))
    costs = {"1024x1024": 1.7e-11, "512x1024": 4.1e-11}
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(torch.randn_like(layer.weight))
    scores = torch.cat([
        (layer.weight.detach().abs().double() / costs["x".join(map(str, layer.weight.shape))]).view(-1) for layer in model
    ])  # fmt: skip
    pruner = Pruner(model, _config(weight_costs=costs, sparsity=0.5))
    for _ in range(4):
        pruner.step()
    kept = torch.cat([mask.view(-1) for mask in pruner.masks().values()])
    wanted = torch.ones(len(scores), dtype=torch.bool)
    wanted[torch.argsort(scores)[: len(scores) // 2]] = False
    assert int(kept.sum()) == math.ceil(len(scores) / 2)
    # Two scores closer than float32 tells them apart may change places at the cut.
    assert int((kept != wanted).sum()) <= 4


def test_equal_costs_change_nothing():
    plain, equal = (_kept(_model(), _config(weight_costs=c)) for c in (None, dict.fromkeys(COSTS, 2e-9)))
    assert plain == equal


@pytest.mark.parametrize(("bound", "kept"), [(0.25, (24, 6)), (0.3, (23, 7))])
def test_the_bound_per_layer_still_holds(bound, kept):
    """The dear layer would give up all 10: it loses its bound, the cheap one the rest."""
    assert tuple(_kept(_model(), _config(max_layer_sparsity=bound))[0].values()) == kept


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"weight_costs": {"4x8": 0.0}},
            r"weight_costs '4x8' must be a number above 0, got 0\.0; measure it",
        ),
        ({"weight_costs": [1.0]}, r"weight_costs maps shapes to seconds per weight, got \[1\.0\]"),
        ({"scope": "layer"}, r"weight_costs go with scope='global', got 'layer'; drop one"),
        ({"granularity": "neuron"}, r"weight_costs go with granularity='element', got 'neuron'"),
        ({"criterion": "movement"}, r"need scores of one sign, those of criterion 'movement' have two"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(InputError, match=message):
        _config(**settings)


def test_a_shape_without_a_cost():
    with pytest.raises(InputError, match=r"no cost for 2x4 \(1\.weight\), only for 4x8; calibrate this"):
        Pruner(_model(), _config(weight_costs={"4x8": 1e-9}))


def test_a_state_of_other_costs_is_refused():
    state = Pruner(_model(), _config()).state_dict()
    with pytest.raises(InputError, match=r"saved with weight_costs=.*resume with the saved config"):
        Pruner(_model(), _config(weight_costs={"4x8": 1e-9, "2x4": 1e-9})).load_state_dict(state)


def _table(csr, densities=(0.1, 0.3, 0.5)):
    rows = [
        {"out": 64, "in": 32, "density": d, "rows": 16, "threads": 1, "dense_seconds": 1e-3, "csr_seconds": s}
        for d, s in zip(densities, csr, strict=True)
    ]  # fmt: skip
    return CostTable.from_dict({"kind": "cost-table", "schema": 2, "rows": rows})


def test_the_cost_of_a_weight_is_the_slope_of_the_table():
    table = _table([2e-4, 4e-4, 10e-4])
    assert table.seconds_per_weight(64, 32, 0.1, 16, 1) == pytest.approx(8e-4 / (0.4 * 2048))
    assert table.seconds_per_weight(64, 32, 0.25, 16, 1) == pytest.approx(6e-4 / (0.2 * 2048))
    assert table.seconds_per_weight(64, 32, 0.9, 16, 1) == pytest.approx(6e-4 / (0.2 * 2048))
    # Another shape near the cell has the cell's cost per weight; twice the rows cost twice.
    assert table.seconds_per_weight(128, 32, 0.1, 32, 1) == pytest.approx(2 * 8e-4 / (0.4 * 2048))
    assert _table([2e-4], (0.2,)).seconds_per_weight(64, 32, 0.1, 16, 1) == pytest.approx(2e-4 / (0.2 * 2048))
    assert weight_costs(table, [(64, 32), (64, 32)], sparsity=0.9, rows=16, threads=1) == {
        "64x32": pytest.approx(8e-4 / (0.4 * 2048))
    }


def test_a_table_that_tells_nothing():
    with pytest.raises(InputError, match=r"tells no cost per weight of 4096x4096 with 16 rows and 1 threads"):
        weight_costs(_table([2e-4, 4e-4, 10e-4]), [(4096, 4096)], sparsity=0.9, rows=16, threads=1)
    assert _table([4e-4, 4e-4, 4e-4]).seconds_per_weight(64, 32, 0.1, 16, 1) is None
