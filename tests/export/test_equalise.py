"""Factors for features in front of 8-bit weights: exact in floats, a rescue where one feature is far larger than others."""

import copy
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from compressed_models import baked_and_converted, first_output, padded_batches

from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.export.equalise import best_factors, layer_inputs, rounded_error
from platon_compress.export.gaps import LARGEST

OUTLIERS = (1, 5)
# What reads the norms: as transformers 4 and 5 call it.
READERS = ("query", "key", "value", "intermediate", "q_proj", "k_proj", "v_proj", "fc1")


@torch.no_grad()
def with_outliers(family, fold):
    """A converted model, two features of whose norms are 100 times as large; with `fold` the weights behind take it back."""
    _, made, inputs = baked_and_converted(family, "int8")
    model = copy.deepcopy(made.model)
    places = list(OUTLIERS)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.LayerNorm) and "layer" in name and name.count(".") > 2:
            module.weight[places] *= 100
            module.bias[places] *= 100
    for name, parameter in model.named_parameters() if fold else ():
        if name in made.int8 and any(part in name for part in fold):
            parameter[:, places] /= 100
    changed = replace(made, model=model)
    return changed.refreshed(), made, inputs


def exported(model, inputs, tmp_path, **given):
    """(float32 form, relative error of the 8-bit file against it, the result)"""
    result = export_onnx(model, tmp_path / "int8.onnx", inputs, unrounded=tmp_path / "float32.onnx", **given)
    form, ours = (first_output(tmp_path / name, inputs) for name in ("float32.onnx", "int8.onnx"))
    return form, np.linalg.norm(ours - form) / np.linalg.norm(form), result


def batches_of(inputs, count=4):
    generator = np.random.default_rng(0)
    first = {name: value.numpy() for name, value in inputs.items()}
    drawn = [first]
    for _ in range(count - 1):
        pixels = {n: generator.standard_normal(v.shape).astype(v.dtype) for n, v in first.items()}
        drawn.append(pixels)
    return drawn


def muls(path):
    return sum(node.op_type == "Mul" for node in onnx.load(path).graph.node)


def test_a_norm_takes_the_factors(tmp_path):
    hard, easy, inputs = with_outliers("vit", READERS)
    batches = batches_of(inputs)
    form, lost, _ = exported(hard, inputs, tmp_path)
    count = muls(tmp_path / "int8.onnx")
    form_even, rescued, result = exported(hard, inputs, tmp_path, calibration=batches)
    assert len(result.equalised) == 4
    assert all(each.folded and each.after < 0.5 * each.before for each in result.equalised)
    assert muls(tmp_path / "int8.onnx") == count
    np.testing.assert_allclose(form_even, form, rtol=0, atol=2e-6)
    assert rescued < 0.3 * lost
    assert rescued < 2 * exported(easy, inputs, tmp_path)[1]


def test_a_product_stands_beside_a_sum(tmp_path):
    hard, _, inputs = with_outliers("bert", READERS)
    form, lost, _ = exported(hard, inputs, tmp_path)
    count = muls(tmp_path / "int8.onnx")
    batches = padded_batches(4)
    form_even, rescued, result = exported(hard, inputs, tmp_path, calibration=batches)
    beside = [each for each in result.equalised if not each.folded]
    assert beside
    assert muls(tmp_path / "int8.onnx") == count + len(beside)
    assert sorted(result.int8_nodes) == sorted(exported(hard, inputs, tmp_path)[2].int8_nodes)
    assert all(each.after < 0.5 * each.before for each in beside)
    np.testing.assert_allclose(form_even, form, rtol=0, atol=1e-5)
    # What is large in a sum hides the errors of the layers in the outputs: they prove nothing more here.
    assert max(rescued, lost) < 0.001


def test_nothing_is_done_unasked(tmp_path):
    hard, _, inputs = with_outliers("vit", READERS)
    assert not exported(hard, inputs, tmp_path)[2].equalised
    skipped = ExportConfig(skip_passes=("equalise_inputs",))
    batches = batches_of(inputs)
    assert not export_onnx(hard, tmp_path / "a.onnx", inputs, skipped, calibration=batches).equalised
    floats = ExportConfig(values="float32")
    assert not export_onnx(hard, tmp_path / "a.onnx", inputs, floats, calibration=batches).equalised


def test_padding_removal_and_a_mode_go_on(tmp_path):
    hard, _, inputs = with_outliers("bert", READERS)
    hard.model.train()
    config = ExportConfig(remove_padding=True)
    result = export_onnx(hard, tmp_path / "int8.onnx", inputs, config, calibration=padded_batches(4))
    assert result.equalised
    assert hard.model.training
    export_onnx(hard, tmp_path / "plain.onnx", inputs, calibration=padded_batches(4))
    one, other = (first_output(tmp_path / name, inputs) for name in ("int8.onnx", "plain.onnx"))
    np.testing.assert_allclose(one, other, rtol=0.02, atol=0.02 * abs(other).max())


@pytest.fixture
def case():
    """(rows with a feature that dwarfs the others and one that nothing reads, weight)"""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((64, 32)), rng.standard_normal((16, 32))
    x[:, 3] *= 300
    weight[:, 3] /= 300
    x[:, 9] *= 1000
    weight[:, 9] = 0
    return x.astype(np.float32), weight.astype(np.float32)


def test_factors_are_powers_of_two_that_lose_less(case):
    factors = best_factors(*case)
    assert (np.frexp(factors.scale)[0] == 0.5).all()
    assert factors.after < 0.05 * factors.before
    assert factors.scale[3] > 8
    assert factors.scale[9] > factors.scale[3]


def test_the_error_is_that_of_the_specification(case):
    x, weight = case
    expected = np.zeros((64, 16))
    for i, row in enumerate(x):
        low, high = min(0, row.min()), max(0, row.max())
        scale = np.float32((high - low) / 255)
        inverse = np.float32(1) / scale
        zero = np.rint(-low * inverse)
        q = np.minimum(np.maximum(np.rint(row * inverse) + zero, 0), 255)
        for r, column in enumerate(weight):
            step = np.abs(column).max() / LARGEST
            expected[i, r] = (np.rint(column / step) * (q - zero)).sum() * scale * step
    exact = x.astype(float) @ weight.T.astype(float)
    found = rounded_error(x, weight, np.ones(32, np.float32), exact)
    assert found == pytest.approx(np.linalg.norm(expected - exact) / np.linalg.norm(exact), rel=1e-4)


def test_rows_are_those_of_the_layers_without_padding():
    _, made, _ = baked_and_converted("bert", "int8")
    batches, model = padded_batches(3, 4), made.model.eval()
    rows = layer_inputs(model, made.int8, batches)
    assert rows.keys() == made.int8
    name = next(n for n in rows if "layer.0.attention.self.query" in n)
    assert len(rows[name]) == sum(int(batch["attention_mask"].sum()) for batch in batches)
    with torch.no_grad():
        first = {n: torch.as_tensor(v) for n, v in batches[0].items()}
        hidden = model(**first, output_hidden_states=True).hidden_states[0][first["attention_mask"].bool()]
    np.testing.assert_allclose(rows[name][: len(hidden)], hidden.numpy(), atol=1e-6)
    assert layer_inputs(model, (), batches) == {}
    assert layer_inputs(model, made.int8, ()) == {}
