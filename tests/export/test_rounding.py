"""What is required of a file with 8-bit weights: near answers everywhere, the same decisions, the same metric."""

import json
import math
import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from compressed_models import baked_and_converted, padded_batches
from onnx import numpy_helper
from thinned import thinned
from tiny_berts import tiny_bert

from platon_compress import PlanConfig, bake, convert, plan
from platon_compress.export import export_onnx, node_check, rounding, verify
from platon_compress.export.config import ExportConfig
from platon_compress.export.node_check import check_nodes
from platon_compress.export.operators import OPERATORS
from platon_compress.export.rounding import (
    COMPRESSED,
    COMPRESSED_STOCK,
    FLOAT32,
    check_rounded,
    is_rounding_of,
    sampled_places,
)
from platon_compress.library import kernel_names, selected_kernel, taking_kernels
from platon_compress.scoring import Evaluation, accuracy_evaluation


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """A pruned model, its files, and the 8-bit one with its float32 form."""
    baked, compressed, inputs = baked_and_converted("bert", "int8")
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


def _labelled(batches):
    return accuracy_evaluation(batches, [np.arange(len(batch["input_ids"])) % 3 for batch in batches])


def test_the_graph_is_proved_by_the_float32_form(routes):
    seen = []
    report = verify(
        **routes,
        batches=_labelled(padded_batches(6)),
        sensitivity=True,
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
    rounded = report.rounded
    assert rounded.exact
    stock = rounded.elsewhere
    assert (stock.decisions, stock.unit, stock.outputs) == (96, "row", 96 * 3)
    assert 0 <= stock.relative_error < rounded.rounding.relative_error
    ways = [check.way for check in rounded.operators]
    assert ways == (["stock"] if selected_kernel() == kernel_names()[0] else ["portable", "stock"])
    assert {check.nodes for check in rounded.operators} == {4}
    costs = [cost.relative_error for cost in rounded.sensitivity]
    assert costs == sorted(costs, reverse=True)
    assert len({cost.operator for cost in rounded.sensitivity}) == 4
    assert 0 < costs[-1] < costs[0] <= 2 * rounded.rounding.relative_error
    assert all(check.relative_error < 1e-4 and check.rows > 64 for check in rounded.operators)
    json.dumps(report.to_dict(), allow_nan=False)


def test_without_labels_outputs_are_compared(routes):
    report = verify(**routes, batches=padded_batches(6))
    assert report.passed
    assert report.scores == {}
    assert report.rounded.sensitivity == ()
    near = report.rounded.elsewhere
    assert (near.decisions, near.agreement, near.metric_difference) == (0, None, None)
    assert near.cosine > 0.999


def test_64_examples_from_all_over_are_sampled():
    batches = padded_batches(6)
    assert sampled_places(batches) == [0, 1, 3, 4]
    assert sampled_places(batches[:2]) == [0, 1]


class _Changed:
    """A session that answers something else: `change` works on its outputs, by name."""

    def __init__(self, session, change):
        self._session, self._change = session, change

    def __getattr__(self, name):
        return getattr(self._session, name)

    def run(self, names, feed):
        found = dict(zip(names, self._session.run(names, feed), strict=True))
        self._change(found)
        return list(found.values())


def _change_way(monkeypatch, way, change):
    """In this way to run operators by themselves."""
    if way == "portable" and selected_kernel() == kernel_names()[0]:
        pytest.skip("a session takes the portable kernels anyway")
    real = node_check._other_sessions
    monkeypatch.setattr(
        node_check, "_other_sessions",
        lambda path: {name: _Changed(s, change) if name == way else s for name, s in real(path).items()},
    )  # fmt: skip


def _other_sign(found):
    found[list(found)[1]].reshape(-1)[5] *= -1


def _not_a_number(found):
    found[list(found)[1]].reshape(-1)[5] = np.nan


@pytest.mark.parametrize("change", [_other_sign, _not_a_number])
@pytest.mark.parametrize("way", ["portable", "stock"])
def test_an_operator_that_computes_something_else_is_found(way, change, routes, monkeypatch):
    """One number of one row of the second operator."""
    _change_way(monkeypatch, way, change)
    report = verify(**routes, batches=_labelled(padded_batches(6)))
    assert [check.passed for check in report.rounded.operators if check.way != way] in ([], [True])
    (broken,) = [check for check in report.rounded.operators if check.way == way]
    assert not broken.passed
    nodes = [node.name for node in onnx.load(routes["onnx_compressed"]).graph.node if node.domain == "platon"]
    assert broken.worst == nodes[1]
    assert math.isinf(broken.max_abs) == (change is _not_a_number)
    assert not report.passed


def test_a_second_output_is_looked_at_too(tmp_path, monkeypatch):
    """The sum that goes into a norm, where others read it as well."""
    _, compressed, inputs = baked_and_converted("modernbert", "int8")
    export_onnx(compressed, tmp_path / "c.onnx", inputs)
    sums = {n.output[1]: n.name for n in onnx.load(tmp_path / "c.onnx").graph.node if "_sum_" in n.op_type}
    name = next(iter(sums))

    def change(found):
        found[name].reshape(-1)[5] *= -1

    _change_way(monkeypatch, "stock", change)
    broken = check_nodes(tmp_path / "c.onnx", padded_batches(1))[-1]
    assert (broken.way, broken.passed, broken.worst) == ("stock", False, sums[name])


def _other_scale(model):
    """A scale of one row is ten percent larger."""
    tensor = next(t for t in model.graph.initializer if t.name.endswith("row_scales"))
    scales = numpy_helper.to_array(tensor).copy()
    scales[3] *= 1.1
    tensor.CopyFrom(numpy_helper.from_array(scales, tensor.name))


def _swapped_scales(model):
    """Two operators read each other's."""
    nodes = [node for node in model.graph.node if "FeedForward" in node.op_type]
    place = OPERATORS[nodes[0].op_type].inputs.index("row_scales")
    first, second = (node.input[place] for node in nodes)
    nodes[0].input[place], nodes[1].input[place] = second, first


def _other_epsilon(model):
    node = next(node for node in model.graph.node if "_norm_" in node.op_type)
    next(attribute for attribute in node.attribute if attribute.name == "epsilon").f *= 10


@pytest.mark.parametrize("change", [_other_scale, _swapped_scales, _other_epsilon])
def test_a_file_that_is_no_rounding_of_its_form_is_found(change, routes, tmp_path):
    model = onnx.load(routes["onnx_compressed"])
    change(model)
    onnx.save(model, tmp_path / "changed.onnx")
    assert is_rounding_of(routes["onnx_compressed"], routes["onnx_float32"])
    assert not is_rounding_of(tmp_path / "changed.onnx", routes["onnx_float32"])
    assert not is_rounding_of(routes["onnx_float32"], routes["onnx_float32"])
    report = verify(**{**routes, "onnx_compressed": tmp_path / "changed.onnx"}, batches=padded_batches(6))
    assert (report.rounded.exact, report.passed) == (False, False)


def test_tables_alone(tmp_path):
    """Word embeddings of more than 1,000 rows; no operator of ours is 8-bit."""
    model = tiny_bert(zeros=0.7, vocab_size=1200)
    baked = bake(model)
    compressed = convert(baked, plan(baked, PlanConfig(tokens=8, force="csr")))
    inputs = {name: torch.from_numpy(values) for name, values in padded_batches(1)[0].items()}
    config = ExportConfig(embeddings="int8")
    result = export_onnx(compressed, tmp_path / "c.onnx", inputs, config, unrounded=tmp_path / "f.onnx")
    assert (len(result.int8_tables), result.int8_nodes) == (1, ())
    assert is_rounding_of(tmp_path / "c.onnx", tmp_path / "f.onnx")
    assert not is_rounding_of(tmp_path / "f.onnx", tmp_path / "f.onnx")
    assert check_nodes(tmp_path / "c.onnx", padded_batches(2)) == ()
    changed = onnx.load(tmp_path / "c.onnx")
    tensor = next(t for t in changed.graph.initializer if t.data_type == onnx.TensorProto.INT8)
    rows = numpy_helper.to_array(tensor).copy()
    rows[7, 3] += 1
    tensor.CopyFrom(numpy_helper.from_array(rows, tensor.name))
    onnx.save(changed, tmp_path / "changed.onnx")
    assert not is_rounding_of(tmp_path / "changed.onnx", tmp_path / "f.onnx")


@pytest.mark.parametrize("split", thinned([True, False], every=2))
@pytest.mark.parametrize(
    ("values", "budget", "words", "tables"),
    [("int8", None, 1200, 1), ("float32", None, 1200, 0), ("int8", 1e-9, 1200, 0), ("int8", None, 999, 0)],
)
def test_tables_go_with_the_weights(values, budget, words, tables, split, tmp_path):
    """With "auto" they are rounded where a weight is; a table that stays is split as in any other file."""
    baked = bake(tiny_bert(zeros=0.7, vocab_size=words))
    compressed = convert(baked, plan(baked, PlanConfig(tokens=8, force="csr", values=values)))
    inputs = {name: torch.from_numpy(values) for name, values in padded_batches(1)[0].items()}
    skip = () if split else ("split_tables",)
    config = ExportConfig(embeddings="auto", int8_budget=budget, skip_passes=skip)
    given = {"calibration": padded_batches(1)} if budget else {}
    result = export_onnx(
        compressed, tmp_path / "c.onnx", inputs, config, unrounded=tmp_path / "f.onnx", **given
    )
    assert len(result.int8_tables) == tables
    assert not any(name == "embeddings" for name, _ in result.skipped)
    if result.int8_nodes:
        assert is_rounding_of(tmp_path / "c.onnx", tmp_path / "f.onnx")
        return
    export_onnx(compressed, tmp_path / "plain.onnx", inputs, replace(config, embeddings="float32"), **given)
    assert (tmp_path / "c.onnx").read_bytes() == (tmp_path / "plain.onnx").read_bytes()


@pytest.mark.parametrize("attention", thinned(["int8", "float32"], every=2))
@pytest.mark.parametrize("family", ["vit", "distilbert", "deberta-v3"])
def test_operators_of_other_families(family, attention, tmp_path):
    """With a norm in front, with masks, and layers that are not joined."""
    _, compressed, inputs = baked_and_converted(family, "int8")
    config = ExportConfig(attention=attention)
    result = export_onnx(compressed, tmp_path / "c.onnx", inputs, config, unrounded=tmp_path / "f.onnx")
    assert bool(result.int8_attention) == (attention == "int8" and family != "deberta-v3")
    assert set(result.int8_attention) < set(result.int8_nodes)
    assert is_rounding_of(tmp_path / "c.onnx", tmp_path / "f.onnx")
    batch = {name: value.numpy() for name, value in inputs.items()}
    for check in check_nodes(tmp_path / "c.onnx", [batch, batch]):
        assert check.nodes == len(result.int8_nodes)
        assert check.passed


def test_padding_removed_and_some_layers_in_floats(tmp_path):
    _, compressed, inputs = baked_and_converted("bert", "int8")
    compressed = replace(compressed, int8=frozenset(n for n in compressed.int8 if "attention" in n))
    config = ExportConfig(remove_padding=True, attention="int8")
    result = export_onnx(compressed, tmp_path / "c.onnx", inputs, config, unrounded=tmp_path / "f.onnx")
    assert 0 < len(result.int8_nodes) < len(result.sparse_nodes)
    assert result.int8_attention == result.int8_nodes
    assert is_rounding_of(tmp_path / "c.onnx", tmp_path / "f.onnx")
    for check in check_nodes(tmp_path / "c.onnx", padded_batches(2)):
        assert check.nodes == len(result.int8_nodes)
        assert check.passed


def _checked(monkeypatch, count, flips, *, score=None, decisions=True, noise=0.0, wrong=None, **asked):
    """Two ways that decide about `count` rows, of which `flips` differ."""
    ours = np.tile([1.0, 0.0], (count, 1))
    others = ours.copy()
    others[:flips] = others[:flips, ::-1]
    others += noise
    if wrong is not None:
        others[0, 0] = wrong
    batch = [{"input_ids": np.zeros((count, 2), np.int64)}]
    decided = lambda outputs: np.concatenate([next(iter(o.values())).argmax(-1) for o in outputs])  # noqa: E731
    evaluation = Evaluation(batches=batch, decisions=decided if decisions else None, **asked)
    outputs = {
        COMPRESSED: [{"logits": ours}],
        FLOAT32: [{"logits": ours}],
        COMPRESSED_STOCK: [{"logits": others}],
    }
    monkeypatch.setattr(rounding, "is_rounding_of", lambda path, form: True)
    return check_rounded("file.onnx", "form.onnx", evaluation, outputs, score or {}, ())


@pytest.mark.parametrize(
    ("count", "flips", "asked", "passed"),
    [
        (3, 1, {}, True),  # a single one says nothing
        (3, 2, {}, False),
        (64, 2, {}, True),
        (64, 3, {}, False),
        (1000, 10, {}, True),
        (1000, 11, {}, False),
        (2000, 11, {}, True),  # 99.45 %: not certainly below 99.5 %
        (20000, 110, {}, True),
        (20000, 121, {}, False),
        (1000, 64, {"least_agreement": 0.95}, True),
        (1000, 65, {"least_agreement": 0.95}, False),
    ],
)
def test_the_share_of_decisions(monkeypatch, count, flips, asked, passed):
    checked = _checked(monkeypatch, count, flips, **asked)
    near = checked.elsewhere
    assert (near.decisions, near.changed, near.passed) == (count, flips, passed)
    assert near.agreement == pytest.approx(1 - flips / count)
    assert checked.passed is passed


def test_the_cosine_where_nothing_is_decided(monkeypatch):
    assert _checked(monkeypatch, 100, 0, decisions=False, noise=0.01).passed
    assert not _checked(monkeypatch, 100, 0, decisions=False, noise=0.2).passed


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_fails(monkeypatch, wrong):
    checked = _checked(monkeypatch, 100, 0, wrong=wrong)
    assert not checked.passed
    assert checked.elsewhere.cosine == 0


@pytest.mark.parametrize(
    ("right", "passed"), [(500, True), (495, True), (440, False)], ids=["same", "within", "beyond"]
)
def test_the_metric(monkeypatch, right, passed):
    """Of 500 right answers elsewhere; 5 fewer may be chance, 60 fewer are not."""
    batches = [{"input_ids": np.zeros((600, 2), np.int64)}]
    labelled = accuracy_evaluation(batches, [np.zeros(600, np.int64)])

    def answers(hits):
        return [{"logits": np.stack([np.arange(600) < hits, np.full(600, 0.5)], axis=1).astype(float)}]

    scores = {COMPRESSED: labelled.score(answers(right)), COMPRESSED_STOCK: labelled.score(answers(500))}
    checked = _checked(monkeypatch, 600, 0, score=scores)
    assert checked.elsewhere.metric_difference.value == pytest.approx((right - 500) / 600)
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
