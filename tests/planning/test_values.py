"""Which CSR weights become 8-bit numbers, and what the plan says about it."""

import json

import pytest
import torch

from platon_compress.baking import bake
from platon_compress.conversion import convert
from platon_compress.errors import InputError
from platon_compress.planning import CostTable, Form, Plan, PlanConfig, plan
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer

_DENSITY = 0.3


def _table(path, csr, int8=None, shape=(32, 32)):
    """Dense takes a second; of CSR and its 8-bit form the seconds by density."""
    rows = [
        {"out": shape[0], "in": shape[1], "density": density, "rows": 16, "threads": 1, "dense_seconds": 1.0}
        | {"csr_seconds": seconds}
        | ({} if int8 is None else {"csr_int8_seconds": int8[density]})
        for density, seconds in csr.items()
    ]
    head = {"kind": "cost-table", "schema": 2, "cpu": "c", "isa": "avx2", "onnxruntime": "1"}
    path.write_text(json.dumps({**head, "rows": rows}))
    return path


def _plan(table, values, **config):
    model, _ = tiny_transformer("bert")
    generator = torch.Generator().manual_seed(1)
    masks = {n: torch.rand(p.shape, generator=generator) < _DENSITY for n, p in select(model).items()}
    baked = bake(model, masks)
    return baked, plan(baked, PlanConfig(tokens=16, threads=1, cost_table=table, values=values, **config))


@pytest.fixture
def fast(tmp_path):
    """CSR 2x, with 8-bit values 4x as fast as dense."""
    return _table(tmp_path / "fast.json", {0.1: 0.5, 0.9: 0.5}, {0.1: 0.25, 0.9: 0.25})


def test_float32_unless_asked(fast):
    _, made = _plan(fast, "float32")
    assert {(layer.form, layer.values) for layer in made.layers} == {(Form.CSR, "float32")}
    assert "8-bit" not in made.layers[0].reason
    assert made.to_dict()["int8_layers"] == 0


@pytest.mark.parametrize("values", ["int8", "auto"])
def test_8_bit_values_where_they_are_faster(values, fast):
    baked, made = _plan(fast, values)
    layer = made.layers[0]
    assert {layer.values for layer in made.layers} == {"int8"}
    assert layer.expected_speedup == pytest.approx(4)
    assert layer.reason.startswith("CSR with 8-bit values is expected to be 4.00x (table: 32x32, 16 rows")
    assert "as fast as dense, 2.00x as fast as float32; " in layer.reason
    assert made.spoken_counts() == {"csr int8": len(made.layers)}
    assert made.counts()["csr"] == len(made.layers)
    assert Plan.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert convert(baked, made).int8 == {layer.name for layer in made.layers}


@pytest.mark.parametrize("values", ["int8", "auto"])
def test_csr_or_dense_by_the_speed_of_the_8_bit_form(values, tmp_path):
    table = _table(tmp_path / "t.json", {0.1: 1.5, 0.9: 1.5}, {0.1: 0.5, 0.9: 0.5})
    assert {layer.form for layer in _plan(table, "float32")[1].layers} == {Form.DENSE}
    assert {layer.spoken_form for layer in _plan(table, values)[1].layers} == {"csr int8"}


def test_auto_keeps_float32_where_the_gain_is_within_the_noise(tmp_path):
    table = _table(tmp_path / "t.json", {0.1: 0.5, 0.9: 0.5}, {0.1: 0.47, 0.9: 0.47})
    _, made = _plan(table, "auto")
    assert {layer.spoken_form for layer in made.layers} == {"csr"}
    said = "float32 values, with 8-bit ones its part of the block is expected to be 1.06x as fast; "
    assert said in made.layers[0].reason
    assert {layer.values for layer in _plan(table, "int8")[1].layers} == {"int8"}


