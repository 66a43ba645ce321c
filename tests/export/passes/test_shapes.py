"""Shapes computed at run time become constants only where that is provably the same."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import parsed_graph, run_proto

from platon_compress.export.passes import clean
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.fold_sizes import FoldSizes
from platon_compress.export.passes.static_reshape import StaticReshape

_SIZE = (
    "s = Shape (x)\n i = Constant <value = int64 {{{axis}}}> ()\n g = Gather (s, i)\n"
    "z = Constant <value = int64[1] {{0}}> ()\n u = Unsqueeze (g, z)\n"
)


def _model(body, inputs="float[B, T, 8] x", output="float[A, C, D, E] y"):
    return parsed_graph(body, inputs, output)


def _run(model, **feed):
    return run_proto(ir.to_proto(model), feed)[0]


def _applied(rule, body, **kinds):
    model = clean(_model(body, **kinds))
    report = apply_rule(rule, model.graph)
    return clean(model), report


def test_copied_sizes_become_zeros():
    body = (
        _SIZE.format(axis=0)
        + "t = Constant <value = int64[3] {-1, 2, 4}> ()\n n = Concat <axis = 0> (u, t)\n y = Reshape (x, n)\n"
    )
    model, report = _applied(StaticReshape(), body)
    assert (report.applied, report.refusals) == (1, ())
    assert [node.op_type for node in model.graph] == ["Reshape"]
    assert next(iter(model.graph)).inputs[1].const_value.numpy().tolist() == [0, -1, 2, 4]
    x = np.arange(3 * 5 * 8, dtype=np.float32).reshape(3, 5, 8)
    assert (_run(model, x=x) == x.reshape(3, 5, 2, 4)).all()


def test_one_size_of_another_tensor_becomes_the_rest():
    body = (
        _SIZE.format(axis=1).replace("(x)", "(w)")
        + "t = Constant <value = int64[2] {2, 4}> ()\n c = Concat <axis = 0> (z, u, t)\n y = Reshape (x, c)\n"
    )
    model, report = _applied(StaticReshape(), body, inputs="float[B, T, 8] x, float[B, U] w")
    assert report.applied == 1
    assert next(n for n in model.graph if n.op_type == "Reshape").inputs[1].const_value.numpy().tolist() == [
        0,
        -1,
        2,
        4,
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("n = Shape (w)\n y = Reshape (x, n)\n", "more than one size"),
        ("a = Abs (v)\n y = Reshape (x, a)\n", "not put together from sizes"),
    ],
)
def test_other_shapes_are_refused_with_a_reason(body, reason):
    inputs = "float[B, T, 8] x, float[P, Q, R, S] w, int64[4] v"
    _, report = _applied(StaticReshape(), body, inputs=inputs)
    assert report.applied == 0
    assert reason in report.refusals[0][1]


def test_constant_shapes_stay():
    body = "n = Constant <value = int64[4] {0, 0, 2, 4}> ()\n y = Reshape (x, n)\n"
    assert _applied(StaticReshape(), body)[1].refusals == ()


def test_known_sizes_are_folded():
    body = _SIZE.format(axis=2) + "f = Cast <to = 1> (u)\n r = Sqrt (f)\n y = Div (x, r)\n"
    model, report = _applied(FoldSizes(), body, output="float[A, C, D] y")
    assert report.applied >= 1
    assert [node.op_type for node in model.graph] == ["Div"]
    x = np.ones((1, 2, 8), np.float32)
    np.testing.assert_allclose(_run(model, x=x), x / 8**0.5, rtol=1e-6)


def test_dynamic_sizes_are_not_folded():
    model, report = _applied(
        FoldSizes(), _SIZE.format(axis=1) + "y = Cast <to = 1> (u)\n", output="float[1] y"
    )
    assert report.applied == 0
    assert _run(model, x=np.ones((1, 7, 8), np.float32)).tolist() == [7.0]
