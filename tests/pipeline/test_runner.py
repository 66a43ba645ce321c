"""What is refused before a run folder exists."""

import pytest

from platon_compress.errors import InputError
from platon_compress.pipeline.runner import run_recipe
from platon_compress.recipe import load_recipe

RECIPE = "model: {name: nowhere, task: text-classification}\ndata: {train: a.tsv, validation: b.tsv, text: t, label: l}\n"


@pytest.mark.parametrize(
    "bad", ["{sparsity: 1.5}", "{sparsity: 0.9, criterion: guess}", "{sparsity: 0.9, beta1: 2}"]
)
def test_impossible_pruning_leaves_no_folder(bad, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE + f"prune: {bad}\n")
    with pytest.raises(InputError):
        run_recipe(load_recipe(path), tmp_path / "run", None)
    assert not (tmp_path / "run").exists()
