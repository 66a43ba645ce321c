"""What is required of a file with 8-bit weights: near answers everywhere, the same decisions, the same metric."""

import json
import os

import numpy as np
import pytest
import torch

from platon_compress import PlanConfig, bake, convert, plan
from platon_compress.export import export_onnx, rounding, verify
from platon_compress.export.rounding import FLOAT32, check_rounded, portable_batches
from platon_compress.library import kernel_names, selected_kernel, taking_kernels
from platon_compress.scoring import Evaluation, accuracy_evaluation
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer

_STOCK = "onnx_compressed_stock"


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """A pruned model, its files, and the 8-bit one with its float32 form."""
    model, inputs = tiny_transformer("bert")
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(w.shape, generator=generator) < 0.3 for name, w in select(model).items()}
    baked = bake(model, masks)
    compressed = convert(baked, plan(baked, PlanConfig(tokens=8, force="csr", values="int8")))
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(baked.model, folder / "pruned.onnx", inputs)
    export_onnx(compressed, folder / "compressed.onnx", inputs, unrounded=folder / "float32.onnx")
    return {
        "pruned": baked.model,
        "converted": compressed.model,
        "onnx_pruned": folder / "pruned.onnx",
        "onnx_compressed": folder / "compressed.onnx",
        "onnx_float32": folder / "float32.onnx",
    }


def _batches(count=6, size=16):
    generator = np.random.default_rng(0)
    batches = []
    for number in range(count):
        ids = generator.integers(3, 80, (size, 6 + 2 * number))
        mask = (np.arange(ids.shape[1]) < generator.integers(3, ids.shape[1] + 1, (size, 1))).astype(np.int64)
        batches.append({"input_ids": np.where(mask, ids, 1), "attention_mask": mask})
    return batches


def _labelled(batches):
    return accuracy_evaluation(batches, [np.arange(len(batch["input_ids"])) % 3 for batch in batches])


def test_the_graph_is_proved_by_the_float32_form(routes):
    seen = []
    report = verify(
        **routes,
        batches=_labelled(_batches()),
        progress=lambda done, total, status: seen.append((done, total)),
    )
    assert seen == [(done, seen[0][1]) for done in range(1, seen[0][1] + 1)]
    assert report.passed
    assert [row["pair"].rpartition(" vs ")[2] for row in report.rows] == [
        "torch_converted", "onnx_pruned", FLOAT32, "onnx_float32_stock",
    ]  # fmt: skip
    assert all(row["max_abs"] < 1e-5 for row in report.rows)
    assert report.rounded.rounding.max_abs > 1e-3
    assert report.rounded.rounding.passed is None
    stock = report.rounded.elsewhere[-1]
    assert (stock.decisions, stock.unit) == (96, "row")
    assert stock.outputs == 96 * 3
    assert 0 <= stock.relative_error < report.rounded.rounding.relative_error
    json.dumps(report.to_dict(), allow_nan=False)


def test_without_labels_outputs_are_compared(routes):
    report = verify(**routes, batches=_batches())
    assert report.passed
    assert report.scores == {}
    for near in report.rounded.elsewhere:
        assert (near.decisions, near.agreement, near.metric_difference) == (0, None, None)
        assert near.cosine > 0.999


@pytest.mark.skipif(
    selected_kernel() == kernel_names()[0], reason="a session takes the portable kernels anyway"
)
def test_the_portable_kernels_run_some_batches(routes, monkeypatch):
    """64 of 96 examples in four of six batches; what they answer is what counts."""
    batches = _batches()
    assert portable_batches(batches) == [0, 1, 3, 4]
    kernels = []
    real = rounding.onnx_outputs

    def watched(path, given, **options):
        kernels.append((selected_kernel(), len(given)))
        return real(path, given, **options)

    monkeypatch.setattr(rounding, "onnx_outputs", watched)
    report = verify(**routes, batches=_labelled(batches))
    portable = report.rounded.elsewhere[0]
    assert portable.pair == "onnx_compressed vs onnx_compressed_portable"
    assert portable.decisions == 64
    assert kernels == [(kernel_names()[0], 4)]
    assert selected_kernel() != kernel_names()[0]


def test_where_the_portable_kernels_are_taken_nothing_is_compared_with_them(routes):
    with taking_kernels(kernel_names()[0]):
        assert portable_batches(_batches()) == []
        report = verify(**routes, batches=_batches())
    assert [near.pair for near in report.rounded.elsewhere] == [f"onnx_compressed vs {_STOCK}"]


def _checked(count, flips, *, score=None, decisions=True, noise=0.0, wrong=None):
    """Two ways that decide about `count` rows, of which `flips` differ."""
    ours = np.tile([1.0, 0.0], (count, 1))
    others = ours.copy()
    others[:flips] = others[:flips, ::-1]
    others += noise
    if wrong is not None:
        others[0, 0] = wrong
    batch = [{"input_ids": np.zeros((count, 2), np.int64)}]
    decided = lambda outputs: np.concatenate([next(iter(o.values())).argmax(-1) for o in outputs])  # noqa: E731
    evaluation = Evaluation(batches=batch, decisions=decided if decisions else None)
    answers = {FLOAT32: [{"logits": ours}], _STOCK: [{"logits": others}]}
    with taking_kernels(kernel_names()[0]):
        return check_rounded(
            "none.onnx", evaluation, [{"logits": ours}], answers, score or {}, name="ours",
            over=lambda batches, _: batches,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("count", "flips", "passed"), [(64, 1, True), (64, 2, False), (1000, 5, True), (1000, 6, False)]
)
def test_the_share_of_decisions(count, flips, passed):
    checked = _checked(count, flips)
    (near,) = checked.elsewhere
    assert (near.decisions, near.changed, near.passed) == (count, flips, passed)
    assert near.agreement == pytest.approx(1 - flips / count)
    assert checked.passed is passed


def test_the_cosine_where_nothing_is_decided():
    assert _checked(100, 0, decisions=False, noise=0.01).passed
    assert not _checked(100, 0, decisions=False, noise=0.2).passed


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_fails(wrong):
    checked = _checked(100, 0, wrong=wrong)
    assert not checked.passed
    assert checked.elsewhere[0].cosine == 0


@pytest.mark.parametrize(
    ("right", "passed"), [(500, True), (495, True), (440, False)], ids=["same", "within", "beyond"]
)
def test_the_metric(right, passed):
    """Of 500 right answers elsewhere; 5 fewer may be chance, 60 fewer are not."""
    batches = [{"input_ids": np.zeros((600, 2), np.int64)}]
    labelled = accuracy_evaluation(batches, [np.zeros(600, np.int64)])

    def answers(hits):
        return [{"logits": np.stack([np.arange(600) < hits, np.full(600, 0.5)], axis=1).astype(float)}]

    scores = {"ours": labelled.score(answers(right)), _STOCK: labelled.score(answers(500))}
    checked = _checked(600, 0, score=scores)
    assert checked.elsewhere[0].metric_difference.value == pytest.approx((right - 500) / 600)
    assert checked.passed is passed


def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.delenv("PLATON_FORCE_ISA", raising=False)
    with taking_kernels("scalar"):
        assert selected_kernel() == "scalar"
    assert "PLATON_FORCE_ISA" not in os.environ
    monkeypatch.setenv("PLATON_FORCE_ISA", "scalar")
    with taking_kernels(kernel_names()[0]):
        pass
    assert selected_kernel() == "scalar"
