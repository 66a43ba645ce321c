"""A stage opens what the one before it wrote: nothing is computed twice, in one run or over several."""

import json
import shutil

import pytest

from platon_compress import baking, conversion
from platon_compress.compressed import load_compressed
from platon_compress.errors import InputError
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.runner import continue_run, run_recipe
from platon_compress.recipe import parse_recipe
from platon_compress.testing import tiny_recipe

RECIPE = tiny_recipe()


@pytest.fixture(scope="module")
def calls():
    """How often bake and convert have been called."""
    counts = {"bake": 0, "convert": 0}
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((baking, "bake"), (conversion, "convert")):
            patch.setattr(module, name, _counting(counts, name, getattr(module, name)))
        yield counts


def _counting(counts, name, original):
    def call(*arguments, **keywords):
        counts[name] += 1
        return original(*arguments, **keywords)

    return call


@pytest.fixture(scope="module")
def run(calls, tmp_path_factory):
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("artifacts") / "run"
    run_recipe(parse_recipe(RECIPE), folder, Reporter(quiet=True))
    return folder, dict(calls)


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run[0], tmp_path / "copy")


def test_a_run_bakes_and_converts_once(run):
    assert run[1] == {"bake": 1, "convert": 1}


@pytest.mark.parametrize("lost", [("report",), ("export", "verify", "bench", "report")])
@pytest.mark.slow
def test_a_resumed_run_does_neither_again(copy, calls, lost):
    folder, before = copy, dict(calls)
    state = json.loads((folder / "state.json").read_text())
    state["stages"] = {name: record for name, record in state["stages"].items() if name not in lost}
    (folder / "state.json").write_text(json.dumps(state))
    results = run_recipe(parse_recipe(RECIPE), folder, Reporter(quiet=True))
    assert results["report"]["verdict"].startswith("Verdict: ")
    assert calls == before


def test_a_single_stage_calls_only_its_own(copy, calls):
    folder, before = copy, dict(calls)
    continue_run(folder, "convert", Reporter(quiet=True))
    assert calls == {**before, "convert": before["convert"] + 1}


def test_the_converted_model_lies_in_the_folder(run):
    counts = json.loads((run[0] / "model" / "bake.json").read_text())
    idle = json.loads((run[0] / "plan.json").read_text())["idle"]["cleared"]  # what masks emptied goes too
    compressed = load_compressed(run[0] / "compressed")
    baked = {weight["name"]: weight["nnz"] for weight in counts["weights"]}
    assert compressed.csr.keys() == baked.keys()
    assert all(weight.nnz <= baked[name] for name, weight in compressed.csr.items())
    assert sum(baked.values()) - sum(weight.nnz for weight in compressed.csr.values()) == idle
    assert (run[0] / "compressed" / "preprocessor_config.json").is_file()


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("train", "seed", 7, r"train\.seed was not set, now 7"),
        ("prune", "sparsity", 0.5, r"prune\.sparsity was 0\.6, now 0\.5"),
        ("verify", "examples", 5000, "5000"),
    ],
)
def test_a_refused_call_changes_nothing(run, section, key, value, message):
    folder = run[0]
    before = {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    changed = parse_recipe({**RECIPE, section: {**RECIPE.get(section, {}), key: value}})
    with pytest.raises(InputError, match=message):
        run_recipe(changed, folder, Reporter(quiet=True))
    assert {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()} == before


@pytest.mark.slow
def test_a_mended_recipe_runs_only_what_uses_it(copy, calls):
    folder, before = copy, dict(calls)
    stamps = json.loads((folder / "state.json").read_text())["stages"]
    run_recipe(parse_recipe({**RECIPE, "bench": {"batch": [2], "runs": 5}}), folder, Reporter(quiet=True))
    after = json.loads((folder / "state.json").read_text())["stages"]
    changed = [name for name in after if after[name] != stamps[name]]
    assert sorted(changed) == ["bench", "report"]
    assert calls == before
