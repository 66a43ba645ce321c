"""Which candidate is finished, and a whole family: killed, resumed, chosen by a budget."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from platon_compress.budget import Budget, Figures
from platon_compress.errors import InputError
from platon_compress.pipeline.family import Candidate, pick, points_below, read_candidates, read_scores
from platon_compress.schemas import require_kind, stamped
from platon_compress.scoring import Difference, Scores
from platon_compress.testing import tiny_recipe

FAMILY = (0.4, 0.6, 0.8)


def _candidate(sparsity, milliseconds, drop, measured=None):
    def figures(ms):
        return (
            None
            if ms is None
            else Figures(latency_seconds=ms / 1e3, speedup=10 / ms, size_bytes=round(1e6 * ms))
        )

    return Candidate(
        sparsity=sparsity,
        steps=10,
        value=0.9,
        standard_error=0.01,
        drop=Difference(value=drop, low=drop - 1, high=drop + 1, paired=True),
        expected=figures(milliseconds),
        measured=figures(measured),
    )


CANDIDATES = [
    _candidate(0.5, 8, 0.1),
    _candidate(0.7, 6, 0.4),
    _candidate(0.8, 5, 0.9),
    _candidate(0.9, 4, 2.5),
]


@pytest.mark.parametrize(
    ("budget", "sparsity"),
    [
        ({}, 0.8),
        ({"max_latency_seconds": 0.0065}, 0.7),
        ({"min_speedup": 2}, 0.8),
        ({"max_size_bytes": 4_500_000}, 0.9),
        ({"max_latency_seconds": 0.0065, "max_size_bytes": 5_000_000}, 0.8),
        ({"max_drop": 1.0}, 0.8),
        ({"max_drop": 0.2}, 0.5),
        ({"max_latency_seconds": 0.0065, "max_drop": 0.5}, 0.7),
        ({"max_latency_seconds": 0.0038}, 0.9),  # nobody exactly, the sparsest within a tenth
        ({"max_latency_seconds": 0.003}, None),
        ({"max_latency_seconds": 0.0045, "max_drop": 1.0}, None),
    ],
)
def test_who_is_finished(budget, sparsity):
    chosen = pick(CANDIDATES, Budget(**budget), 0.8)
    assert (None if chosen is None else chosen.sparsity) == sparsity


def test_what_was_measured_counts_with_a_tolerance():
    """A file may be 10 % slower than asked for; beyond that the next one is taken."""
    budget = Budget(max_latency_seconds=0.0065)
    for measured, wanted in ((7.1, 0.7), (7.2, 0.8)):
        others = [CANDIDATES[0], _candidate(0.7, 6, 0.4, measured=measured), *CANDIDATES[2:]]
        assert pick(others, budget, 0.8).sparsity == wanted


def test_a_candidate_goes_through_json():
    for candidate in (CANDIDATES[0], _candidate(0.7, None, 0.4), _candidate(0.7, 6, 0.4, measured=7)):
        assert Candidate.from_dict(json.loads(json.dumps(candidate.to_dict()))) == candidate
    with pytest.raises(InputError, match=r"not a candidate of a family .*; run the stage choose again"):
        Candidate.from_dict({"sparsity": 0.5})


def test_what_is_lost_is_paired_and_in_points():
    import numpy as np

    def scores(right):
        right = np.array(right)
        return Scores(
            metric="accuracy", values={"accuracy": float(right.mean())}, unit="row", units=right.size,
            replicates=np.array([right.mean(), right.mean()]), right=right,
        )  # fmt: skip

    lost = points_below(scores([True] * 9 + [False]), scores([True] * 8 + [False] * 2))
    assert lost.value == pytest.approx(10)
    assert lost.low < 10 < lost.high
    assert lost.paired


def _write(path, **sections):
    recipe = tiny_recipe(
        data={"train_rows": 256},
        train={"epochs": 3, "evaluations": 6},
        prune={"family": list(FAMILY), "sparsity": 0.6},
        **sections,
    )
    path.write_text(yaml.safe_dump(json.loads(json.dumps(recipe))))
    return path


_KILLED = """
import os, sys
from platon_compress.pipeline import family
whole, calls = family.keep, []
def keep(folder, *arguments, **named):
    whole(folder, *arguments, **named)
    calls.append(folder)
    if len(calls) == 2:
        os.kill(os.getpid(), 9)
