"""Whole runs whose plan makes 8-bit values: files, checks, figures; and what a run of the release before still allows."""

import json
import math
from dataclasses import replace

import onnx
import pytest
import torch
import transformers
import yaml
from tiny_berts import letter_texts, saved_bert

from platon_compress.cli.require import check_requirements, parse_requirements
from platon_compress.errors import CheckFailedError
from platon_compress.export import parity
from platon_compress.export.operators import OPERATORS
from platon_compress.manifest import manifest
from platon_compress.pipeline.exporting import export_config
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.runner import continue_run, run_recipe
from platon_compress.recipe import parse_recipe
from platon_compress.report.requirements import figures
from platon_compress.report.run_data import read_run


def _recipe(folder, values, **plan):
    folder.mkdir(exist_ok=True)
    model = folder / "bert"
    if not model.exists():
        texts = letter_texts(80)
        saved_bert(model, "BertForSequenceClassification", zeros=0.7, spread=0.3, num_labels=2)
        rows = [f"{text}\t{label}" for text, label in zip(texts, _answers(model, texts), strict=True)]
        (folder / "rows.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return parse_recipe(
        {
            "kind": "compress",
            "model": {"name": str(model), "task": "text-classification"},
            "data": {"validation": str(folder / "rows.tsv")},
            "plan": {"force": "csr", "calibrate": False, "tokens": 16, "values": values, **plan},
            "verify": {"sensitivity": values == "int8"},
            "bench": {"batch": [1], "tokens": [16], "runs": 5},
        },
        source="test",
    )


def _answers(folder, texts):
    """The model's own, so that it has learnt its task."""
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        return model(**tokens).logits.argmax(-1).tolist()


def _encodings(path):
    nodes = onnx.load(path).graph.node
    operators = [OPERATORS[node.op_type] for node in nodes if node.domain == "platon"]
    return {"int8" if operator.quantized else "float" for operator in operators if operator.weights}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    output = folder / "run"
    results = run_recipe(_recipe(folder, "int8", attention="int8"), output, Reporter(quiet=True))
    return folder, output, results


def test_the_file_holds_8_bit_weights_and_its_float32_form_lies_beside_it(done):
    _, output, results = done
    assert _encodings(output / "onnx" / "compressed.onnx") == {"int8"}
    assert _encodings(output / "onnx" / "compressed-float32.onnx") == {"float"}
    layers = json.loads((output / "plan.json").read_text())["layers"]
    assert {layer["values"] for layer in layers} == {"int8"}
    assert "with 8-bit values as asked for" in layers[0]["reason"]
    assert results["plan"]["int8_layers"] == results["convert"]["int8_weights"] == len(layers)
    exported = results["export"]["compressed"]
    assert exported["int8_nodes"] == exported["sparse_nodes"]
    assert exported["int8_attention"] == exported["int8_nodes"][::2]  # the others are feed-forwards
    assert exported["unrounded_bytes"] == (output / "onnx" / "compressed-float32.onnx").stat().st_size


def test_what_is_proved(done):
    _, output, results = done
    proved = json.loads((output / "parity.json").read_text())
    assert proved["passed"] is True
    assert [row["pair"].rpartition(" vs ")[2] for row in proved["rows"]] == [
        "torch_converted", "onnx_pruned", "onnx_float32", "onnx_float32_stock",
    ]  # fmt: skip
    assert all(row["max_abs"] <= proved["atol"] for row in proved["rows"])
    rounded = proved["rounded"]
    assert rounded["exact"] is rounded["passed"] is True
    assert [check["way"] for check in rounded["operators"]][-1] == "stock"
    assert all(check["passed"] and check["nodes"] == 4 for check in rounded["operators"])
    elsewhere, change = rounded["elsewhere"], rounded["rounding"]
    assert elsewhere["pair"] == "onnx_compressed vs onnx_compressed_stock"
    assert elsewhere["passed"] is True
    assert (elsewhere["decisions"], elsewhere["unit"]) == (80, "row")
    assert change["passed"] is None
    assert change["max_abs"] > proved["atol"]
    assert change["metric_difference"]["paired"] is True
    assert {"onnx_compressed", "onnx_compressed_stock", "onnx_float32"} <= proved["scores"].keys()
    assert results["verify"]["rounding"] == change
    assert {cost["operator"] for cost in rounded["sensitivity"]} == set(
        results["export"]["compressed"]["int8_nodes"]
    )


