"""Masks of another run: where they and the weights come from, what is refused, a run that holds them, killed and resumed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_berts import saved_bert

from platon_compress.errors import InputError
from platon_compress.pipeline.dry_run import describe_run
from platon_compress.pipeline.reporter import Reporter
from platon_compress.recipe import parse_recipe
from platon_compress.testing import tiny_recipe

SECTIONS = {"data": {"train_rows": 256}, "train": {"epochs": 3, "evaluations": 6}}


def _recipe(path, **sections):
    recipe = tiny_recipe(**SECTIONS)
    recipe.update(sections)
    path.write_text(yaml.safe_dump(json.loads(json.dumps(recipe))))
    return path


def _run(recipe, folder):
    from platon_compress.cli import main

    return main(["run", str(recipe), "-o", str(folder)])


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A run that found masks of 60 %."""
    folder = tmp_path_factory.mktemp("earlier")
    assert _run(_recipe(folder / "recipe.yaml"), folder / "run") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def held(earlier, tmp_path_factory):
    """A run that holds them, as nobody disturbed it."""
    folder = tmp_path_factory.mktemp("held")
    recipe = _recipe(folder / "recipe.yaml", dense=str(earlier), prune={"masks_from": str(earlier)})
    assert _run(recipe, folder / "run") == 0
    return recipe, folder / "run"


def _pruned(run):
    place = run / "stages" / "prune"
    return load_file(place / "masks.safetensors"), load_file(place / "model.safetensors")


@pytest.mark.train
def test_the_masks_of_a_run_are_held_and_its_weights_trained_on(earlier, held):
    before, weights = _pruned(earlier)
    after, trained = _pruned(held[1])
    assert all(torch.equal(mask, after[name]) for name, mask in before.items())
    assert len(before) == len(after)
    assert all(torch.equal(trained[name] != 0, mask) for name, mask in after.items())
    assert any(not torch.equal(weights[name], trained[name]) for name in after)
    results = {
        name: stage["result"]
        for name, stage in json.loads((held[1] / "state.json").read_text())["stages"].items()
    }
    assert results["prune"]["sparsity_target"] == pytest.approx(0.6, abs=1e-3)
    assert results["prune"]["steps"] == 2 * results["dense"]["steps"]
    assert results["prune"]["held"] == {"masks_from": str(earlier), "from_dense": False}
    assert "threshold" not in {key for row in results["prune"]["history"] for key in row}
    report = (held[1] / "report.md").read_text()
    assert "stayed fixed; the pruned model continued from the weights stored with them" in report
    assert "steps respectively" in report


