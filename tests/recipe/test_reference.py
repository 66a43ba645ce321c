"""What is generated from the schema: the page, the JSON schema and the recipe to start from."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from platon_compress.errors import InputError
from platon_compress.recipe import TRAINABLE_TASKS, PruneSection, Recipe, load_recipe, parse_recipe
from platon_compress.recipe.mistakes import sections_in
from platon_compress.recipe.reference import json_schema, markdown
from platon_compress.recipe.starter import starter

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"
KEYS = {
    name: [key for key, part in section.model_fields.items() if not part.exclude]
    for name, field in Recipe.model_fields.items()
    for section in sections_in(field.annotation)
}


def test_the_page_is_the_generated_one():
    """`platon-compress schema --markdown > docs/recipe.md` updates this."""
    assert PAGE.read_text(encoding="utf-8") == markdown() + "\n"


def test_every_key_has_a_meaning():
    for field in Recipe.model_fields.values():
        for section in sections_in(field.annotation):
            assert section.__doc__
            for key, part in section.model_fields.items():
                assert part.exclude or part.description, key


def test_the_json_schema_names_every_key():
    schema = json.loads(json_schema())
    assert set(schema["properties"]) == set(Recipe.model_fields)
    for name, keys in KEYS.items():
        section = schema["properties"][name]
        reference = next(part["$ref"] for part in [section, *section.get("anyOf", [])] if "$ref" in part)
        assert list(schema["$defs"][reference.rpartition("/")[2]]["properties"]) == keys


@pytest.mark.parametrize(
    "prune",
    [
        {"sparsity": 0.9},
        {"speedup": 2, "granularity": "structured"},
        {"family": [0.5, 0.9]},
        {"masks_from": "runs/a"},
        {"beta1": 0.9},
    ],
)
def test_the_json_schema_needs_what_a_recipe_needs(prune):
    """Rule: a speed-up and a family say the sparsity by themselves, for editors too."""
    section = json.loads(json_schema())["$defs"]["PruneSection"]
    fits = set(section.get("required", ())) <= set(prune)
    fits &= any(set(part["required"]) <= set(prune) for part in section["anyOf"])
    try:
        PruneSection.model_validate(prune)
    except ValidationError:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize("task", TRAINABLE_TASKS)
def test_a_new_recipe_is_valid_and_holds_the_defaults(task, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(starter(task))
    recipe = load_recipe(path)
    given = {
        "model": {"name": recipe.model.name, "task": task},
        "data": {
            "train": recipe.data.train,
            "validation": recipe.data.validation,
            "max_length": recipe.data.max_length,
        },
        "prune": {"sparsity": recipe.prune.sparsity},
        "distill": {"labels": False} if task == "sentence-similarity" else None,  # its texts need none
    }
    assert recipe == parse_recipe(given)


@pytest.mark.parametrize("task", TRAINABLE_TASKS)
def test_a_new_recipe_names_every_key(task):
    """Rule: with the marks of what is off taken away, the file holds every section with every key."""
    lines = [line.removeprefix("# ") for line in starter(task).splitlines()]
    text = "\n".join(line for line in lines if re.fullmatch(r"(  )?[a-z0-9_]+:( .*)?", line))
    assert {name: list(keys) for name, keys in yaml.safe_load(text).items()} == KEYS


def test_an_unknown_task_names_the_known_ones():
    with pytest.raises(
        InputError, match="no recipe trains the task 'ranking'; choose one of text-classification"
    ):
        starter("ranking")
