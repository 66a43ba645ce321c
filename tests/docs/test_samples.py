"""The samples on the pages of tasks are read by the tasks' own readers, with the columns that the page's command names."""

import itertools
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from platon_compress.recipe import TRAINABLE_TASKS, load_recipe, shipped_recipe
from platon_compress.tasks.rooms import task_of

PAGES = {path.stem: path for path in sorted((Path(__file__).parents[2] / "docs" / "tasks").glob("*.md"))}
_SAMPLE = re.compile(r'^```\w+ title="(?P<name>[^"]+)"\n(?P<body>.*?)^```$', re.MULTILINE | re.DOTALL)
_FLAGS = re.compile(r"(?<!`)`(--set [^`]+)`")
_COMMAND = re.compile(r"^platon-compress run (?:.*\\\n)*.*$", re.MULTILINE)
SAMPLES = [
    (task, match["name"])
    for task, page in PAGES.items()
    for match in _SAMPLE.finditer(page.read_text(encoding="utf-8"))
]


def test_every_task_has_a_page_with_a_sample():
    assert set(PAGES) == set(TRAINABLE_TASKS) == {task for task, _ in SAMPLES}


@pytest.mark.parametrize(("task", "name"), SAMPLES)
def test_a_sample_is_read(task, name, tmp_path, monkeypatch):
    page = PAGES[task].read_text(encoding="utf-8")
    body = next(match["body"] for match in _SAMPLE.finditer(page) if match["name"] == name)
    monkeypatch.chdir(tmp_path)
    _write(name, body)
    recipe = _recipe(task, name, page)
    room = task_of(task, recipe.data)
    labelled = name != "texts.csv"
    rows = room.read("train", 1, labelled=labelled)
    assert len(rows) == _rows(name, body)
    if labelled:
        room.names(rows, None)
        room.check_rows(rows)


@pytest.mark.parametrize("task", PAGES)
def test_the_settings_in_the_text_are_taken(task):
    """Rule: a page may name FOLDER for a path of the reader's."""
    for match in _FLAGS.finditer(PAGES[task].read_text(encoding="utf-8")):
        words = shlex.split(match[1])
        overrides = [value for flag, value in itertools.pairwise(words) if flag == "--set"]
        problem = ("data.problem=multi-label",) if "label_columns" in match[1] else ()
        load_recipe(shipped_recipe(task), (*problem, *overrides), data={"train": "a", "validation": "b"})


def _recipe(task, name, page):
    """That of the command which names the file, or of the page's first one; the sample takes the place of its data."""
    commands = [shlex.split(line.replace("\\\n", " ")) for line in _COMMAND.findall(page)]
    words = next((words for words in commands if name in words), commands[0])
    assert words[2] == task
    pairs = list(itertools.pairwise(words))
    overrides = tuple(value for flag, value in pairs if flag == "--set")
    columns = {
        flag.removeprefix("--").replace("-", "_"): value
        for flag, value in pairs
        if flag in ("--text", "--text-pair", "--label", "--group", "--negative")
    }
    return load_recipe(shipped_recipe(task), overrides, data={"train": name, "validation": name, **columns})


def _write(name, body):
    if Path(name).suffix:
        Path(name).write_text(body, encoding="utf-8")
        return
    from PIL import Image

    for line in body.split():
        Path(line).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(line)


def _rows(name, body):
    if name.endswith(".conll"):
        return len(body.strip().split("\n\n"))
    if name.endswith(".json"):
        return body.count('"question"')
    return len(body.splitlines()) - name.endswith((".csv", ".tsv"))
