"""Curves of half blocks: counts, files that compute what a block does, and a rest without them."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from scipy.special import erf

from platon_compress.measure import half_blocks
from platon_compress.measure.half_blocks import counts_to_measure, measure_half_blocks
from platon_compress.pruning.unit_costs import curve_name
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer


def test_counts():
    model, _ = tiny_transformer("bert")
    heads, neurons, *_ = find_couplings(model)
    assert counts_to_measure(model, heads) == (0, 1, 2, 3, 4)
    assert counts_to_measure(model, neurons) == (0, 8, 16, 24, 32, 40, 48, 56, 64)


def test_attention_that_cannot_lose_single_heads_has_two_ends():
    model, _ = tiny_transformer("mpnet")
    heads = next(c for c in find_couplings(model) if c.kind == "heads")
    assert counts_to_measure(model, heads) == (0, 4)


@pytest.fixture
def timed(monkeypatch):
    """Every session is built and run once; what it "takes" is the multiplications in its file."""
    paths, sides = {}, {}

    def settle(runners, runs):
        del runs
        for run in runners.values():
            run()
        sides.update(runners)
        return {name: (float(number),) for number, name in enumerate(runners)}, True

    def write(folder, half, units, original=half_blocks.write_half_block):
        path = original(folder, half, units)
        paths[half.kind, units] = onnx.load(path)
        return path

    monkeypatch.setattr(half_blocks, "settled_samples", settle)
    monkeypatch.setattr(half_blocks, "write_half_block", write)
    return paths, sides


@pytest.mark.parametrize("family", ["bert", "modernbert", "vit"])
def test_every_kind_is_timed_once_and_the_rest_holds_none(family, timed):
    model, inputs = tiny_transformer(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    couplings = find_couplings(model)
    costs = measure_half_blocks(model, inputs, couplings, threads=1)
    names = {curve_name(coupling, 32) for coupling in couplings}
    assert set(costs.curves) == names
    assert len(timed[1]) == 1 + sum(len(costs.curves[name]) for name in names)
    assert costs.rest_seconds == 0.0  # the first side, by the order that stands for seconds here
    for curve in costs.curves.values():
        assert curve[0] == (0, 0.0)
        # sides are numbered in order, and half of the difference is one half block's
        assert [seconds for _, seconds in curve] == [place / 2 for place in range(len(curve))]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_files_are_dense_half_blocks(timed):
    model, inputs = tiny_transformer("bert")
    measure_half_blocks(model, inputs, find_couplings(model), threads=1)
    files, _ = timed
    counts = {key: [node.op_type for node in file.graph.node] for key, file in files.items()}
    assert counts["heads", 3].count("MatMul") == 2 * 4
    assert counts["heads", 3].count("Attention") == 2
    assert counts["neurons", 8].count("MatMul") == counts["neurons", 64].count("MatMul") == 2 * 2
    assert counts["heads", 0] == counts["neurons", 0] == ["Add", "LayerNormalization"] * 2
    assert all(not node.domain for file in files.values() for node in file.graph.node)
    widths = {tuple(i.dims) for i in files["neurons", 8].graph.initializer}
    assert widths == {(32, 8), (8,), (8, 32), (32,)}


def test_a_half_block_computes_what_a_block_does():
    """Residual, norm and attention of the file, in float64."""
    half = half_blocks.HalfBlock(kind="heads", width=16, unit_size=4, gates=3, batch=2, tokens=5)
    file = half_blocks._model(half, 2)
    x = np.random.default_rng(3).standard_normal((2, 5, 16)).astype(np.float32)
    session = ort.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    values = [onnx.numpy_helper.to_array(i).astype(np.float64) for i in file.graph.initializer]
    wanted = _attention(_attention(x.astype(np.float64), values[:10]), values[10:])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], wanted, atol=1e-5)


@pytest.mark.parametrize("gates", [1, 2])
def test_neurons_compute_a_feed_forward(gates, tmp_path):
    half = half_blocks.HalfBlock(kind="neurons", width=16, unit_size=1, gates=gates, batch=2, tokens=5)
    file = onnx.load(half_blocks.write_half_block(tmp_path, half, 24))
    x = np.random.default_rng(3).standard_normal((2, 5, 16)).astype(np.float32)
    session = ort.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    values = [onnx.numpy_helper.to_array(i).astype(np.float64) for i in file.graph.initializer]
    wanted = x.astype(np.float64)
    for start in (0, len(values) // 2):
        wanted = _feed_forward(wanted, values[start : start + len(values) // 2])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], wanted, atol=1e-5)


def _feed_forward(x, values):
    *gate, wo, bo, scale, shift = values
    inner = x @ gate[0] + gate[1]
    inner = inner * (1 + erf(inner / 2**0.5)) / 2
    if len(gate) > 2:
        inner = inner * (x @ gate[2] + gate[3])
    return _norm(x + inner @ wo + bo, scale, shift)


def _norm(y, scale, shift):
    y = y - y.mean(-1, keepdims=True)
    return y / np.sqrt(y.var(-1, keepdims=True) + 1e-5) * scale + shift


def _attention(x, values):
    wq, bq, wk, bk, wv, bv, wo, bo, scale, shift = values
    q, k, v = (
        (x @ w + b).reshape(2, 5, 2, 4).transpose(0, 2, 1, 3) for w, b in ((wq, bq), (wk, bk), (wv, bv))
    )
    scores = np.exp(q @ k.transpose(0, 1, 3, 2) / 2)
    mixed = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(2, 5, 8)
    return _norm(x + mixed @ wo + bo, scale, shift)