family.keep = keep
from platon_compress.cli import main
sys.exit(main(sys.argv[1:]))
"""


def _weights(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / "stages" / "prune").rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A family without a budget, as nobody disturbed it."""
    from platon_compress.cli import main

    folder = tmp_path_factory.mktemp("family")
    recipe = _write(folder / "recipe.yaml")
    assert main(["run", str(recipe), "-o", str(folder / "run")]) == 0
    return recipe, folder / "run"


@pytest.mark.train
def test_every_member_is_a_candidate_and_the_named_one_is_finished(finished):
    _, run = finished
    facts = require_kind(json.loads((run / "family.json").read_text()), "family", "family.json", "run again")
    assert [entry["sparsity"] for entry in facts["candidates"]] == list(FAMILY)
    assert facts["chosen"] == 0.6
    assert (facts["metric"], facts["split"], facts["examples"]) == ("accuracy", "validation", 64)
    assert all(entry["drop"]["paired"] for entry in facts["candidates"])
    assert all(entry["expected"]["latency_seconds"] > 0 for entry in [*facts["candidates"]])
    sizes = [entry["expected"]["size_bytes"] for entry in facts["candidates"]]
    assert sizes == sorted(sizes, reverse=True)
    steps = [entry["steps"] for entry in facts["candidates"]]
    assert steps == sorted(steps)
    assert (
        steps[-1] <= 1.6 * json.loads((run / "state.json").read_text())["stages"]["dense"]["result"]["steps"]
    )
    state = json.loads((run / "state.json").read_text())
    assert state["stages"]["bake"]["result"]["sparsity"] == pytest.approx(0.6, abs=0.001)