_KILLED = """
import os, sys
from platon_compress.pruning import trainer
whole, calls = trainer.save_pruner, []
def save(*arguments):
    whole(*arguments)
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), 9)
trainer.save_pruner = save
from platon_compress.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.train
def test_a_killed_one_goes_on_to_the_same_bits(held, tmp_path):
    recipe, whole = held
    words = ["run", str(recipe), "-o", str(tmp_path / "run")]
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-P", "-c", _KILLED, *words], capture_output=True, cwd=root, check=False
    )
    assert killed.returncode == -9, killed.stderr.decode()
    assert _run(recipe, tmp_path / "run") == 0
    for ours, theirs in zip(_pruned(tmp_path / "run"), _pruned(whole), strict=True):
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.train
def test_masks_alone_start_from_the_dense_baseline(earlier, tmp_path):
    """A file with no model beside it, of one weight only."""
    masks = _pruned(earlier)[0]
    name = next(name for name, mask in masks.items() if mask.any() and not mask.all())
    save_file({name: masks[name]}, tmp_path / "some.safetensors")
    section = {"masks_from": str(tmp_path / "some.safetensors")}
    recipe = _recipe(tmp_path / "recipe.yaml", dense=str(earlier), prune=section)
    assert _run(recipe, tmp_path / "run") == 0
    after, trained = _pruned(tmp_path / "run")
    assert list(after) == [name]
    assert torch.equal(trained[name] != 0, masks[name])
    results = json.loads((tmp_path / "run" / "state.json").read_text())["stages"]["prune"]["result"]
    assert results["held"]["from_dense"]


@pytest.mark.train
@pytest.mark.parametrize("spoil", ["bytes", "gone", "foreign", "unfinished", "other model"])
def test_a_damaged_or_foreign_source_is_one_line(earlier, tmp_path, spoil, capsys):
    source = tmp_path / "source"
    shutil.copytree(earlier, source)
    place, sections = source / "stages" / "prune" / "masks.safetensors", {}
    masks = load_file(place)
    if spoil == "bytes":
        place.write_bytes(b"x" * place.stat().st_size)
    elif spoil == "gone":
        place.unlink()
    elif spoil == "foreign":
        save_file({f"{name}_": mask for name, mask in masks.items()}, tmp_path / "foreign.safetensors")
        source = tmp_path / "foreign.safetensors"
    elif spoil == "unfinished":
        state = json.loads((source / "state.json").read_text())
        del state["stages"]["prune"]
        (source / "state.json").write_text(json.dumps(state))
    else:
        sections = {"model": tiny_recipe({"intermediate_size": 32})["model"]}
    recipe = _recipe(tmp_path / "recipe.yaml", prune={"masks_from": str(source)}, **sections)
    assert _run(recipe, tmp_path / "run") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "; " in lines[0]


@pytest.mark.train
def test_the_dry_run_says_what_is_held(earlier, capsys):
    recipe = tiny_recipe(**SECTIONS)
    described = describe_run(parse_recipe({**recipe, "prune": {"masks_from": str(earlier)}}), Reporter())
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "are fixed from the first step, 60.0% zeros in 12 weights; training continues from the weights stored"
        in printed
    )
    (sparsity,) = {point["sparsity"] for point in described["pruning"]["schedule"]}
    assert sparsity == pytest.approx(0.6, abs=1e-3)


def test_a_run_without_training_gives_the_zeros_of_its_model(tmp_path):
    """Also those of a foreign checkpoint: its baked model says which weights count."""
    from platon_compress.baking import bake
    from platon_compress.files import write_json
    from platon_compress.pipeline.folder import RunFolder
    from platon_compress.pipeline.held import held_of
    from platon_compress.pipeline.stages import stages_of
    from platon_compress.tasks.models import load_checkpoint

    name = saved_bert(tmp_path / "given", "BertForSequenceClassification", zeros=0.5, num_labels=2)
    section = {"name": name, "task": "text-classification"}
    recipe = parse_recipe({"kind": "compress", "model": section})
    checkpoint = load_checkpoint(name, "text-classification")
    folder = RunFolder.open(tmp_path / "run", "compress")
    stage = next(stage for stage in stages_of(recipe) if stage.name == "bake")
    with folder.locked():
        folder.remember_recipe(yaml.safe_dump({"kind": "compress", "model": section}))
        folder.model.mkdir()
        baked = bake(checkpoint.model)
        checkpoint.save(folder.model)
        write_json(folder.model / "bake.json", baked.to_dict())
        folder.finish(stage, 1.0, baked.to_dict(), stage.settings(recipe))
    data = {"train": "a.csv", "validation": "b.csv"}
    found = held_of(parse_recipe({"model": section, "data": data, "prune": {"masks_from": str(folder.path)}}))
    assert found.sparsity == pytest.approx(baked.sparsity)
    assert found.weights == folder.model
    for name, mask in found.masks.items():
        assert torch.equal(mask, checkpoint.model.get_parameter(name) != 0)


def test_a_folder_that_holds_nothing(tmp_path):
    from platon_compress.pipeline.held import held_of

    recipe = parse_recipe({**tiny_recipe(), "prune": {"masks_from": str(tmp_path)}})
    with pytest.raises(InputError, match=r"holds neither a run nor masks; name the folder of a run"):
        held_of(recipe)
