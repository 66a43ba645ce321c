"""What is killed: whole runs of seconds of the command, each with what it reads and what an undisturbed one gives."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torturing.forked import command, finish, fork, run_results

from platon_compress.errors import CheckFailedError
from platon_compress.testing import tiny_recipe, tiny_transformer

__all__ = ["JOBS", "Case", "finished_stages", "undisturbed"]

_SIZES: dict[str, Mapping[str, Any]] = {"train": {"epochs": 3, "evaluations": 6}, "data": {"train_rows": 256}}
_CLASSES, _WORDS = 3, 80  # of the tiny BERT


@dataclass(frozen=True)
class _Job:
    """kind: of its run folder. words: of its command but for `-o`, once what it reads lies in the folder given."""

    title: str
    kind: str
    words: Callable[[Path], tuple[str, ...]]


@dataclass(frozen=True)
class Case:
    """A job with what an undisturbed run gave: its results, and the seconds of its stages in their order."""

    name: str
    kind: str
    words: tuple[str, ...]
    whole: Path
    results: Mapping[str, bytes]
    seconds: Mapping[str, float]

    @property
    def stages(self) -> tuple[str, ...]:
        """In order."""
        return tuple(self.seconds)


def undisturbed(name: str, place: Path) -> Case:
    """The job `name` run once in `place`, an empty folder. Raises CheckFailedError where that fails."""
    job = JOBS[name]
    words, whole, log = job.words(place), place / "whole", place / "log"
    if finish(fork(command(*words, "-o", whole), log)) != 0:
        raise CheckFailedError(f"{job.title}, undisturbed, fails: {log.read_text(encoding='utf-8')}")
    seconds = {stage: record["seconds"] for stage, record in finished_stages(whole).items()}
    return Case(name, job.kind, words, whole, run_results(whole), seconds)


def finished_stages(folder: Path) -> dict[str, Mapping[str, float]]:
    """What the state of a run folder says, by stage."""
    try:
        return dict(json.loads((folder / "state.json").read_text(encoding="utf-8"))["stages"])
    except FileNotFoundError:
        return {}


def _run(place: Path) -> tuple[str, ...]:
    return _recipe(place, prune={"mask_interval": 2})


def _family(place: Path) -> tuple[str, ...]:
    return _recipe(place, prune={"family": [0.4, 0.6, 0.8], "sparsity": 0.6})


def _recipe(place: Path, **sections: Mapping[str, Any]) -> tuple[str, ...]:
    path = place / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe(None, **_SIZES, **sections)), encoding="utf-8")
    return "run", str(path)


def _oneshot(place: Path) -> tuple[str, ...]:
    """A random BERT over words that mean nothing, texts, and labelled rows."""
    import transformers

    words = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(_WORDS - 5))]
    (place / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizerFast(str(place / "vocab.txt"), model_max_length=40).save_pretrained(
        place / "model"
    )
    tiny_transformer("bert")[0].save_pretrained(place / "model")
    draw = random.Random(1)  # noqa: S311
    texts = [" ".join(draw.choices(words[5:], k=draw.randint(2, 9))) for _ in range(140)]
    (place / "texts.txt").write_text("\n\n".join(texts[:60]), encoding="utf-8")
    rows = [f"{text},LABEL_{draw.randrange(_CLASSES)}" for text in texts[60:]]
    (place / "rows.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    data = ("--calibration", str(place / "texts.txt"), "--data", str(place / "rows.csv"))
    fast = ("--no-calibrate", "--force=csr", "--runs=5", "--batch=1", "--tokens=8", "--threads=1")
    return "compress", str(place / "model"), "--sparsity", "0.5", *data, *fast


JOBS = {
    "run": _Job("`run`: trained, pruned, measured", "run", _run),
    "family": _Job("`run` of a family of three sparsities", "run", _family),
    "compress": _Job("`compress --sparsity`: pruned without training", "compress", _oneshot),
}
