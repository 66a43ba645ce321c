"""The form of every weight, its reason, and the way through plan.json."""

import json
import math

import pytest
import torch

from platon_compress.baking import bake
from platon_compress.errors import InputError
from platon_compress.planning import CostTable, Form, LayerPlan, Plan, PlanConfig, plan
from platon_compress.planning import cost as cost_module
from platon_compress.planning.idle import clear_idle
from platon_compress.planning.planner import shrunk_shapes
from platon_compress.selection import select
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer

_DENSITIES = (0.1, 0.5)


@pytest.fixture
def table(tmp_path):
    """CSR 5x at 10 %, 1x at 50 %, for 64x64 and whatever lies within 4x of it."""
    rows = [
        {
            "out": 64,
            "in": 64,
            "density": d,
            "rows": 16,
            "threads": 1,
            "dense_seconds": 1.0,
            "csr_seconds": 2 * d,
        }
        for d in _DENSITIES
    ]
    path = tmp_path / "table.json"
    path.write_text(
        json.dumps(
            {"kind": "cost-table", "schema": 2, "cpu": "c", "isa": "avx2", "onnxruntime": "1", "rows": rows}
        )
    )
    return path


def _up_to_full(table, seconds):
    """The table, with what CSR without zeros takes beside dense's second."""
    content = json.loads(table.read_text())
    content["rows"].append({**content["rows"][-1], "density": 1.0, "csr_seconds": seconds})
    table.write_text(json.dumps(content))
    return table


def _config(table, **fields):
    return PlanConfig(**{"tokens": 16, "threads": 1, "cost_table": table, **fields})


def _baked(density=0.1, family="bert", density_of=None):
    model, _ = tiny_transformer(family)
    generator = torch.Generator().manual_seed(1)
    masks = {
        name: torch.rand(p.shape, generator=generator) < (density_of or {}).get(name, density)
        for name, p in select(model).items()
    }
    return bake(model, masks)


@torch.no_grad()
def _without_units(baked, kind, units):
    """Zero the consumer's columns of `units` in the first coupling of a kind."""
    coupling = next(c for c in find_couplings(baked.model) if c.kind == kind)
    weight = baked.model.get_submodule(coupling.consumer).weight
    for unit in units:
        weight[:, unit * coupling.unit_size : (unit + 1) * coupling.unit_size] = 0
    return coupling


def _layer(made, path):
    return next(layer for layer in made.layers if layer.name == f"{path}.weight")


def test_csr_where_the_table_says_that_it_wins(table):
    baked = _baked(0.1)
    made = plan(baked, _config(table))
    assert [layer.name for layer in made.layers] == [w.name for w in baked.weights]
    assert {layer.form for layer in made.layers} == {Form.CSR}
    layer, weight = made.layers[0], baked.weights[0]
    assert layer.density == weight.density
    assert layer.expected_speedup == pytest.approx(1 / max(2 * weight.density, 0.2), rel=1e-6)
    assert layer.reason.startswith(
        f"CSR is expected to be {layer.expected_speedup:.2f}x (table: 64x64, 16 rows, 1 "
    )
    assert f"{layer.density:.1%} of 32x32 is not zero" in layer.reason


def test_dense_below_the_margin(table):
    layer = plan(_baked(0.49), _config(table)).layers[0]
    assert layer.form is Form.DENSE
    assert layer.expected_speedup == 1.0
    assert "no CSR: it is expected to be 1." in layer.reason
    assert "below 1.1x" in layer.reason


def test_the_margin_is_the_configs(table):
    baked = _baked(0.3)
    assert plan(baked, _config(table, min_speedup=1.3)).layers[0].form is Form.CSR
    assert plan(baked, _config(table, min_speedup=2.0)).layers[0].form is Form.DENSE


def test_dense_where_the_table_knows_nothing(table):
    layer = plan(_baked(0.1), _config(table, tokens=4096)).layers[0]
    assert layer.form is Form.DENSE
    assert (
        "nothing near 32x32 at 4096 rows and 1 threads; `platon-compress calibrate --shapes 32x32 --tokens 4096`"
        in layer.reason
    )


