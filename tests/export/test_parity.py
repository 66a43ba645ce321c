"""The four-way parity and its refusals."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from compressed_models import padded_batches

from platon_compress.errors import InputError
from platon_compress.export import export_onnx, parity, verify
from platon_compress.formats.csr import CsrWeight
from platon_compress.scoring import accuracy_evaluation
from platon_compress.testing import tiny_transformer


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """A model with zeros in one layer, and its two ONNX files."""
    model, inputs = tiny_transformer("bert")
    weight = model.bert.encoder.layer[0].intermediate.dense.weight
    weight.data *= torch.rand(weight.shape) < 0.3
    csr = {"bert.encoder.layer.0.intermediate.dense.weight": CsrWeight.from_dense(weight.detach().numpy())}
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(model, folder / "pruned.onnx", inputs)
    export_onnx(SimpleNamespace(model=model, csr=csr, plan=None), folder / "compressed.onnx", inputs)
    return {
        "pruned": model,
        "converted": model,
        "onnx_pruned": folder / "pruned.onnx",
        "onnx_compressed": folder / "compressed.onnx",
    }


def test_equal_routes_pass(routes):
    batches = padded_batches(4)
    labels = [np.zeros(16, np.int64)] * 4
    seen = []
    report = verify(
        **routes,
        batches=accuracy_evaluation(batches, labels),
        extra_onnx={"dense": routes["onnx_pruned"]},
        progress=lambda done, total, status: seen.append((done, total)),
    )
    assert seen == [(done, seen[0][1]) for done in range(1, seen[0][1] + 1)]  # every batch of every route
    assert report.passed
    assert report.examples == 64
    assert report.trivial == 1.0
    assert report.scores["dense"].right.mean() == report.scores["dense"].value
    assert report.scores["onnx_compressed"].minus(report.scores["dense"]).value == 0
    assert [row["pair"] for row in report.rows] == [
        "torch_pruned vs torch_converted",
        "torch_pruned vs onnx_pruned",
        "torch_pruned vs onnx_compressed",
        "torch_pruned vs onnx_compressed_stock",
    ]
    assert all(row["max_abs"] <= 1e-5 and row["argmax_agreement"] == 1.0 for row in report.rows)
    assert set(report.scores) == {
        "torch_pruned", "torch_converted", "onnx_pruned", "onnx_compressed", "onnx_compressed_stock", "dense",
    }  # fmt: skip
    json.dumps(report.to_dict())


def test_a_different_model_fails(routes):
    other, _ = tiny_transformer("bert")
    report = verify(**routes | {"converted": other}, batches=padded_batches(4))
    assert not report.passed
    assert report.scores == {}
    assert report.rows[0]["max_abs"] > 1e-3
    assert report.rows[1]["max_abs"] < 1e-5


@pytest.mark.parametrize("change", ["setting", "weight"])
def test_models_are_run_one_by_one_unless_they_are_the_same(routes, monkeypatch, change):
    """A copy is not run again; one that differs in a plain attribute or in one bit of one weight is."""
    seen = []
    run = parity.torch_outputs
    monkeypatch.setattr(parity, "torch_outputs", lambda model, _: seen.append(model) or run(model, _))
    same, other = copy.deepcopy(routes["pruned"]), copy.deepcopy(routes["pruned"])
    if change == "setting":
        other.bert.encoder.layer[0].attention.self.scaling = 0.5
    else:
        other.classifier.bias.data[0] = torch.nextafter(other.classifier.bias.data[0], torch.tensor(2.0))
    for converted, models in ((same, 1), (other, 2)):
        seen.clear()
        verify(**routes | {"converted": converted}, batches=padded_batches(4))
        assert len(seen) == models


def test_not_a_number_fails(routes):
    broken, _ = tiny_transformer("bert")
    broken.classifier.bias.data[0] = float("nan")
    report = verify(**routes | {"converted": broken}, batches=padded_batches(4))
    assert not report.passed
    assert report.rows[0]["max_abs"] == float("inf")


def test_hidden_positions_are_not_compared(routes, tmp_path):
    class Backbone(torch.nn.Module):
        """Writes noise where the mask is zero."""

        def __init__(self, noise):
            super().__init__()
            self.bert, self.noise = routes["pruned"].bert, noise

        def forward(self, input_ids, attention_mask, return_dict=True):
            hidden = self.bert(input_ids, attention_mask).last_hidden_state
            return {"last_hidden_state": hidden + self.noise * (1 - attention_mask[..., None])}

    batches = padded_batches(4)
    example = {name: torch.as_tensor(value) for name, value in batches[0].items()}
    path = export_onnx(Backbone(0.0), tmp_path / "m.onnx", example).path
    report = verify(
        pruned=Backbone(0.0), converted=Backbone(5.0), onnx_pruned=path, onnx_compressed=path, batches=batches
    )
    assert report.passed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_examples": 65}, "parity needs 65 examples, got 64"),
        ({"onnx_pruned": "nowhere.onnx"}, "there is no model file"),
    ],
)
def test_refuses(routes, change, message):
    with pytest.raises(InputError, match=message):
        verify(**{**routes, "batches": padded_batches(4), **change})


def test_missing_inputs_are_named(routes):
    batches = [{"input_ids": batch["input_ids"]} for batch in padded_batches(4)]
    with pytest.raises(InputError, match=r"needs the inputs \['attention_mask'\]"):
        verify(**routes, batches=batches)


def test_other_outputs_are_named(routes):
    with pytest.raises(InputError, match="the routes share no output"):
        verify(**routes | {"pruned": routes["pruned"].bert}, batches=padded_batches(4))
