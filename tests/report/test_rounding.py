"""What report and verdict say of 8-bit values."""

from dataclasses import replace

import pytest
from sample_runs import answers, bench, ratio, run, scores

from platon_compress.report.cards import key_cards
from platon_compress.report.requirements import FIGURES, figures
from platon_compress.report.rounding import spoken_rounding, spoken_way
from platon_compress.report.tables import accuracy_table, form_table, layer_table, rounding_table
from platon_compress.report.verdict import judge
from platon_compress.report.view import build_view

_LAYER = {"name": "w", "shape": [4, 4], "density": 0.1, "form": "csr", "reason": "faster"}


def _near(way, *, passed, changed=2, decisions=872, **more):
    return {
        "pair": f"onnx_compressed vs onnx_{way}", "max_abs": 0.031, "mean_abs": 0.002, "cosine": 0.9998,
        "relative_error": 0.0123, "argmax_agreement": 0.99, "outputs": 1744, "differing": 1740,
        "decisions": decisions, "changed": changed, "unit": "row" if decisions else None, "passed": passed,
        "metric_difference": {"value": -0.001, "low": -0.004, "high": 0.002, "paired": True}, **more,
    }  # fmt: skip


def _run(ours, float32, dense, *, elsewhere=True, operators=True, exact=True, count=872, **parity):
    """Right answers of the 8-bit file, its float32 form and dense, each a subset of the next better one."""
    data = bench([2.5], [1.5])
    data["settings"][0]["ratios"].append(ratio("compressed_float32", "compressed", 1.3))
    data["settings"][0]["samples"] = {
        "dense": {"warm_seconds": [0.2] * 5},
        "compressed": {"warm_seconds": [0.1] * 5},
    }
    size = data["variants"]["compressed"]
    data["variants"]["compressed_float32"] = {**size, "file": "compressed-float32.onnx"}
    routes = {"onnx_compressed": ours, "onnx_float32": float32, "dense": dense}
    check = {
        "way": "stock",
        "nodes": 12,
        "rows": 900,
        "relative_error": 2e-5,
        "worst": "ffn",
        "max_abs": 1e-3,
    }
    rounded = {
        "exact": exact,
        "operators": [{**check, "passed": operators}],
        "elsewhere": _near("compressed_stock", passed=elsewhere, changed=2 if elsewhere else 40),
        "rounding": _near("float32", passed=None, changed=9),
        "least_agreement": 0.995,
        "least_cosine": 0.999,
    }
    made = run(
        data,
        parity={
            "scores": {name: scores(hits / count, 0.012, answers(count, hits)) for name, hits in routes.items()},
            "examples": count, "passed": elsewhere and operators and exact, "rounded": rounded, **parity,
        },
    )  # fmt: skip
    layers = [{**_LAYER, "values": "int8"}, {**_LAYER, "name": "v"}, {**_LAYER, "name": "u", "form": "dense"}]
    return replace(made, plan={"layers": layers})


def test_the_points_name_the_value_type_its_cost_and_its_gain():
    speed, size, quality = judge(_run(750, 751, 751)).points
    assert speed.endswith("; 1.30x (1.28-1.32) that of its float32 form at batch 1, 128 tokens")
    assert size.endswith("; 1 of 2 sparse layers have 8-bit values")
    assert "accuracy 86.0% against 86.1% for dense" in quality
    assert "; its float32 form 86.1% (8-bit values: -0.1 ± 0.3 points)" in quality


def test_a_file_without_8_bit_values_says_nothing_of_them():
    told = judge(run(bench([2.5], [1.5])))
    assert "8-bit" not in told.line
    assert "float32" not in told.line