def test_what_is_measured_and_said(done):
    _, output, results = done
    bench = json.loads((output / "benchmark.json").read_text())
    assert list(bench["variants"]) == ["dense", "dense_int8", "pruned", "compressed_float32", "compressed"]
    pairs = [(r["baseline"], r["candidate"]) for r in bench["settings"][0]["ratios"]]
    assert ("compressed_float32", "compressed") in pairs
    found = figures(read_run(output))
    assert found["speedup_float32"] > 0
    assert abs(found["metric_drop_float32"]) <= 100
    count = results["plan"]["int8_layers"]
    for page in ("report.md", "report.html"):
        text = (output / page).read_text()
        assert (
            f"{count} of {count} sparse layers have 8-bit values; attention between them runs in 8 bits"
            in text
        )
        assert "that of its float32 form" in text
        assert "(8-bit values: " in text
        assert "csr int8" in text
        assert "compressed, float32" in text
        assert "The file with 8-bit values compared with other ways of running it" in text
        assert "before its weights were rounded to 8 bits" in text
        assert "How much the 8-bit weights of each operator alone change the outputs" in text


def test_a_drop_by_rounding_can_be_required(done):
    _, output, _ = done
    check_requirements(parse_requirements("metric_drop_float32<=100"), output)
    with pytest.raises(CheckFailedError, match="metric_drop_float32<=-101"):
        check_requirements(parse_requirements("metric_drop_float32<=-101"), output)


def _find_operators(monkeypatch, **found):
    """What is found of a kernel that is wrong in another way to run the file."""
    real = parity.check_nodes
    monkeypatch.setattr(
        parity, "check_nodes",
        lambda path, batches: tuple(replace(check, **found) for check in real(path, batches)),
    )  # fmt: skip


@pytest.mark.slow
def test_an_operator_that_computes_something_else_fails_the_stage(done, monkeypatch):
    _, output, _ = done
    _find_operators(monkeypatch, relative_error=0.5)
    with pytest.raises(
        CheckFailedError, match="8-bit values: an operator gives different results: 4 8-bit oper"
    ):
        continue_run(output, "verify", Reporter(quiet=True))
    assert json.loads((output / "parity.json").read_text())["passed"] is False
    _find_operators(monkeypatch, relative_error=math.inf, max_abs=math.inf)
    with pytest.raises(
        CheckFailedError, match=r"parity failed: operator .* alone, .*: outputs are not finite"
    ):
        continue_run(output, "verify", Reporter(quiet=True))
    monkeypatch.undo()
    continue_run(output, "verify", Reporter(quiet=True))
    continue_run(output, "report", Reporter(quiet=True))


@pytest.mark.slow
def test_a_budget_keeps_floats_and_says_so(done):
    folder, output, results = done
    costs = json.loads((output / "parity.json").read_text())["rounded"]["sensitivity"]
    planned = (output / "plan.json").stat().st_mtime_ns
    budget = 0.9 * math.hypot(*(cost["relative_error"] for cost in costs))
    again = run_recipe(_recipe(folder, "int8", int8_budget=budget), output, Reporter(quiet=True))
    assert (output / "plan.json").stat().st_mtime_ns == planned
    kept = {name for name, _ in again["export"]["compressed"]["skipped"]}
    left = set(again["export"]["compressed"]["int8_nodes"])
    assert kept
    assert left
    assert kept | left == set(results["export"]["compressed"]["int8_nodes"])
    assert _encodings(output / "onnx" / "compressed.onnx") == {"int8", "float"}
    proved = json.loads((output / "parity.json").read_text())
    assert proved["rounded"]["exact"] is proved["passed"] is True
    report = (output / "report.md").read_text()
    assert all(name in report for name in kept)
    assert "it keeps float32 values, 8-bit values of it alone change the outputs by" in report


