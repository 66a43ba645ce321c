"""The estimate goes the real way (bake, plan, convert, export, sessions) and says that it is an upper bound."""

import copy
import json

import onnx_ir as ir
import pytest
import torch
from torch import nn

from platon_compress.errors import InputError
from platon_compress.export.quantize import rounded_operators
from platon_compress.measure import trial_files
from platon_compress.measure.estimate import UPPER_BOUND, estimate
from platon_compress.testing import tiny_transformer


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """CSR wins everywhere that the tiny models ask for."""
    rows = [
        {"out": 32, "in": 32, "density": d, "rows": 16, "threads": 1, "dense_seconds": 1, "csr_seconds": d}
        for d in (0.1, 0.6)
    ]
    path = tmp_path_factory.mktemp("table") / "table.json"
    path.write_text(json.dumps({"kind": "cost-table", "schema": 2, "rows": rows}))
    return path


@pytest.fixture(scope="module")
def text(table):
    model, _ = tiny_transformer("bert")
    steps = []
    before = copy.deepcopy(model.state_dict())
    made = estimate(
        model.train(),
        [0.5, 0.95],
        tokens=8,
        batch=2,
        threads=1,
        runs=7,
        cost_table=table,
        progress=lambda *at: steps.append(at),
    )
    return model, before, made, steps


def test_rows_in_order(text):
    _, _, made, _ = text
    assert {row.name: row.sparsity for row in made.rows} == {
        "dense": 0.0,
        "dense_int8": 0.0,
        "sparsity_0.5": 0.5,
        "sparsity_0.95": 0.95,
    }
    assert made.rows[0].speedup is None
    assert all(row.speedup.baseline == "dense" for row in made.rows[1:])
    assert all(row.p50_seconds > 0 and row.size_bytes > 0 for row in made.rows)
    assert made.rows[-1].forms == {"csr": 12}
    assert (made.tokens, made.batch, made.threads) == (8, 2, 1)


def test_it_is_labelled_and_json_able(text):
    _, _, made, _ = text
    data = json.loads(json.dumps(made.to_dict()))
    assert data["label"] == UPPER_BOUND
    assert data["label"].startswith("Upper bound")
    assert len(data["samples"]["dense"]) == 7
    assert data["rows"][-1]["speedup"]["pairs"] == 7
    assert data["environment"]["threads"] == 1


def test_the_model_is_left_as_it_was(text):
    model, before, _, _ = text
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_progress_counts_to_the_end(text):
    *_, steps = text
    assert [done for done, _, _ in steps] == [1, 2, 3, 4, 5]
    assert {total for _, total, _ in steps} == {5}


def test_image_models_take_their_own_token_count(table):
    model, _ = tiny_transformer("vit")
    made = estimate(model, [0.9], tokens=999, threads=1, runs=6, cost_table=table)
    assert made.tokens == 17


@pytest.mark.parametrize(("tokens", "batch", "attends"), [(64, 1, True), (32, 2, False)])
def test_8_bit_files_are_those_that_would_ship(tokens, batch, attends, monkeypatch, table):
    """With attention in 8 bits from 64 tokens of one text on."""
    found = []

    def time_files(files, *rest, original=trial_files.time_files):
        found.extend(rounded_operators(ir.load(files["sparsity_0.9"])).values())
        return original(files, *rest)

    monkeypatch.setattr(trial_files, "time_files", time_files)
    setting = {"tokens": tokens, "batch": batch, "threads": 1, "runs": 2, "cost_table": table}
    short = tiny_transformer("bert")[0]
    short.config.max_position_embeddings = 64
    made = estimate(type(short)(short.config), [0.9], values="int8", **setting)
    assert (made.tokens, made.batch) == (tokens, batch)
    attentions = [operator.int8_attention for operator in found if operator.kind == "SelfAttention"]
    assert attentions == [attends] * 2


def test_a_quantiser_that_fails_is_a_note(monkeypatch, table):
    def fail(*_args):
        raise RuntimeError("no such thing\nmore")

    monkeypatch.setattr("platon_compress.export.int8._quantize", fail)
    made = estimate(tiny_transformer("bert")[0], [0.9], tokens=8, threads=1, runs=2, cost_table=table)
    assert [row.name for row in made.rows] == ["dense", "sparsity_0.9"]
    assert made.notes == ("dense.onnx could not be quantised: no such thing; leave dense int8 out",)


@pytest.mark.parametrize(
    ("sparsities", "message"),
    [
        ([], "no sparsity to estimate; give at least one"),
        ([0.0], r"sparsity must be between 0 and 1, got 0\.0; 0\.9 keeps"),
        ([0.5, 1.0], r"sparsity must be between 0 and 1, got 1\.0"),
        ([90], "sparsity must be between 0 and 1, got 90"),
        ([0.9, 0.9], r"a sparsity is given twice in \[0\.9, 0\.9\]; give each once"),
    ],
)
def test_impossible_sparsities_are_refused(sparsities, message):
    with pytest.raises(InputError, match=message):
        estimate(nn.Linear(2, 2), sparsities)


def test_unknown_inputs_are_asked_for():
    with pytest.raises(InputError, match="cannot make up inputs for Linear; give example_inputs"):
        estimate(nn.Linear(2, 2), [0.9])


def test_the_calibrated_table_reaches_past_the_masks(monkeypatch):
    asked = {}

    def calibrate(shapes, densities, rows, threads, *, block_rows, int8):
        asked.update(shapes=shapes, densities=sorted(densities), rows=rows, threads=threads)
        asked.update(block_rows=block_rows, int8=int8)
        raise InputError("enough")

    monkeypatch.setattr("platon_compress.measure.calibrate.calibrate", calibrate)
    with pytest.raises(InputError, match="enough"):
        estimate(tiny_transformer("bert")[0], [0.8, 0.95], tokens=16, threads=2)
    assert asked["shapes"] == [(32, 32), (32, 64), (64, 32)]
    assert asked["densities"] == pytest.approx([0.04, 0.05, 0.2, 0.24])
    assert (asked["rows"], asked["threads"]) == ((16,), (2,))
    assert (asked["block_rows"], asked["int8"]) == (1, False)
