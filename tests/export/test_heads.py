"""PlatonHeads in ONNX Runtime: equal numbers with and without the library; bad inputs give one clear line."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from platon_compress.errors import InputError
from platon_compress.export.functions import attach_functions
from platon_compress.export.operators import OPERATORS
from platon_compress.export.session import open_session

_ATTRIBUTES = {"num_heads": 2, "score_scale": 0.3}


def _model(path, feed, *, drop=(), fallback=True, **attributes):
    """One node whose inputs are those of `feed`, of any shape; with its body in standard operators or without."""
    settings = {name: value for name, value in (_ATTRIBUTES | attributes).items() if name not in drop}
    masking = next((name for name in ("mask", "lengths") if name in feed), "full")
    operator = OPERATORS[f"PlatonHeads_{'stacked' if 'QKV' in feed else 'separate'}_{masking}"]
    infos = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(array.dtype),
            [f"{name}{axis}" for axis in range(array.ndim)],
        )
        for name, array in feed.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(operator.name, operator.inputs, ["Y"], domain="platon", **settings)],
        "one",
        infos,
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["b", "t", "f"])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("platon", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if fallback:
        model = ir.from_proto(proto)
        attach_functions(model)
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    return path


def _normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def _reference(q, k, v, added, heads=2, scale=0.3):
    """float64 [batch, tokens, heads * value_size]; added broadcasts to [batch, heads, tokens, tokens]."""

    def split(array):
        return array.astype(np.float64).reshape(*array.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    scores = scale * split(q) @ split(k).swapaxes(2, 3) + added
    weights = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf))
    result = weights / weights.sum(-1, keepdims=True) @ split(v)
    return result.transpose(0, 2, 1, 3).reshape(*q.shape[:2], -1)


def _feed(q, k, v, stacked, **others):
    return ({"QKV": np.concatenate([q, k, v], -1)} if stacked else {"Q": q, "K": k, "V": v}) | others


def _check(path, feed, expected, threads=(1, 2), **attributes):
    _model(path, feed, **attributes)
    results = [open_session(path, threads=n).run(None, feed)[0] for n in threads]
    results.append(open_session(path, use_library=False).run(None, feed)[0])
    for result in results:
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, atol=3e-6)
    assert all(np.array_equal(results[0], other) for other in results[1:-1])


_SIZES = [(1, 1), (1, 7), (2, 3), (3, 3), (1, 8), (2, 65), (5, 13), (1, 197)]


@pytest.mark.parametrize("stacked", [False, True], ids=["separate", "stacked"])
@pytest.mark.parametrize(("batch", "tokens"), _SIZES)
def test_batches_of_any_size(tmp_path, batch, tokens, stacked):
    q, k, v = (_normal(batch, tokens, 12, seed=seed) for seed in range(3))
    _check(tmp_path / "m.onnx", _feed(q, k, v, stacked), _reference(q, k, v, 0.0))


@pytest.mark.parametrize("stacked", [False, True], ids=["separate", "stacked"])
@pytest.mark.parametrize(
    "shape",
    [(), (1,), (11,), (11, 11), (1, 11), (2, 11, 11), (3, 1, 1, 11), (3, 2, 11, 11), (3, 1, 11, 1)],
    ids=str,
)
def test_masks_broadcast_from_the_right(tmp_path, shape, stacked):
    q, k, v = (_normal(3, 11, 12, seed=seed) for seed in range(3))
    mask = _normal(*shape) if shape else np.array(0.5, np.float32)
    if mask.ndim > 1 and mask.shape[-1] > 1:
        mask[..., 4:6] = -1e30
    _check(tmp_path / "m.onnx", _feed(q, k, v, stacked, mask=mask), _reference(q, k, v, mask))


@pytest.mark.parametrize("stacked", [False, True], ids=["separate", "stacked"])
@pytest.mark.parametrize("lengths", [[1], [9], [3, 5], [0, 4, 0, 1], [13, 60, 1, 100]], ids=str)
def test_sequences_one_behind_the_other(tmp_path, lengths, stacked):
    q, k, v = (_normal(1, sum(lengths), 12, seed=seed) for seed in range(3))
    number = np.repeat(np.arange(len(lengths)), lengths)
    added = np.where(number[:, None] == number, 0.0, -np.inf)
    feed = _feed(q, k, v, stacked, lengths=np.array(lengths))
    _check(tmp_path / "m.onnx", feed, _reference(q, k, v, added))


def test_values_of_another_size(tmp_path):
    q, k, v = _normal(2, 9, 12), _normal(2, 9, 12, seed=1), _normal(2, 9, 6)
    _check(tmp_path / "m.onnx", {"Q": q, "K": k, "V": v}, _reference(q, k, v, 0.0))


@pytest.mark.parametrize("heads", [1, 3, 12])
def test_numbers_of_heads(tmp_path, heads):
    q, k, v = (_normal(2, 9, 12, seed=seed) for seed in range(3))
    feed = _feed(q, k, v, stacked=True)
    _check(tmp_path / "m.onnx", feed, _reference(q, k, v, 0.0, heads), num_heads=heads)


@pytest.mark.parametrize("shape", [(0, 5, 12), (2, 0, 12)])
def test_no_tokens(tmp_path, shape):
    path = _model(tmp_path / "m.onnx", {"QKV": np.empty(shape, np.float32)}, fallback=False)
    assert open_session(path).run(None, {"QKV": np.empty(shape, np.float32)})[0].shape == (*shape[:2], 4)


def test_no_sequences(tmp_path):
    feed = {"QKV": np.empty((1, 0, 12), np.float32), "lengths": np.empty(0, np.int64)}
    path = _model(tmp_path / "m.onnx", feed, fallback=False)
    assert open_session(path).run(None, feed)[0].shape == (1, 0, 4)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"num_heads": 0}, "num_heads must lie between 1 and 65536, got 0"),
        ({"num_heads": -2}, "num_heads must lie between 1 and 65536, got -2"),
        ({"num_heads": 65537}, "num_heads must lie between 1 and 65536, got 65537"),
        ({"num_heads": 2**62}, "num_heads must lie between 1 and 65536, got 4611686018427387904"),
        ({"drop": ("num_heads",)}, "attribute num_heads is missing; export the model again"),
        ({"drop": ("score_scale",)}, "attribute score_scale is missing; export the model again"),
    ],
)
def test_bad_attributes_are_refused_when_the_file_is_opened(tmp_path, attributes, message):
    path = _model(tmp_path / "m.onnx", {"QKV": _normal(1, 2, 12)}, fallback=False, **attributes)
    with pytest.raises(InputError, match=f"platon::PlatonHeads_[a-z_]+: {message}"):
        open_session(path)


def _float_zeros(*shape):
    return np.zeros(shape, np.float32)


_X = _float_zeros(2, 5, 12)
_BAD_INPUTS = {
    "rank 2": ({"QKV": _float_zeros(5, 12)}, r"QKV must be \[batch, tokens, features\], got \[5, 12\]"),
    "rank 4": (
        {"QKV": _float_zeros(1, 2, 5, 12)},
        r"QKV must be \[batch, tokens, features\], got \[1, 2, 5, 12\]",
    ),
    "thirds": ({"QKV": _float_zeros(2, 5, 10)}, "10 features do not divide into 3 x 2 heads"),
    "heads": (dict.fromkeys("QKV", _float_zeros(2, 5, 9)), "9 features do not divide into 1 x 2 heads"),
    "no features": ({"QKV": _float_zeros(2, 5, 0)}, "0 features do not divide into 3 x 2 heads"),
    "K's tokens": (
        {"Q": _X, "K": _float_zeros(2, 6, 12), "V": _X},
        r"K must have the batch and tokens of Q, \[2, 5, 12\], got \[2, 6, 12\]",
    ),
    "V's batch": (
        {"Q": _X, "K": _X, "V": _float_zeros(1, 5, 12)},
        r"V must have the batch and tokens of Q, \[2, 5, 12\], got \[1, 5, 12\]",
    ),
    "V's rank": (
        {"Q": _X, "K": _X, "V": _float_zeros(2, 60)},
        r"V must have the batch and tokens of Q, \[2, 5, 12\], got \[2, 60\]",
    ),
    "K's size": (
        {"Q": _X, "K": _float_zeros(2, 5, 8), "V": _X},
        "Q and K must have the same features, got 12 and 8",
    ),
    "mask's keys": (
        {"QKV": _X, "mask": _float_zeros(2, 1, 1, 6)},
        r"mask must broadcast to \[2, 2, 5, 5\], got \[2, 1, 1, 6\]",
    ),
    "mask's heads": (
        {"QKV": _X, "mask": _float_zeros(3, 5, 5)},
        r"mask must broadcast to \[2, 2, 5, 5\], got \[3, 5, 5\]",
    ),
    "mask's rank": (
        {"QKV": _X, "mask": _float_zeros(1, 2, 2, 5, 5)},
        r"mask must broadcast to \[2, 2, 5, 5\], got \[1, 2, 2, 5, 5\]",
    ),
    "empty mask": (
        {"QKV": _X, "mask": _float_zeros(2, 1, 1, 0)},
        r"mask must broadcast to \[2, 2, 5, 5\], got \[2, 1, 1, 0\]",
    ),
    "negative length": (
        {"QKV": _X[:1], "lengths": np.array([11, -1])},
        r"lengths must add up to the tokens of one row of the batch, \[1, 5, 12\], got \[11, -1\]",
    ),
    "hidden negative length": (
        {"QKV": _X[:1], "lengths": np.array([5, -1, 6])},
        r"lengths must add up to the tokens of one row of the batch, \[1, 5, 12\], got \[5, -1, 6\]",
    ),
    "too short": ({"QKV": _X[:1], "lengths": np.array([4, 5])}, r"lengths must add up .*, got \[4, 5\]"),
    "none": ({"QKV": _X[:1], "lengths": np.empty(0, np.int64)}, r"lengths must add up .*, got \[\]"),
    "overflow": (
        {"QKV": _X[:1], "lengths": np.array([2**62, 2**62])},
        "lengths must add up to the tokens of one row",
    ),
    "rank of lengths": (
        {"QKV": _X[:1], "lengths": np.array([[5, 5]])},
        "lengths must have one dimension, got 2",
    ),
    "more rows than one": (
        {"QKV": _X, "lengths": np.array([5, 5])},
        r"lengths must add up to the tokens of one row of the batch, \[2, 5, 12\], got \[5, 5\]",
    ),
}


@pytest.mark.parametrize("case", list(_BAD_INPUTS))
def test_bad_inputs_give_one_clear_line(tmp_path, case):
    feed, message = _BAD_INPUTS[case]
    session = open_session(_model(tmp_path / "m.onnx", feed, fallback=False))
    with pytest.raises(Exception, match=f"platon::PlatonHeads_[a-z_]+: {message}") as error:
        session.run(None, feed)
    assert len(str(error.value).strip().splitlines()) == 1


@pytest.mark.parametrize(
    "feed",
    [
        {"QKV": _X.astype(np.float64)},
        {"QKV": _X, "mask": np.ones((2, 1, 1, 5), bool)},
        {"QKV": _X[:1], "lengths": np.array([5, 5], np.int32)},
        {"QKV": _X[:1], "lengths": _float_zeros(2)},
    ],
    ids=["float64 Q", "bool mask", "int32 lengths", "float lengths"],
)
def test_other_types_are_refused_when_the_file_is_opened(tmp_path, feed):
    path = _model(tmp_path / "m.onnx", feed, fallback=False)
    with pytest.raises(InputError, match=r"refused .*Type Error"):
        open_session(path)


def test_a_file_without_its_fallback_needs_the_library(tmp_path):
    path = _model(tmp_path / "m.onnx", {"QKV": _X}, fallback=False)
    with pytest.raises(InputError, match=r"refused .*PlatonHeads"):
        open_session(path, use_library=False)
    assert isinstance(open_session(path), ort.InferenceSession)
