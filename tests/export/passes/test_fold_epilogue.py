"""Residual and norm move into the sparse layer: same numbers with and without the library, only where they fit."""

import numpy as np
import pytest
from graphs import parsed_graph

from platon_compress.export.passes import clean, swap_sparse_weights
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.fold_residual import FoldResidual
from platon_compress.export.passes.fuse_norm import FuseNorm, FuseNormOfSums
from platon_compress.export.testing import run_sparse_graph
from platon_compress.formats.csr import CsrWeight

_RNG = np.random.default_rng(0)
_WEIGHTS = {
    name: (_RNG.standard_normal((16, 16)) * (_RNG.random((16, 16)) < 0.3)).astype(np.float32)
    for name in "abcd"
}
_VECTORS = {name: _RNG.standard_normal(16).astype(np.float32) for name in ("v", "g", "h")}
_NORM = "LayerNormalization <axis = -1, epsilon = 1e-12>"
# Post-norm (BERT): only the norm is read. Pre-norm (ViT): the sum goes on as the next residual.
_POST = f"""
  p = MatMul (x, a)\n o = Add (p, v)\n s = Add (o, x)\n n = {_NORM} (s, g, h)
  f = MatMul (n, b)\n r = Relu (f)\n q = MatMul (r, c)\n t = Add (n, q)\n y = {_NORM} (t, g, h)\n"""
_PRE = f"""
  i = {_NORM} (x, g, h)\n p = MatMul (i, a)\n o = Add (p, v)\n s = Add (x, o)\n n = {_NORM} (s, g)
  f = MatMul (n, b)\n r = Relu (f)\n q = MatMul (r, c)\n t = Add (q, s)\n m = {_NORM} (t, g, h)
  k = MatMul (m, d)\n y = Add (k, t)\n"""
_RULES = (FoldResidual, FuseNorm, FuseNormOfSums)


def _sparse(body, kind="float[N, T, 16]"):
    model = clean(parsed_graph(body, f"{kind} x", f"{kind} y", {**_WEIGHTS, **_VECTORS}))
    used = [name for name in _WEIGHTS if name in model.graph.initializers]
    swap_sparse_weights(model, {f"{n}.weight": CsrWeight.from_dense(_WEIGHTS[n].T) for n in used})
    return model


def _counts(model):
    return {rule.name: apply_rule(rule(), model.graph).applied for rule in _RULES}


@pytest.mark.parametrize("tokens", [1, 7, 8, 64, 65, 130])
@pytest.mark.parametrize("body", [_POST, _PRE], ids=["post", "pre"])
def test_same_numbers_with_and_without_the_library(tokens, body):
    x = _RNG.standard_normal((2, tokens, 16)).astype(np.float32)
    wanted = run_sparse_graph(_sparse(body), x, use_library=False)
    model = _sparse(body)
    _counts(model)
    for use_library in (True, False):
        np.testing.assert_allclose(run_sparse_graph(model, x, use_library=use_library), wanted, atol=5e-5)


def test_counts():
    post, pre = _sparse(_POST), _sparse(_PRE)
    assert _counts(post) == {"fold_residual": 2, "fuse_norm": 2, "fuse_norm_of_sums": 0}
    assert [node.op_type for node in post.graph] == ["SparseLinear"] * 3
    assert _counts(pre) == {"fold_residual": 3, "fuse_norm": 0, "fuse_norm_of_sums": 2}
    assert [node.op_type for node in pre.graph] == [
        "LayerNormalization",
        *["SparseLinear"] * 4,
    ]
    assert [len(node.outputs) for node in pre.graph if node.op_type == "SparseLinear"] == [2, 1, 2, 1]


def test_a_residual_that_is_computed_later_moves_the_layer_behind_it():
    model = _sparse("p = MatMul (x, a)\n r = Relu (x)\n y = Add (p, r)\n")
    assert apply_rule(FoldResidual(), model.graph).applied == 1
    assert [node.op_type for node in model.graph] == ["Relu", "SparseLinear"]
    x = _RNG.standard_normal((1, 9, 16)).astype(np.float32)
    np.testing.assert_allclose(
        run_sparse_graph(model, x, use_library=True), x @ _WEIGHTS["a"] + np.maximum(x, 0), atol=1e-5
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("p = MatMul (x, a)\n r = Relu (p)\n y = Add (r, x)\n", "activation"),
        ("p = MatMul (x, a)\n s = ReduceMean (x)\n y = Add (p, s)\n", "another shape"),
        ("p = MatMul (x, a)\n q = Neg (p)\n s = Add (p, x)\n y = Add (s, q)\n", None),
        ("p = MatMul (x, a)\n y = Add (p, p)\n", None),
    ],
    ids=["activation", "broadcast", "read elsewhere", "twice itself"],
)
def test_other_sums_stay(body, reason):
    model = _sparse(body)
    report = apply_rule(FoldResidual(), model.graph)
    assert report.applied == 0
    assert [reason in text for _, text in report.refusals] == ([True] if reason else [])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"p = MatMul (x, a)\n r = Relu (p)\n y = {_NORM} (r, g, h)\n", "activation"),
        (
            "p = MatMul (x, a)\n y = LayerNormalization <axis = 1> (p, g, h)\n",
            "more than the last axis",
        ),
        (
            f"p = MatMul (x, a)\n n, m = {_NORM} (p, g, h)\n y = Add (n, m)\n",
            "statistics",
        ),
    ],
    ids=["activation", "axis", "statistics"],
)
def test_other_norms_stay(body, reason):
    model = _sparse(body)
    report = apply_rule(FuseNorm(), model.graph)
    assert report.applied == 0
    assert [reason in text for _, text in report.refusals] == [True]
