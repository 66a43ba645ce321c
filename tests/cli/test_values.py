"""`--values` and `plan.values` on the command line: what is refused in one line, what is shown."""

import json

import pytest
from tiny_berts import saved_bert

from platon_compress.cli import main
from platon_compress.errors import InputError
from platon_compress.measure import calibrate
from platon_compress.recipe import parse_recipe
from platon_compress.testing import tiny_recipe


def _refused(**plan):
    with pytest.raises(InputError) as refusal:
        parse_recipe(tiny_recipe(plan=plan), source="mine.yaml")
    return str(refusal.value)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"values": "int4"}, "plan.values"),
        ({"attention": "int4"}, "plan.attention"),
        (
            {"values": "int8", "device": "cuda", "force": None},
            "values is int8, but on cuda no layer is sparse",
        ),
        ({"values": "int8", "force": "dense"}, "with force: dense no layer is sparse; leave one of them out"),
        ({"values": "int8", "force": "structured"}, "with force: structured no layer is sparse"),
        ({"int8_budget": 0.01}, "int8_budget is given, but values is float32; take values: int8 or auto"),
        ({"values": "int8", "int8_budget": 0}, "plan.int8_budget"),
    ],
)
def test_impossible_recipes(plan, message):
    said = _refused(**plan)
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "plan", [{"values": "auto", "device": "cuda", "force": None}, {"values": "auto", "force": "dense"}]
)
def test_auto_fits_everything(plan):
    assert parse_recipe(tiny_recipe(plan=plan), source="mine.yaml").plan.values == "auto"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--values", "int4"], "choose one of float32, int8, auto"),
        (["--attention", "int4"], "choose one of float32, int8, auto"),
        (["--values", "int8", "--device", "cuda"], "values is int8, but on cuda no layer is sparse"),
        (["--values", "int8", "--force", "dense"], "with force: dense no layer is sparse"),
        (["--int8-budget", "0.01"], "int8_budget is given, but values is float32"),
        (["--values", "int8", "--int8-budget", "2"], "--int8-budget"),
    ],
)
def test_impossible_flags_write_nothing(flags, message, tmp_path, refusal):
    assert message in refusal(["compress", "nowhere", "-o", str(tmp_path / "run"), *flags])
    assert not (tmp_path / "run").exists()


def test_estimate_names_the_value_type(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(calibrate, "_LONGEST_SECONDS_A_SIDE", 0.0)  # no waiting until a busy machine settles
    model = saved_bert(tmp_path / "bert", "BertForSequenceClassification")
    small = ["--tokens", "8", "--threads", "1", "--runs", "5", "--sparsity", "0.9"]
    assert main(["estimate", model, *small, "--values", "int8", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][-1]
    assert row["name"] == "sparsity_0.9"
    assert set(row["forms"]) <= {"csr int8", "dense"}


def test_a_dry_run_says_what_sparse_weights_become(tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(tiny_recipe(plan={"values": "int8"})))
    assert main(["run", str(path), "-o", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "sparse weights become 8-bit numbers in the exported file" in capsys.readouterr().out
    assert (
        main(["run", str(path), "-o", str(tmp_path / "run"), "--dry-run", "--set", "plan.values=float32"])
        == 0
    )
    assert "8-bit" not in capsys.readouterr().out
