"""Distillation through the command line: labelled with the own baseline, and on texts without labels."""

import json

import pytest
import yaml
from tiny_berts import letter_texts, saved_bert, tiny_text_recipe

from platon_compress.cli import main
from platon_compress.testing import tiny_recipe


@pytest.fixture
def texts(tmp_path):
    lines = letter_texts(80)
    (tmp_path / "train.csv").write_text("text\n" + "\n".join(lines) + "\n")
    rows = [f"{line},{'good' if line.count('a') else 'bad'}" for line in lines]
    (tmp_path / "dev.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return tmp_path


@pytest.fixture
def unlabelled(texts):
    teacher = saved_bert(
        texts / "teacher", "BertForSequenceClassification", seed=1, id2label={0: "good", 1: "bad"},
        label2id={"good": 0, "bad": 1},
    )  # fmt: skip
    data = {"train": str(texts / "train.csv"), "validation": str(texts / "dev.csv"), "max_length": 16}
    return tiny_text_recipe(
        saved_bert(texts / "student"),
        "text-classification",
        data,
        distill={"teacher": teacher, "labels": False},
    )


def _write(folder, recipe):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return str(path)


def test_the_dry_run_names_the_teacher(unlabelled, tmp_path, capsys):
    path = _write(tmp_path, unlabelled)
    assert main(["run", path, "-o", str(tmp_path / "run"), "--dry-run"]) == 0
    line, memory = capsys.readouterr().out.strip().splitlines()[-2:]
    assert memory == "the teacher's weights take another 0.1 MiB"
    assert line.startswith(f"distillation from {tmp_path / 'teacher'}: no labels: all of the loss")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("distill.teacher=nowhere", "distill.teacher: cannot load the model 'nowhere'"),
        ("distill.teacher={tmp}/student", "distill.teacher: the checkpoint"),
        (
            "distill.teacher=null",
            "without labels there is no baseline to learn from; name a fine-tuned teacher",
        ),
        ("distill.weight=0.5", "weight is 0.5, but without labels it is 1; leave it out"),
        (
            "distill.relative=true",
            "relative goes with hidden, which is 0; set hidden to 1, or relative to false",
        ),
        ("distill.labels=true", "data.label is 'label', but the train file train.csv has no such column"),
        ("model.task=image-classification", "distill.labels false reads texts, but model.task is"),
    ],
)
def test_mistakes_end_before_any_training(unlabelled, tmp_path, capsys, override, message):
    path = _write(tmp_path, unlabelled)
    arguments = ["run", path, "-o", str(tmp_path / "run"), "--set", override.format(tmp=tmp_path)]
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.train
def test_unlabelled_texts_through_to_the_report(unlabelled, tmp_path):
    out = tmp_path / "run"
    assert main(["run", _write(tmp_path, unlabelled), "-o", str(out)]) == 0
    stages = json.loads((out / "state.json").read_text())["stages"]
    assert stages["data"]["result"]["classes"] == ["good", "bad"]
    for stage in ("dense", "prune"):
        assert stages[stage]["result"]["distillation"] == {
            "teacher": str(tmp_path / "teacher"), "weight": 1.0, "temperature": 2.0, "hidden": 0.0,
            "relative": False, "labels": False,
        }  # fmt: skip
    page = " ".join((out / "report.md").read_text().split())
    assert "there were no labels, so the dense model learnt from the same teacher for as many steps" in page
    assert "trained with distillation" in stages["report"]["result"]["verdict"]
    assert json.loads((out / "parity.json").read_text())["passed"]


@pytest.mark.train
def test_the_own_baseline_teaches(tmp_path, capsys):
    """The baseline is the one of a run without distillation, so a sweep may share it."""
    pytest.importorskip("sklearn")
    path = _write(tmp_path, tiny_recipe({"patch_size": 4}))
    assert main(["prune", path, "-o", str(tmp_path / "plain")]) == 0
    taught = ["--set", "distill.hidden=0.1", "--set", f"dense={tmp_path / 'plain'}"]
    assert main(["run", path, "-o", str(tmp_path / "taught"), *taught]) == 0
    assert "distillation from the dense baseline of this run: 50% of the loss" in capsys.readouterr().out
    plain, stages = (
        json.loads((tmp_path / run / "state.json").read_text())["stages"] for run in ("plain", "taught")
    )
    assert plain["dense"]["result"] == stages["dense"]["result"]
    assert stages["prune"]["result"]["distillation"]["teacher"] == "the dense baseline"
    losses = [
        [row["loss"] for row in s["prune"]["result"]["history"] if "loss" in row] for s in (plain, stages)
    ]
    assert losses[0] != losses[1]
    page = " ".join((tmp_path / "taught" / "report.md").read_text().split())
    assert "the dense model was trained on the labels only, without distillation" in page