@pytest.mark.parametrize(
    ("ours", "float32", "answer", "reason"),
    [
        (750, 751, "yes", None),
        (730, 751, "mixed", "8-bit values lower the accuracy"),
        (690, 751, "no", "8-bit values lower the accuracy too far"),
    ],
)
def test_what_rounding_costs_is_judged(ours, float32, answer, reason):
    verdict = judge(_run(ours, float32, ours))  # dense is no better than the 8-bit file
    assert verdict.answer == answer
    assert reason is None or reason in verdict.against


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            "elsewhere",
            "the answers differ in compressed file, stock ONNX Runtime: 832 of 872 examples have the same answer",
        ),
        (
            "operators",
            "an operator gives different results: 12 8-bit operators in isolation, stock ONNX Runtime: relative err",
        ),
        ("exact", "the file is not the exact rounding of its float32 form"),
    ],
)
def test_an_8_bit_file_that_is_not_right_is_a_no(broken, said):
    rows = [{"pair": "torch_pruned vs onnx_float32", "max_abs": 1e-6, "mean_abs": 1e-7}]
    made = _run(750, 751, 751, rows=rows, **{broken: False})
    verdict = judge(made)
    assert verdict.answer == "no"
    assert verdict.sentence.startswith(said)
    assert ("; required: 99.5% alike" in verdict.sentence) is (broken == "elsewhere")
    sentence = build_view(made, verdict).parity
    assert sentence.startswith("No: on 872 examples")
    assert f"But {said}" in sentence


def test_a_graph_that_differs_is_named_first():
    made = _run(750, 751, 751, elsewhere=False, rows=[{"pair": "a vs b", "max_abs": 0.5}])
    assert "its outputs differ from those of the pruned model (max difference 0.5" in judge(made).sentence


def test_tables():
    made = _run(750, 751, 751)
    table = rounding_table(made)
    assert [row[0] for row in table.rows] == [
        "compressed file, stock ONNX Runtime",
        "its float32 form, our kernels",
    ]
    assert table.rows[0][1:] == (
        "2 of 872", "1.2e-02", "0.99980", "3.1e-02", "1,740 of 1,744", "-0.1 ± 0.3", "yes",
    )  # fmt: skip
    assert table.rows[1][-1] == "not assessed"
    assert [row[0] for row in accuracy_table(made).rows] == ["dense", "compressed, float32", "compressed"]
    assert [row[:2] for row in form_table(made.layers).rows] == [
        ("csr int8", "1"),
        ("csr", "1"),
        ("dense", "1"),
    ]
    assert [row[3] for row in layer_table(made.layers).rows] == ["csr int8", "csr", "dense"]
    assert rounding_table(run(bench([2.0]))) is None


def test_the_page_says_which_form_is_proved():
    rows = [{"pair": "torch_pruned vs onnx_float32", "max_abs": 1e-6, "mean_abs": 1e-7}]
    made = _run(750, 751, 751, rows=rows)
    sentence = build_view(made, judge(made)).parity
    assert sentence.startswith("Yes: on 872 examples")
    assert (
        "The 8-bit file is its exact rounding; 12 8-bit operators in isolation, stock ONNX Runtime"
        in sentence
    )
    assert "Effect of rounding: against float32, 863 of 872 examples have the same answer" in sentence
    details = {card.label: card.detail for card in key_cards(made)}
    assert details["Same answers"].startswith("its float32 form against the pruned model on 872 examples")
    assert details["Sparsity"] == "layers: 1 csr int8, 1 csr, 1 dense"


def test_figures_against_the_float32_form():
    found = figures(_run(742, 751, 751))
    assert found.keys() <= FIGURES.keys()
    assert found["metric_drop_float32"] == found["accuracy_drop_float32"] == pytest.approx(900 / 872)
    assert (found["speedup_float32"], found["speedup_float32_low"]) == (1.3, pytest.approx(1.28))
    assert not {"metric_drop_float32", "speedup_float32"} & figures(run(bench([2.0], [1.5]))).keys()


def test_without_decisions_numbers_are_told():
    near = _near("compressed_stock", passed=True, decisions=0, changed=0, metric_difference=None)
    assert spoken_way(near) == (
        "compressed file, stock ONNX Runtime: relative error 1.2e-02, largest difference 3.1e-02, cosine 0.99980, top "
        "scores agree for 99.0%"
    )
    assert spoken_rounding(_near("float32", passed=None, changed=9)) == (
        "against float32, 863 of 872 examples have the same answer, relative error 1.2e-02, largest difference 3.1e-02, "
        "metric -0.1 ± 0.3 points"
    )