def test_a_table_without_the_column(tmp_path):
    table = _table(tmp_path / "t.json", {0.1: 0.5, 0.9: 0.5})
    _, auto = _plan(table, "auto")
    assert {layer.values for layer in auto.layers} == {"float32"}
    assert "float32 values, the cost table does not say how fast 8-bit ones are; " in auto.layers[0].reason
    _, forced = _plan(table, "int8")
    assert {layer.values for layer in forced.layers} == {"int8"}
    assert forced.layers[0].expected_speedup == pytest.approx(2)
    assert "with float32 values; the cost table does not say how much faster" in forced.layers[0].reason


def test_half_a_block_decides_as_one(tmp_path):
    """Attention's 32x32 layers gain, the feed-forward's do not: its two layers stay together too."""
    model, _ = tiny_transformer("bert")
    tables = [
        _table(tmp_path / "square.json", {0.1: 0.5, 0.9: 0.5}, {0.1: 0.25, 0.9: 0.25}),
        _table(tmp_path / "up.json", {0.1: 0.5, 0.9: 0.5}, {0.1: 0.4, 0.9: 0.4}, (64, 32)),
        _table(tmp_path / "down.json", {0.1: 0.5, 0.9: 0.5}, {0.1: 0.6, 0.9: 0.6}, (32, 64)),
    ]
    rows = [row for path in tables for row in json.loads(path.read_text())["rows"]]
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps({**json.loads(tables[0].read_text()), "rows": rows}))
    sizes = {tuple(p.shape) for p in select(model).values()}
    assert sizes == {(32, 32), (64, 32), (32, 64)}
    _, made = _plan(whole, "auto")
    values = {layer.shape: layer.values for layer in made.layers}
    assert values == {(32, 32): "int8", (64, 32): "float32", (32, 64): "float32"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"values": "int4"}, "values must be one of float32, int8, auto, got 'int4'; float32 rounds nothing"),
        ({"values": "int8", "device": "cuda"}, "values is int8, but the sparse kernels run on the CPU"),
        ({"values": "int8", "force": "dense"}, "values is int8, but force is dense, so there is no CSR"),
        ({"values": "int8", "force": "structured"}, "take float32 or auto"),
    ],
)
def test_impossible_value_types(config, message):
    with pytest.raises(InputError, match=message):
        PlanConfig(tokens=16, **config)


@pytest.mark.parametrize("config", [{"device": "cuda"}, {"force": "dense"}])
def test_auto_rounds_nothing_where_nothing_becomes_csr(config, fast):
    _, made = _plan(fast, "auto", **config)
    assert {layer.spoken_form for layer in made.layers} == {"dense"}


@pytest.mark.parametrize(("values", "expected"), [("int8", "int8"), ("auto", "int8"), ("float32", "float32")])
def test_forced_csr(values, expected, fast):
    _, made = _plan(fast, values, force="csr")
    assert {layer.values for layer in made.layers} == {expected}


def test_plans_of_the_release_before(fast):
    _, made = _plan(fast, "float32")
    old = json.loads(json.dumps(made.to_dict()))
    old["schema"] = 1
    for layer in old["layers"]:
        del layer["values"]
    del old["config"]["values"]
    assert Plan.from_dict(old) == made


@pytest.mark.parametrize("change", [{"values": "int4"}, {"form": "dense"}])
def test_broken_value_types_are_refused(change, fast):
    data = json.loads(json.dumps(_plan(fast, "int8")[1].to_dict()))
    data["layers"][0] |= change
    with pytest.raises(InputError, match="a layer of the plan does not fit"):
        Plan.from_dict(data)


@pytest.mark.parametrize("value", [0, -1.0, "x", float("nan"), True])
def test_a_wrong_column_is_refused(value, fast):
    data = json.loads(fast.read_text())
    data["rows"][1]["csr_int8_seconds"] = value
    with pytest.raises(InputError, match="row 1 of the cost table shipped has csr_int8_seconds"):
        CostTable.from_dict(data)


def test_one_row_without_the_column_leaves_its_cell_without_an_answer(fast):
    data = json.loads(fast.read_text())
    del data["rows"][1]["csr_int8_seconds"]
    assert CostTable.from_dict(data).estimate(32, 32, 0.3, 16, 1).csr_int8_seconds is None