@pytest.mark.train
def test_a_killed_family_goes_on_to_the_same_bits(finished, tmp_path):
    """Killed while the second candidate is written: it is not there half, and the others are the same."""
    from platon_compress.cli import main

    recipe, whole = finished
    words = ["run", str(recipe), "-o", str(tmp_path / "run")]
    killed = subprocess.run(
        [sys.executable, "-P", "-c", _KILLED, *words],
        capture_output=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    kept = tmp_path / "run" / "stages" / "prune-checkpoints" / "candidates"
    assert [path.name for path in kept.iterdir() if not path.name.startswith(".")] == ["0.4"]
    assert main(words) == 0
    assert _weights(tmp_path / "run") == _weights(whole)


@pytest.mark.train
def test_a_budget_chooses_again_and_trains_nothing(finished, tmp_path, capsys, monkeypatch):
    """A family is trained once: budgets choose another member, or none; the sparsest is tried when one is too slow."""
    import shutil

    from platon_compress.cli import main
    from platon_compress.pipeline import stages

    recipe, whole = finished
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    before = _weights(run)
    sizes = [e["expected"]["size_bytes"] for e in json.loads((run / "family.json").read_text())["candidates"]]
    words = ["run", str(recipe), "-o", str(run)]
    # the search would measure a machine that others use: it is tried by itself
    monkeypatch.setattr(stages, "search_stage", lambda work: {"sparsity": 0.5})
    size = (sizes[1] + sizes[2]) // 2
    assert main([*words, "--max-size", f"{size / 1e3}kB"]) == 0
    facts = json.loads((run / "family.json").read_text())
    assert facts["chosen"] == 0.8
    assert _weights(run) == before
    assert "The budget (at most" in capsys.readouterr().out
    assert main([*words, "--max-drop", "0"]) in (0, 1)
    assert main([*words, "--max-size", "1kB"]) == 1
    assert "no candidate meets the budget (at most 0.001 MB): 0.4: " in capsys.readouterr().err


class _Work:
    """A family of two in a folder, of which 0.7 is finished and was measured by the bench stage."""

    sparsity = 0.7

    def __init__(self, folder, budget):
        from platon_compress.pipeline.folder import RunFolder
        from platon_compress.recipe import parse_recipe

        raw = tiny_recipe(prune={"family": [0.7, 0.9], "sparsity": 0.7})
        self.recipe = parse_recipe({**raw, "budget": budget})
        self.prune = self.recipe.prune
        self.folder = RunFolder(folder, "run")
        self.reporter = SimpleNamespace(warn=lambda text: None)
        entries = [_candidate(0.7, 6, 0.4).to_dict(), _candidate(0.9, 4, 2.5).to_dict()]
        self.folder.write_json("family.json", stamped("family", {"candidates": entries}))


@pytest.mark.parametrize(
    ("budget", "milliseconds", "again"),
    [
        ({"max_latency": "6.5ms"}, 7.1, False),  # within a tenth
        ({"max_latency": "6.5ms"}, 7.2, True),
        ({"max_latency": "6.5ms", "max_drop": 1}, 7.2, False),  # the sparser one loses too much
        ({"max_latency": "3ms"}, 7.2, False),  # nobody meets it: the verdict says so
    ],
)
def test_a_file_that_is_too_slow_gives_way_to_a_sparser_one(
    tmp_path, monkeypatch, budget, milliseconds, again
):
    from platon_compress.pipeline import choosing

    figures = Figures(latency_seconds=milliseconds / 1e3, speedup=1.5, size_bytes=1000)
    monkeypatch.setattr(choosing, "read_run", lambda path: None)
    monkeypatch.setattr(choosing, "measured_figures", lambda run: figures)
    work = _Work(tmp_path, budget)
    assert choosing.choose_again(work) is again
    assert choosing._measured_before(work) == ({0.7: figures} if again else {})
    work.recipe = work.recipe.model_copy(update={"bench": work.recipe.bench.model_copy(update={"runs": 7})})
    assert choosing._measured_before(work) == {}  # of other settings


def test_the_stages_after_the_choice_run_again(monkeypatch):
    from platon_compress.pipeline import runner

    names = ("prune", "choose", "bake", "bench", "verify", "report")
    told, answers = [], [True, False]
    run = runner._Run.__new__(runner._Run)
    run.recipe, run._work = SimpleNamespace(searches=True), None
    run.stages = tuple(SimpleNamespace(name=name) for name in names)
    run.do = lambda stage: told.append(stage.name)
    run._run = lambda stage: told.append(f"{stage.name} again")
    monkeypatch.setattr(runner, "choose_again", lambda work: answers.pop(0))
    monkeypatch.setattr(runner, "stage_names", lambda recipe: names)
    run.do_all(None)
    assert told == ["prune", "choose", "bake", "bench", "choose again", "bake", "bench", "verify", "report"]


def test_a_found_sparsity_that_the_other_settings_refuse_stops_before_the_training():
    from platon_compress.pipeline import choosing
    from platon_compress.recipe import parse_recipe
    from platon_compress.testing import tiny_transformer

    recipe = parse_recipe(tiny_recipe(prune={"start_sparsity": 0.5}))
    checkpoint = SimpleNamespace(model=tiny_transformer("bert")[0])
    work = SimpleNamespace(
        recipe=recipe, prune=recipe.prune, training=range(96), fresh_checkpoint=lambda: checkpoint
    )
    choosing._check_prunes(work, 0.6)
    with pytest.raises(InputError, match=r"prune: start_sparsity must lie below sparsity, 0\.4, got 0\.5"):
        choosing._check_prunes(work, 0.4)


@pytest.mark.parametrize(
    "change",
    [
        {"candidates": 3},
        {"candidates": []},
        {"candidates": [3]},
        {"candidates": None},
        {"kind": "plan", "schema": 2},
        *(
            {"candidates": [{**CANDIDATES[0].to_dict(), name: "x"}]}
            for name in ("sparsity", "drop", "expected", "measured")
        ),
    ],
)
def test_a_broken_family_is_refused(tmp_path, change):
    content = {"kind": "family", "schema": 1, "candidates": [CANDIDATES[0].to_dict()]}
    path = tmp_path / "family.json"
    path.write_text(json.dumps(content))
    assert [candidate.sparsity for candidate in read_candidates(path)] == [0.5]
    path.write_text(json.dumps({**content, **change}))
    with pytest.raises(InputError, match=r"candidate|kind"):
        read_candidates(path)


@pytest.mark.parametrize("content", [{}, {"steps": "x", "scores": {}}, {"steps": 3, "scores": []}])
def test_broken_scores_of_a_candidate_are_refused(tmp_path, content):
    (tmp_path / "scores.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="prune into a new folder"):
        read_scores(tmp_path)
