"""Calibration writes a table that the planner reads; its models compute what they should."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_berts import tiny_bert
from torch import nn

from platon_compress.baking import bake
from platon_compress.errors import InputError
from platon_compress.export.session import open_session
from platon_compress.library import kernel_names
from platon_compress.measure import calibrate as module
from platon_compress.measure.calibrate import (
    DEFAULT_DENSITIES,
    calibrate,
    calibration_scope,
    write_cost_table,
)
from platon_compress.measure.random_masks import random_mask
from platon_compress.planning import CostTable, PlanConfig
from platon_compress.selection import select
from platon_compress.structure import find_couplings


def _baked(*weights):
    """Of (shape, density) or (shape, density, mask); without a mask the first row holds the only non-zeros."""
    model = nn.ParameterList()
    for shape, _, *mask in weights:
        kept = mask[0] if mask else torch.eye(*shape)[:, :1].expand(shape)
        model.append(nn.Parameter(kept.float()))
    named = [(str(i), shape, density) for i, (shape, density, *_) in enumerate(weights)]
    return SimpleNamespace(
        model=model, weights=tuple(SimpleNamespace(name=n, shape=s, density=d) for n, s, d in named)
    )


@pytest.fixture(scope="module")
def table():
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LONGEST_SECONDS_A_SIDE", 0.0)  # no waiting until a busy machine settles
        made = calibrate(
            [(32, 48), (16, 16)], [0.5, 0.1], [3], [1], runs=3, progress=lambda *at: steps.append(at)
        )
    return made, steps


def test_one_row_per_combination(table):
    made, steps = table
    assert [(r["out"], r["in"], r["density"], r["rows"], r["threads"]) for r in made["rows"]] == [
        (32, 48, 0.1, 3, 1),
        (32, 48, 0.5, 3, 1),
        (16, 16, 0.1, 3, 1),
        (16, 16, 0.5, 3, 1),
    ]
    assert steps == [(1, 2, "dense against CSR"), (2, 2, "dense against CSR")]


def test_the_planner_reads_what_was_written(table, tmp_path):
    path = write_cost_table(table[0], tmp_path / "new" / "table.json")
    read = CostTable.load(path)
    assert len(read.rows) == 4
    assert read.isa in kernel_names()
    assert read.speedup(32, 48, 0.1, 3, 1) > 0
    assert read.estimate(32, 48, 0.1, 3, 1).csr_int8_seconds > 0
    assert [p.name for p in path.parent.iterdir()] == ["table.json"]
    assert json.loads(path.read_text()) == table[0]


def test_8_bit_values_may_be_left_out():
    made = calibrate([(16, 16)], [0.5], [3], [1], int8=False, runs=2)
    assert "csr_int8_seconds" not in made["rows"][0]
    read = CostTable.from_dict(made, source="here")
    assert read.estimate(16, 16, 0.5, 3, 1).csr_int8_seconds is None


def test_writing_replaces_the_file_whole(table, tmp_path):
    path = tmp_path / "table.json"
    path.write_text("old")
    write_cost_table(table[0], path)
    assert CostTable.load(path).rows


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_cost_table({"version": 1, "rows": [object()]}, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]


def test_csr_seconds_never_fall_with_density(table):
    rows = table[0]["rows"]
    assert rows[0]["csr_seconds"] <= rows[1]["csr_seconds"]
    assert rows[0]["csr_int8_seconds"] <= rows[1]["csr_int8_seconds"]
    assert module._not_falling([1.0, 3.0, 2.0, 4.0]) == [1.0, 2.5, 2.5, 4.0]


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_both_models_hold_layers_of_the_density_asked_for(density, tmp_path):
    shape = (24, 40)
    paths = module._models(tmp_path, shape, module._sides([density], int8=True))
    dense = open_session(paths[module._DENSE], use_library=False)
    x = np.random.default_rng(0).standard_normal((1, 5, 40), dtype=np.float32)
    theirs = dense.run(None, {"X": x})
    for kind, near in (("csr", 1e-4), ("csr_int8", 0.1)):
        ours = open_session(paths[kind, density]).run(None, {"X": x})
        assert [y.shape for y in ours] == [(1, 5, 24)] * 4
        assert not np.array_equal(ours[0], ours[1])
        assert np.allclose(ours[0], theirs[0], atol=near) == (density == 1.0)


def test_a_cell_is_repeated_until_its_fastest_agree(monkeypatch):
    rounds = iter([[1.0, 2.0, 3.0], [1.05, 9.0, 9.0], [1.09, 9.0, 9.0]])
    monkeypatch.setattr(module, "measure_interleaved", lambda sides, **_: {"a": tuple(next(rounds))})
    samples, settled = module.settled_samples({"a": lambda: None}, 3)
    assert settled
    assert len(samples["a"]) == 9


def test_a_cell_that_never_settles_is_marked(monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_SECONDS_A_SIDE", -1.0)
    monkeypatch.setattr(module, "measure_interleaved", lambda sides, **_: {"a": (1.0, 2.0, 3.0)})
    samples, settled = module.settled_samples({"a": lambda: None}, 1)
    assert not settled
    assert len(samples["a"]) == 3
    rows = [{"out": 1, "in": 1, "rows": 1, "threads": 1, "density": d, "settled": False} for d in (0.1, 0.2)]
    assert module._table(rows, 1, "any")["unsettled_cells"] == 1


def test_scope_of_a_model_starts_below_its_sparsest_weight():
    config = PlanConfig(tokens=64, batch=2, threads=1)
    scope = calibration_scope(_baked(((8, 4), 0.12), ((8, 4), 0.25), ((4, 8), 0.2)), config)
    assert scope.shapes == ((4, 8), (8, 4))
    assert scope.densities == (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    assert (scope.rows, scope.threads) == ((128,), (1,))


@pytest.mark.parametrize(
    ("density", "wanted"), [(0.01, DEFAULT_DENSITIES), (0.3, (0.3, 0.5, 0.7, 1.0)), (0.9, (0.7, 1.0))]
)
def test_scope_stays_within_the_default_densities(density, wanted):
    scope = calibration_scope(_baked(((8, 4), density)), PlanConfig(tokens=1))
    assert scope.densities == wanted


@pytest.mark.parametrize(("gone", "more"), [(32, ()), (61, ((8, 64), (64, 8)))])
def test_scope_has_the_shapes_that_weights_shrink_to_where_the_others_are_far(gone, more):
    model = tiny_bert(hidden_size=64)
    masks = {name: torch.rand_like(parameter) < 0.9 for name, parameter in select(model).items()}
    neurons = next(coupling for coupling in find_couplings(model) if coupling.kind == "neurons")
    masks[f"{neurons.consumer}.weight"][:, :gone] = False
    scope = calibration_scope(bake(model, masks), PlanConfig(tokens=1))
    assert scope.shapes == ((64, 64), *more)


def _blocks(rows, columns, density):
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(-(-rows // 4), columns, generator=generator) < density
    return kept.repeat_interleave(4, 0)[:rows]


@pytest.mark.parametrize(("rows", "wanted"), [(3, 1), (6, 1), (8, 4), (30, 4)])
def test_scope_of_blocks_asks_for_blocks(rows, wanted):
    """Nine of ten non-zeros must lie in blocks, which the last two of six rows cannot."""
    mask = _blocks(rows, 60, 0.3)
    missing = mask.clone()
    missing[tuple(torch.nonzero(mask)[0])] = False
    for masks, rows_asked in (([mask], wanted), ([missing, mask], wanted), ([mask, torch.eye(rows, 60)], 1)):
        scope = calibration_scope(_baked(*[((rows, 60), 0.3, m) for m in masks]), PlanConfig(tokens=1))
        assert scope.block_rows == rows_asked


def test_tables_of_blocks_say_so(tmp_path):
    made = calibrate([(30, 16)], [0.3], [3], [1], block_rows=4, runs=1)
    assert made["method"]["masks"] == "uniformly random 4x1 blocks"
    weight = random_mask(np.random.default_rng(0), (30, 16), 0.3, 4)
    assert np.array_equal(weight[:28:4], weight[3:28:4])
    assert 0 < weight.mean() < 0.6
    with pytest.raises(
        InputError, match=r"block_rows must be 1 \(single weights\) or 4 \(4x1 blocks\), got 2"
    ):
        calibrate([(4, 4)], [0.1], [1], [1], block_rows=2)


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (([], [0.1], [1], [1]), "nothing to calibrate: shapes is empty; give at least one"),
        (([(4, 4)], [], [1], [1]), "nothing to calibrate: densities is empty"),
        (([(4, 0)], [0.1], [1], [1]), "must be whole numbers >= 1, got 0"),
        (([(4, 4)], [0.1], [1.5], [1]), "must be whole numbers >= 1, got 1.5"),
        (([(4, 4)], [0.1], [1], [True]), "must be whole numbers >= 1, got True"),
        (([(4, 4)], [0.0], [1], [1]), r"densities must be in \(0, 1\], got 0.0"),
        (([(4, 4)], [1.1], [1], [1]), r"densities must be in \(0, 1\], got 1.1"),
    ],
)
def test_impossible_scopes_are_refused(scope, message):
    with pytest.raises(InputError, match=message):
        calibrate(*scope)
