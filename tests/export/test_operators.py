"""Every operator of the table computes what its name says: in the library, inlined by stock ONNX Runtime, and in onnx."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from scipy import sparse, special
from thinned import thinned

from platon_compress.export.bodies import body
from platon_compress.export.operators import OPERATORS, registration, specification
from platon_compress.export.quantize import gap_arrays, quantize_rows
from platon_compress.export.session import open_session
from platon_compress.formats.csr import CsrWeight
from platon_compress.testing import naive_int8_attention, naive_int8_linear

_ROOT = Path(__file__).parents[2]
_SIZES = {
    "in_features": 24,
    "inner_features": 36,
    "out_features": 24,
}  # of residuals and sums: in and out are equal
_HEADS, _SCALE, _EPSILON = 4, 0.4, 1e-5
_GAP_BITS = {"gap_bits": 3, "inner_gap_bits": 5, "qkv_gap_bits": 1}
_BATCH, _TOKENS = 2, 41  # two panels, the last one with a part of a group
_ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * special.ndtr(x),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def _normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def _weights(operator):
    """Dense matrices [out, in] with many zeros, and one empty row at the end."""
    attributes = _SIZES
    for number, weight in enumerate(operator.weights):
        rows = weight.rows[0] * attributes[weight.rows[1]]
        columns = weight.columns[0] * attributes[weight.columns[1]]
        dense = _normal(rows, columns, seed=number) * (_normal(rows, columns, seed=9) > 0.8)
        dense[-1] = 0
        yield weight, dense


def _stored(weight, csr, encoding):
    floats = (csr.values, csr.columns, csr.row_starts)
    if encoding == "csr":
        return floats
    *whole, scales = quantize_rows(*floats)
    if encoding == "csr_int8":
        return *whole, scales
    return *gap_arrays(*whole, csr.in_features, [_GAP_BITS[f"{weight.prefix}gap_bits"]])[:2], scales


def _constants(operator):
    found = {}
    for weight, dense in _weights(operator):
        csr = CsrWeight.from_dense(dense)
        found |= dict(
            zip(weight.arrays(operator.encoding), _stored(weight, csr, operator.encoding), strict=True)
        )
        found[f"{weight.prefix}bias"] = _normal(len(dense), seed=3)
    for prefix in operator.norms:
        for number, name in enumerate(("scale", "shift")):
            found[prefix + name] = _normal(_SIZES["out_features"], seed=len(prefix) + number)
    return found


def _activations(operator):
    """By lengths, the batch is one row of the sequences one behind the other."""
    batch, tokens = (1, _BATCH * _TOKENS) if "lengths" in operator.parts else (_BATCH, _TOKENS)
    width = {"X": 24, "residual": 24, "QKV": 3 * 36, "Q": 36, "K": 36, "V": 36}
    feed = {
        name: _normal(batch, tokens, width[name], seed=ord(name[0]))
        for name in operator.activations
        if name in width
    }
    if "mask" in operator.parts:
        feed["mask"] = np.where(_normal(_BATCH, 1, 1, _TOKENS) > 0.5, -1e30, 0.0).astype(np.float32)
        feed["mask"][0] = -1e30  # a row from which everything is hidden spreads evenly
    if "lengths" in operator.parts:
        feed["lengths"] = np.array([0, 5, _BATCH * _TOKENS - 5])
    return feed


def _model(path, operator):
    feed = _activations(operator)
    values = {**_SIZES, **_GAP_BITS, "num_heads": _HEADS, "score_scale": _SCALE}
    values |= dict.fromkeys(("epsilon", "prenorm_epsilon"), _EPSILON)
    attributes = {name: values[name] for name, _ in operator.attributes}
    graph = helper.make_graph(
        [helper.make_node(operator.name, operator.inputs, operator.outputs, domain="platon", **attributes)],
        "one",
        [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(array.dtype),
                [f"{name}{axis}" for axis in range(array.ndim)],
            )
            for name, array in feed.items()
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "t", "f"])
            for name in operator.outputs
        ],
        [numpy_helper.from_array(array, name) for name, array in _constants(operator).items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("platon", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    proto.functions.append(ir.serde.serialize_function(body(operator, 18)))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    return feed


def _layer(operator, dense, bias):
    """x -> x W^T + bias in float64; of 8-bit weights what the specification says, bit by bit."""
    if not operator.quantized:
        return lambda x: x @ dense.T.astype(np.float64) + bias
    csr = CsrWeight.from_dense(dense)
    values, columns, row_starts, scales = quantize_rows(csr.values, csr.columns, csr.row_starts)
    rounded = sparse.csr_matrix((values, columns, row_starts), dense.shape).toarray()

    def layer(x):
        rows = x.reshape(-1, x.shape[-1]).astype(np.float32)
        return naive_int8_linear(rows, rounded, scales, bias).reshape(*x.shape[:-1], -1).astype(np.float64)

    return layer


def _check(operator, outputs, wanted):
    """Equal up to rounding. Between two products of 8-bit weights a last bit may move a byte by one: in few places."""
    for got, exact in zip(outputs, wanted, strict=True):
        bound = 1e-4 + 2e-5 * abs(
            exact
        )  # scores are large here: a last bit of one moves a probability by 1e-5
        if not operator.quantized or operator.kind == "Linear":
            assert (abs(got - exact) <= bound).all()
        else:
            assert (abs(got - exact) > bound).mean() < 0.1
            assert abs(got - exact).max() < 0.2


def _attended(operator, feed, qkv):
    """Attention in float64 over [batch, tokens, features] of Q, K and V."""
    q, k, v = (part.reshape(*part.shape[:2], _HEADS, -1).transpose(0, 2, 1, 3) for part in qkv)
    if operator.int8_attention:
        context = _attended_int8(feed, *(part.astype(np.float32) for part in (q, k, v)))
        return context.transpose(0, 2, 1, 3).reshape(*qkv[0].shape[:2], -1)
    scores = _SCALE * q @ k.swapaxes(2, 3)
    if "mask" in feed:
        scores = np.where(np.broadcast_to(feed["mask"], scores.shape) < -1e29, -1e30, scores)
    if "lengths" in feed:
        number = np.repeat(np.arange(len(feed["lengths"])), feed["lengths"])
        scores = np.where(number[:, None] == number, scores, -1e30)
    context = special.softmax(scores, axis=-1) @ v
    return context.transpose(0, 2, 1, 3).reshape(*qkv[0].shape[:2], -1)


def _attended_int8(feed, q, k, v):
    """[batch, heads, tokens, size], head by head, sequence by sequence."""
    context = np.zeros_like(v, np.float64)
    lengths = feed.get("lengths", [q.shape[2]])
    for batch, head in np.ndindex(q.shape[:2]):
        for end, length in zip(np.cumsum(lengths), lengths, strict=True):
            own = (batch, head, slice(end - length, end))
            mask = feed["mask"][batch, 0] if "mask" in feed else 0.0
            if length:
                context[own] = naive_int8_attention(q[own], k[own], v[own], _SCALE, mask)[0]
    return context


def _reference(operator, feed):
    """Outputs in float64, from dense matrices."""
    wide = {name: array.astype(np.float64) for name, array in feed.items() if name != "lengths"}
    feed = wide | {name: feed[name] for name in feed if name == "lengths"}
    constants = _constants(operator)
    layers = [_layer(operator, w, constants[f"{stored.prefix}bias"]) for stored, w in _weights(operator)]
    if operator.kind == "Heads":
        stacked = np.concatenate([feed[n] for n in "QKV"], -1) if "Q" in feed else feed["QKV"]
        return [_attended(operator, feed, np.split(stacked, 3, axis=-1))]
    x, activation = feed["X"], next((a for a in _ACTIVATIONS if a in operator.parts), None)
    if "prenorm" in operator.parts:
        x = _normed(x, constants["prenorm_scale"], constants["prenorm_shift"])
    if operator.kind == "FeedForward":
        x = layers[0](x)
        x = _ACTIVATIONS[activation](x)
    if operator.kind == "SelfAttention":
        x = _attended(operator, feed, np.split(layers[0](x), 3, axis=-1))
    y = layers[-1](x)
    if operator.kind == "Linear" and activation:
        y = _ACTIVATIONS[activation](y)
    total = y + (feed["X"] if "prenorm" in operator.parts else feed.get("residual", 0.0))
    if "norm" not in operator.parts:
        return [total]
    norm = _normed(total, constants["scale"], constants["shift"])
    return [norm, *[total] * ("sum" in operator.parts)]


def _normed(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + _EPSILON) * scale + shift


@pytest.mark.parametrize("name", thinned(OPERATORS, every=3))
def test_one_meaning_everywhere(name, tmp_path):
    operator = OPERATORS[name]
    feed = _model(tmp_path / "m.onnx", operator)
    results = [open_session(tmp_path / "m.onnx", threads=n).run(None, feed) for n in (1, 2)]
    results.append(open_session(tmp_path / "m.onnx", use_library=False).run(None, feed))
    results.append(ReferenceEvaluator(onnx.load(tmp_path / "m.onnx")).run(None, feed))
    for outputs in results:
        _check(operator, outputs, _reference(operator, feed))
    assert all(np.array_equal(a, b) for a, b in zip(*results[:2], strict=True))


@pytest.mark.parametrize("name", thinned((n for n, o in OPERATORS.items() if "residual" in o.parts), every=3))
def test_the_residual_may_be_the_input(name, tmp_path):
    """What a post-norm block adds; the library packs it once."""
    operator = OPERATORS[name]
    feed = _model(tmp_path / "m.onnx", operator)
    proto = onnx.load(tmp_path / "m.onnx")
    proto.graph.node[0].input[list(operator.inputs).index("residual")] = "X"
    del proto.graph.input[[value.name for value in proto.graph.input].index("residual")]
    onnx.save(proto, tmp_path / "m.onnx")
    wanted = _reference(operator, feed | {"residual": feed["X"]})
    feed = {key: array for key, array in feed.items() if key != "residual"}
    for use_library in (True, False):
        outputs = open_session(tmp_path / "m.onnx", use_library=use_library).run(None, feed)
        _check(operator, outputs, wanted)


@pytest.mark.parametrize(
    "name", ["PlatonFeedForward_gelu_prenorm_norm_csr", "PlatonSelfAttention_full_prenorm_csr"]
)
@pytest.mark.parametrize("tokens", [600, 750], ids=["packed by the caller", "packed by all"])
def test_many_tokens_with_a_norm_in_front(name, tokens, tmp_path):
    operator = OPERATORS[name]
    _model(tmp_path / "m.onnx", operator)
    feed = {"X": _normal(2, tokens, 24, seed=5)}
    wanted = _reference(operator, feed)[0]
    results = [open_session(tmp_path / "m.onnx", threads=n).run(None, feed)[0] for n in (1, 2, 4)]
    np.testing.assert_allclose(results[0], wanted, rtol=2e-5, atol=2e-4)
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_the_library_registers_the_table():
    """The C++ list is written from the Python one."""
    written = (_ROOT / "export/kernels/csrc/ort/operators.inc").read_text()
    assert written == registration()
    printed = subprocess.run(
        [sys.executable, "-m", "platon_compress.export.operators"], capture_output=True, text=True, check=True
    )
    assert printed.stdout == written


def test_names_are_unlike_standard_operators():
    """Tools look operators up by type without domain, some by how a name ends."""
    standard = {schema.name.lower() for schema in defs.get_all_schemas() if len(schema.name) > 1}
    for name in OPERATORS:
        assert name.startswith("Platon")
        assert not name.lower().endswith(tuple(standard)), name


def test_the_specification_holds_the_table():
    """docs/operator.md: `python -m platon_compress.export.operators --markdown`."""
    assert specification() in (_ROOT / "docs" / "operator.md").read_text()