@pytest.mark.slow
def test_float32_again_leaves_no_trace(done):
    folder, output, _ = done
    results = run_recipe(_recipe(folder, "float32"), output, Reporter(quiet=True))
    assert not (output / "onnx" / "compressed-float32.onnx").exists()
    assert _encodings(output / "onnx" / "compressed.onnx") == {"float"}
    assert json.loads((output / "parity.json").read_text())["rounded"] is None
    assert "compressed_float32" not in json.loads((output / "benchmark.json").read_text())["variants"]
    assert results["plan"]["int8_layers"] == 0
    assert "8-bit values" not in (output / "report.md").read_text()


@pytest.mark.slow
def test_a_run_of_the_release_before_goes_on(done):
    """Its plan and parity lack the new keys, its recipe the new setting."""
    _, output, _ = done
    state = json.loads((output / "state.json").read_text())
    for stage, name, schema in (("plan", "plan.json", 1), ("verify", "parity.json", 2)):
        data = json.loads((output / name).read_text())
        data["schema"] = schema
        data.pop("rounded", None)
        data.pop("int8_layers", None)
        data.get("config", {}).pop("values", None)
        for layer in data.get("layers", ()):
            layer.pop("values")
        (output / name).write_text(json.dumps(data))
        state["stages"][stage]["files"] = manifest(output, (name,))
    (output / "state.json").write_text(json.dumps(state))
    recipe = yaml.safe_load((output / "recipe.yaml").read_text())
    recipe.get("plan", {}).pop("values", None)
    (output / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    results = continue_run(output, "report", Reporter(quiet=True))
    assert results["report"]["verdict"].startswith("Verdict: ")


@pytest.mark.slow
def test_word_embeddings_alone(done, monkeypatch, tmp_path):
    """They fall under the same checks; a run that changes nothing else plans nothing anew."""
    folder, _, _ = done
    recipe = _recipe(folder, "float32")
    run_recipe(recipe, tmp_path / "run", Reporter(quiet=True))
    monkeypatch.setattr("platon_compress.export.passes.quantize_tables.LEAST_ROWS", 10)
    planned = (tmp_path / "run" / "plan.json").stat().st_mtime_ns
    again = run_recipe(_recipe(folder, "float32", embeddings="int8"), tmp_path / "run", Reporter(quiet=True))
    assert (tmp_path / "run" / "plan.json").stat().st_mtime_ns == planned
    exported = again["export"]
    assert "bert.embeddings.word_embeddings.weight" in exported["compressed"]["int8_tables"]
    assert exported["compressed"]["int8_nodes"] == exported["dense"]["int8_tables"] == ()
    assert exported["compressed"]["size_bytes"] < exported["compressed"]["unrounded_bytes"]
    proved = json.loads((tmp_path / "run" / "parity.json").read_text())
    assert proved["passed"] is True
    assert proved["rounded"]["exact"] is proved["rounded"]["elsewhere"]["passed"] is True
    assert proved["rounded"]["operators"] == []
    assert proved["rounded"]["rounding"]["max_abs"] > 0
    report = (tmp_path / "run" / "report.md").read_text()
    assert "embeddings are stored in 8 bits" in report
    assert "sparse layers have 8-bit values" not in report


@pytest.mark.parametrize(
    ("wanted", "tokens", "given"),
    [("auto", 63, "float32"), ("auto", 64, "int8"), ("int8", 8, "int8"), ("float32", 384, "float32")],
)
def test_attention_is_in_8_bits_where_it_is_faster(wanted, tokens, given, tmp_path):
    recipe = _recipe(tmp_path / "rows", "int8", attention=wanted, tokens=tokens)
    assert export_config(recipe, tokens=tokens, sparse=True).attention == given
