"""The candidates of a run: written while it trains, measured when it has trained, their facts in family.json.

`family.json` (kind "family"): task, metric, split and examples that the candidates were judged on, tokens, batch and
threads that they were timed with, the budget, dense (value, standard_error, figures), and per candidate, the least sparse
one first: sparsity, steps of training until then, value, standard_error, drop (points below dense: value, low,
high, paired), expected (figures of its file in pairs with dense on random inputs; null where nothing was timed), measured
(figures of the bench stage; null before it). Figures are latency_seconds,
speedup, size_bytes; `chosen` is the sparsity of the candidate that is finished.
"""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.budget import TOLERANCE, Budget, Figures
from platon_compress.errors import MISFITS, InputError, shown
from platon_compress.files import new_folder, read_json, write_json
from platon_compress.schemas import require_kind
from platon_compress.scoring import Difference, Scores

if TYPE_CHECKING:
    import torch

    from platon_compress.pruning.family import Hold
    from platon_compress.tasks.checkpoint import Checkpoint
    from platon_compress.tasks.examples import Examples
    from platon_compress.tasks.task import Task

__all__ = [
    "Candidate",
    "Keeper",
    "keep",
    "link_candidates",
    "pick",
    "points_below",
    "read_candidates",
    "read_scores",
]

_SCORES = "scores.json"
_CURE = "run the stage choose again"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One member. drop: points below dense, on the validation rows; expected, measured: None where not timed."""

    sparsity: float
    steps: int
    value: float
    standard_error: float
    drop: Difference
    expected: Figures | None = None
    measured: Figures | None = None

    def misses(self, budget: Budget, *, tolerance: float = TOLERANCE) -> tuple[str, ...]:
        """What it misses of the budget; measured figures count where there are any, expected ones with `tolerance`."""
        found: tuple[str, ...] = ()
        if self.measured is not None:
            found = budget.misses(self.measured, tolerance=TOLERANCE)
        elif self.expected is not None:
            found = budget.misses(self.expected, tolerance=tolerance)
        if budget.allows(self.drop.value):
            return found
        return (*found, f"{self.drop.value:.2f} points lost (limit {budget.max_drop:g})")

    def to_dict(self) -> dict[str, Any]:
        """Its entry in family.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Candidate":
        """The inverse. Raises InputError for anything else."""
        try:
            return cls(
                sparsity=_finite(entry["sparsity"]),
                steps=int(entry["steps"]),
                value=_finite(entry["value"]),
                standard_error=_finite(entry["standard_error"]),
                drop=_difference(entry["drop"]),
                expected=None if entry["expected"] is None else Figures.from_dict(entry["expected"]),
                measured=None if entry["measured"] is None else Figures.from_dict(entry["measured"]),
            )
        except MISFITS as error:
            raise InputError(
                f"not a candidate of a family ({error!r:.120}); run the stage choose again"
            ) from error


def pick(candidates: Sequence[Candidate], budget: Budget, default: float) -> Candidate | None:
    """The candidate that is finished; None where none meets the budget.

    Rules: without a budget the one of the sparsity `default`; where speed or size is asked for the least sparse that
    meets all; where only a drop is, the sparsest that does. Where nobody is expected to meet a time exactly, those within
    TOLERANCE of it do.
    """
    if budget == Budget():
        return next(candidate for candidate in candidates if candidate.sparsity == default)
    met = [candidate for candidate in candidates if not candidate.misses(budget, tolerance=0.0)]
    met = met or [candidate for candidate in candidates if not candidate.misses(budget)]
    met.sort(key=lambda candidate: candidate.sparsity, reverse=not budget.asks_for_speed_or_size)
    return met[0] if met else None


class Keeper:
    """Writes a candidate at the end of every hold: weights, masks and scores, whole or not at all."""

    def __init__(self, folder: Path, task: "Task", checkpoint: "Checkpoint", validation: "Examples") -> None:
        self._folder, self._task, self._checkpoint, self._validation = folder, task, checkpoint, validation

    def __call__(self, hold: "Hold", masks: "Mapping[str, torch.Tensor]") -> None:
        """One that is there already is the same: a training that was killed goes on to the same bits."""
        target = self._folder / f"{hold.sparsity:g}"
        if target.exists():
            return
        from platon_compress.tasks.trainer import evaluate
        from platon_compress.tasks.training import BATCH

        scores = evaluate(
            self._checkpoint.model, self._task.evaluation(self._validation, self._checkpoint, BATCH)
        )
        with new_folder(target) as folder:
            keep(folder, self._checkpoint, masks, scores, steps=hold.last)


def keep(
    folder: Path,
    checkpoint: "Checkpoint",
    masks: "Mapping[str, torch.Tensor]",
    scores: Scores,
    *,
    steps: int,
) -> None:
    """Write a pruned model into `folder` with its masks, named as its weights in the file beside them, and its scores on
    all validation examples after `steps` steps."""
    from safetensors.torch import save_file

    from platon_compress.file_names import names_in_files

    checkpoint.save(folder)
    names = names_in_files(checkpoint.model)
    # safetensors stores booleans as one byte each.
    save_file(
        {names.get(name, name): mask.contiguous() for name, mask in masks.items()},
        folder / "masks.safetensors",
    )
    write_json(folder / _SCORES, {"steps": steps, "scores": scores.to_dict()})


def read_candidates(path: Path) -> list[Candidate]:
    """The candidates in the family.json at `path`. Raises InputError when they cannot be read."""
    entries = require_kind(read_json(path, _CURE), "family", str(path), _CURE).get("candidates")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path} lists no candidates; {_CURE}")
    return [Candidate.from_dict(entry) for entry in entries]


def read_scores(folder: Path) -> tuple[int, Scores]:
    """Steps and scores of a candidate. Raises InputError when they cannot be read."""
    cure = "prune into a new folder"
    content = read_json(folder / _SCORES, cure)
    try:
        return int(content["steps"]), Scores.from_dict(content["scores"])
    except MISFITS as error:
        raise InputError(f"{folder / _SCORES} holds no scores ({error!r:.120}); {cure}") from error


def _difference(entry: Mapping[str, Any]) -> Difference:
    numbers = {name: _finite(entry[name]) for name in ("value", "low", "high")}
    return Difference(**numbers, paired=bool(entry["paired"]))


def _finite(value: Any) -> float:
    """Raises TypeError or ValueError for anything but a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{shown(value)} is no number")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value


def link_candidates(source: Path, target: Path) -> None:
    """Every candidate below `target` as well; files are linked where the system can, since both places stay."""
    for folder in sorted(source.iterdir()):
        if not folder.name.startswith("."):
            shutil.copytree(folder, target / folder.name, copy_function=_link)


def points_below(dense: Scores, candidate: Scores) -> Difference:
    """What is lost, in points; paired where both answered the same units."""
    change = candidate.minus(dense)
    return Difference(
        value=0.0 - 100 * change.value,  # no drop is 0, not -0
        low=0.0 - 100 * change.high,
        high=0.0 - 100 * change.low,
        paired=change.paired,
    )


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