@pytest.mark.parametrize(("density", "form"), [(0.8, Form.CSR), (0.98, Form.DENSE), (1.0, Form.DENSE)])
def test_dense_without_zeros_however_fast_csr_is(density, form, table):
    layer = plan(_baked(density), _config(_up_to_full(table, 0.5))).layers[0]
    assert layer.form is form
    assert ("it holds hardly any zeros" in layer.reason) == (form is Form.DENSE)


def test_dense_where_the_weight_is_denser_than_the_table(table):
    layer = plan(_baked(0.8), _config(table)).layers[0]
    assert layer.form is Form.DENSE
    assert "denser than anything in the cost table; `platon-compress calibrate --shapes 32x32" in layer.reason


@pytest.mark.parametrize(
    ("fuller", "other", "wanted"),
    [
        (0.44, 0.1, Form.CSR),  # hardly anything to lose, and one node computes both
        (0.44, 0.44, Form.DENSE),  # no other is CSR
        (0.52, 0.1, Form.CSR),
        (0.65, 0.1, Form.DENSE),  # slower by three tenths
    ],
)
@pytest.mark.parametrize("kind", ["neurons", "heads"])
def test_beside_csr_what_is_hardly_faster_becomes_csr_too(kind, fuller, other, wanted, table):
    block = next(c for c in find_couplings(tiny_transformer("bert")[0]) if c.kind == kind)
    densities = dict.fromkeys([f"{path}.weight" for path in block.producers], other)
    densities[f"{block.consumer}.weight"] = fuller
    made = plan(_baked(0.44, density_of=densities), _config(_up_to_full(table, 2.0), min_speedup=1.3))
    layer = _layer(made, block.consumer)
    assert layer.form is wanted
    assert ("one node computes it with others" in layer.reason) == (wanted is Form.CSR)
    assert {entry.form for entry in made.layers if entry.name not in densities} == {Form.DENSE}


def test_batch_multiplies_the_tokens(table):
    baked = _baked(0.1)
    assert plan(baked, _config(table, batch=4)).layers[0].form is Form.CSR
    assert plan(baked, _config(table, batch=5)).layers[0].form is Form.DENSE


def test_cuda_never_takes_csr(table):
    layer = plan(_baked(0.1), _config(table, device="cuda")).layers[0]
    assert layer.form is Form.DENSE
    assert "the sparse kernels run on the CPU, the plan is for cuda" in layer.reason


def test_shipped_table_beside_a_library_without_its_kernels(monkeypatch):
    assert CostTable.load().isa != "scalar"
    monkeypatch.setattr(cost_module, "selected_kernel", lambda: "scalar")
    layer = plan(_baked(0.1), PlanConfig(tokens=128, threads=1)).layers[0]
    assert layer.form is Form.DENSE
    assert "the library takes scalar here; run `platon-compress calibrate`" in layer.reason


@pytest.mark.parametrize("kind", ["heads", "neurons"])
def test_zero_units_shrink_every_member_of_their_group(kind, table):
    baked = _baked(0.45)
    coupling = _without_units(baked, kind, range(1, coupling_units(kind)))
    made = plan(baked, _config(table))
    members = [_layer(made, path) for path in (*coupling.producers, coupling.consumer)]
    assert {layer.group for layer in members} == {coupling.name}
    assert len({layer.kept for layer in members}) == 1
    assert members[0].kept is not None
    assert {layer.form for layer in members[:-1]} == {Form.STRUCTURED}
    assert "are all zero and are removed exactly; no CSR" in members[0].reason
    assert [u for u in made.layers if u.kept is None]


def coupling_units(kind):
    return 4 if kind == "heads" else 64


def test_density_counts_after_shrinking(table):
    baked = _baked(0.1)
    coupling = _without_units(baked, "neurons", range(32))
    made = plan(baked, _config(table))
    layer = _layer(made, coupling.consumer)
    clear_idle(baked.model)  # as the planner does first
    weight = baked.model.get_submodule(coupling.consumer).weight
    assert layer.shape == tuple(weight.shape)
    assert layer.density == pytest.approx(int(torch.count_nonzero(weight)) / (weight.numel() / 2))


