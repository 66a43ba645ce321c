"""GELU spellings become one node; lookalikes stay."""

import math

import numpy as np
import onnx_ir as ir
import pytest
from graphs import parsed_graph, run_proto

from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.fuse_gelu import FuseGelu

_ERF = "s = Div (x, root)\n e = Erf (s)\n p = Add (e, one)\n"
_TANH = "c = Pow (x, three)\n k = Mul (c, cubic)\n i = Add (x, k)\n j = Mul (i, slope)\n e = Tanh (j)\n p = Add (one, e)\n"
_ENDINGS = {
    "(x p) half": "m = Mul (x, p)\n y = Mul (m, half)\n",
    "half (x p)": "m = Mul (x, p)\n y = Mul (half, m)\n",
    "x (p half)": "m = Mul (p, half)\n y = Mul (x, m)\n",
    "(x half) p": "m = Mul (x, half)\n y = Mul (m, p)\n",
    "(p x) / 2": "m = Mul (p, x)\n y = Div (m, two)\n",
}
_CONSTANTS = {
    "root": math.sqrt(2), "inverse": 1 / math.sqrt(2), "one": 1, "half": 0.5, "two": 2, "three": 3,
    "cubic": 0.044715, "slope": math.sqrt(2 / math.pi),
}  # fmt: skip


def _model(body):
    constants = "\n".join(f"{n} = Constant <value = float {{{v!r}}}> ()" for n, v in _CONSTANTS.items())
    return parsed_graph(f"{constants}\n{body}", "float[N, 4] x", "float[N, 4] y", opset=20)


def _lifted(body):
    from platon_compress.export.passes.clean import clean

    return clean(_model(body))


def _run(model, x):
    return run_proto(ir.to_proto(model), {"x": x})[0]


def _operators(model):
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("ending", _ENDINGS.values(), ids=_ENDINGS)
@pytest.mark.parametrize(
    ("start", "fused"),
    [
        (_ERF, "Gelu"),
        (_ERF.replace("Div (x, root)", "Mul (inverse, x)"), "Gelu"),
        (_TANH, "FastGelu"),
        (_TANH.replace("Pow (x, three)", "Mul (x, sq)").replace("c =", "sq = Mul (x, x)\n c ="), "FastGelu"),
    ],
)
def test_every_spelling_becomes_one_node(start, fused, ending):
    x = np.linspace(-4, 4, 40, dtype=np.float32).reshape(10, 4)
    wanted = _run(_model(start + ending), x)
    model = _lifted(start + ending)
    report = apply_rule(FuseGelu(), model.graph)
    assert (report.applied, report.refusals) == (1, ())
    assert _operators(model) == [fused]
    np.testing.assert_allclose(_run(model, x), wanted, atol=2e-6)


@pytest.mark.parametrize(("approximate", "fused"), [("none", "Gelu"), ("tanh", "FastGelu")])
def test_the_standard_operator_becomes_the_runtimes_own(approximate, fused):
    model = _lifted(f'y = Gelu <approximate = "{approximate}"> (x)')
    assert apply_rule(FuseGelu(), model.graph).applied == 1
    assert [(node.domain, node.op_type) for node in model.graph] == [("com.microsoft", fused)]


@pytest.mark.parametrize(
    "body",
    [
        _ERF.replace("root", "two") + _ENDINGS["(x p) half"],
        _ERF.replace("one", "two") + _ENDINGS["(x p) half"],
        _TANH.replace("cubic", "half") + _ENDINGS["(x p) half"],
        "y = Erf (x)",
    ],
    ids=["other scale", "other offset", "other cubic", "bare erf"],
)
def test_lookalikes_stay(body):
    model = _lifted(body)
    before = _operators(model)
    report = apply_rule(FuseGelu(), model.graph)
    assert (report.applied, _operators(model)) == (0, before)


@pytest.mark.parametrize("ending", ["m = Mul (x, p)\n y = Mul (m, two)\n", "y = Mul (p, half)\n"])
def test_other_products_are_refused_with_a_reason(ending):
    report = apply_rule(FuseGelu(), _lifted(_ERF + ending).graph)
    assert report.applied == 0
    assert "is not multiplied by half of the same input" in report.refusals[0][1]
