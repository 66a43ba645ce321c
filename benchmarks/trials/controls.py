"""What a row of the table is held against, beside the dense model: what costs nothing, and what has the same teacher.

One file each in the folder of a row and seed; all sparsities share them.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from trials.grid import Cell, Control
from trials.halved import HALVED, beside

from platon_compress.errors import InputError
from platon_compress.files import read_json, remove_folder, write_json
from platon_compress.pipeline.smaller import train_unpruned
from platon_compress.pipeline.workspace import Workspace
from platon_compress.recipe import Recipe
from platon_compress.scoring import Scores
from platon_compress.tasks.data.rows import RankingRows
from platon_compress.tasks.metrics.ranking import ranking_scores

__all__ = ["bm25", "check_controls", "measure_controls"]

_BATCH = 8  # as the pipeline verifies
_CURE = "delete it, it is measured again"
_K1, _B = 1.2, 0.75  # Lucene's
_WORD = re.compile(r"\w+")


def measure_controls(
    work: Workspace, cell: Cell, folder: Path, lent: Path, *, complete: bool
) -> dict[str, Any]:
    """Name to {"scores", "steps", "seconds"} of each control of the cell's row.

    What lies in `folder`, or in that of the row which lends the dense model, is read if it was measured with the same
    recipe, but for how it prunes from the same start.

    Smaller models are timed beside the files of a `complete` run, and left out before: "speeds" holds, for each setting,
    the ratio to the run's dense model.
    """
    found: dict[str, Any] = {}
    described = cell.described()
    recipe = {key: value for key, value in described.items() if key != "prune"}
    keys = ("from_dense", *work.recipe.shared_settings)
    if shared := {key: value for key, value in described["prune"].items() if key in keys}:
        recipe["prune"] = shared
    for name in cell.row.controls:
        content = _measured(folder / f"{name}.json", recipe) or _measured(lent / f"{name}.json", recipe)
        if content is None:
            if name in HALVED and not complete:
                continue
            work.reporter.say(f"control: {name}")
            started = time.perf_counter()
            content = beside(work, HALVED[name]) if name in HALVED else _CONTROLS[name](work, folder)
            content = {**content, "seconds": round(time.perf_counter() - started, 3)}
            write_json(folder / f"{name}.json", {"recipe": recipe, **content})
        found[name] = content
    return found


def _measured(path: Path, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a control gave with this recipe; None where it was not measured, or with another one."""
    if not path.exists():
        return None
    content = dict(read_json(path, _CURE))
    return content if content.pop("recipe", None) == recipe else None


def check_controls(recipe: Recipe, controls: Sequence[Control]) -> None:
    """Raise InputError for a control that says nothing of this recipe."""
    distill = recipe.distill
    for name in ("taught", *HALVED):
        if name in controls and (distill is None or not distill.labels):
            raise InputError(
                f"the control {name} is for a teacher beside labels, and this recipe has none such; leave it out"
            )
    if "bm25" in controls and recipe.model.task != "text-ranking":
        raise InputError(f"the control bm25 ranks passages, the task is {recipe.model.task}; leave it out")


def bm25(queries: Sequence[str], passages: Sequence[str]) -> np.ndarray:
    """Okapi BM25 of each passage for its query, float64 [n], with word statistics over all distinct passages.

    Robertson and Zaragoza 2009, equation 3.15, with Lucene's inverse document frequency, which is never below 0.
    """
    distinct = {text: _words(text) for text in dict.fromkeys(passages)}
    holding = Counter(word for words in distinct.values() for word in set(words))
    mean_length = sum(map(len, distinct.values())) / len(distinct)
    rarity = {word: math.log1p((len(distinct) - n + 0.5) / (n + 0.5)) for word, n in holding.items()}
    counts = {text: Counter(words) for text, words in distinct.items()}

    def score(query: str, text: str) -> float:
        penalty = _K1 * (1 - _B + _B * len(distinct[text]) / mean_length)
        held = ((rarity[word], counts[text][word]) for word in _words(query) if word in counts[text])
        return sum(weight * n * (_K1 + 1) / (n + penalty) for weight, n in held)

    return np.array([score(query, text) for query, text in zip(queries, passages, strict=True)])


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _bm25(work: Workspace, folder: Path) -> dict[str, Any]:
    del folder
    rows: RankingRows = work.test_rows
    scores = bm25(rows.queries, rows.passages)
    return {
        "scores": ranking_scores(scores, rows.labels, rows.groups, work.task.metric).to_dict(),
        "steps": 0,
    }


def _untrained(work: Workspace, folder: Path) -> dict[str, Any]:
    del folder
    return {"scores": _judged(work, work.fresh_checkpoint()).to_dict(), "steps": 0}


def _taught(work: Workspace, folder: Path) -> dict[str, Any]:
    """The pruned model's training, seed for seed, without the pruning."""
    checkpoint, checkpoints = work.unpruned_start(), folder / "taught-checkpoints"
    result = train_unpruned(work, checkpoint, checkpoints)
    content = {"scores": _judged(work, checkpoint).to_dict(), "steps": result.all_steps}
    remove_folder(checkpoints)
    return content


def _judged(work: Workspace, checkpoint: Any) -> Scores:
    from platon_compress.tasks.trainer import evaluate

    with work.reporter.progress("  metric") as progress:
        return evaluate(checkpoint.model, work.task.evaluation(work.test, checkpoint, _BATCH), progress)


_CONTROLS: Mapping[Control, Callable[[Workspace, Path], dict[str, Any]]] = {
    "untrained": _untrained,
    "taught": _taught,
    "bm25": _bm25,
}