def test_a_shrunk_layer_may_still_be_csr_and_counts_both_gains(table):
    baked = _baked(0.1)
    coupling = _without_units(baked, "neurons", range(32))
    layer = _layer(plan(baked, _config(table)), coupling.producers[0])
    assert layer.form is Form.CSR
    assert len(layer.kept) == 32
    assert layer.expected_speedup == pytest.approx(2 / max(2 * layer.density, 0.2), rel=1e-6)
    assert "are removed exactly; CSR is expected" in layer.reason


def test_what_a_plan_will_ask_of_weights_that_shrink():
    baked = _baked(0.1)
    assert shrunk_shapes(baked) == frozenset()
    _without_units(baked, "neurons", range(61))
    assert shrunk_shapes(baked) == {(8, 32), (32, 8)}  # eight by eight, as kernels like them


def test_members_that_were_not_pruned_are_planned_too(table):
    model, _ = tiny_transformer("bert")
    coupling = next(c for c in find_couplings(model) if c.kind == "neurons")
    mask = torch.ones(32, 64, dtype=torch.bool)
    mask[:, 16:] = False
    made = plan(bake(model, {f"{coupling.consumer}.weight": mask}), _config(table))
    assert {layer.name for layer in made.layers} == {
        f"{path}.weight" for path in (*coupling.producers, coupling.consumer)
    }


@pytest.mark.parametrize("force", list(Form))
def test_force(force, table):
    baked = _baked(0.9)
    coupling = _without_units(baked, "neurons", range(32))
    made = plan(baked, _config(table, force=force))
    layer = _layer(made, coupling.producers[0])
    assert layer.form is force
    assert (layer.kept is not None) == (force is Form.STRUCTURED)
    assert "forced" in layer.reason
    others = {entry.form for entry in made.layers if entry.kept is None}
    assert others == ({Form.CSR} if force is Form.CSR else {Form.DENSE})


def test_unknown_attention_says_why_its_heads_stay(table):
    baked = _baked(0.45, family="mpnet")
    coupling = _without_units(baked, "heads", [0])
    layer = _layer(plan(baked, _config(table)), coupling.consumer)
    assert layer.kept is None
    assert "MPNetSelfAttention is not among those known" in layer.reason


def test_round_trip_through_json(table):
    baked = _baked(0.1)
    _without_units(baked, "heads", [0])
    made = plan(baked, _config(table))
    again = Plan.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again == made
    assert made.cost_table == {"source": str(table), "cpu": "c", "isa": "avx2"}
    assert made.counts() == {"dense": 0, "structured": 0, "csr": 12}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.update(schema=9),
            "the plan has schema 9, this release reads 2 of plan; plan the model again",
        ),
        (lambda d: d.pop("config"), "the plan lacks its config or layers"),
        (lambda d: d.update(layers={}), "the plan lacks its config or layers"),
        (lambda d: d["layers"][0].pop("kept"), r"a layer of the plan does not fit \(KeyError\('kept'\)\)"),
        (lambda d: d["layers"][0].update(form="coo"), "'coo' is not a valid Form"),
        (lambda d: d["layers"][0].update(shape=[1]), "a layer of the plan does not fit"),
        (lambda d: d["layers"][0].update(shape=[1, math.inf]), "a layer of the plan does not fit"),
        (lambda d: d["layers"][0].update(name=["a"]), r"name is \['a'\]"),
        (lambda d: d["layers"][0].update(density=math.nan), "density is nan"),
        (lambda d: d.update(cost_table="mine"), "the plan's cost_table is 'mine', not a mapping"),
        (lambda d: d["config"].update(tokens=0), "tokens is 0; give a whole number"),
    ],
)
def test_broken_plans_are_refused(change, message, table):
    data = json.loads(json.dumps(plan(_baked(0.1), _config(table)).to_dict()))
    change(data)
    with pytest.raises(InputError, match=message):
        Plan.from_dict(data)


def test_what_is_no_plan_is_refused():
    with pytest.raises(InputError, match="the plan holds a list"):
        Plan.from_dict([])


def test_a_layer_reads_itself():
    layer = LayerPlan(
        name="a",
        group=None,
        shape=(2, 3),
        density=0.5,
        form=Form.CSR,
        kept=(0, 1),
        expected_speedup=None,
        reason="r",
    )
    assert LayerPlan.from_dict(json.loads(json.dumps(layer.to_dict()))) == layer
