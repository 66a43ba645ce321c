"""Recipes: what is read, what is refused and how it is said."""

import pytest

from platon_compress.errors import InputError
from platon_compress.pruning.watch import memory_warning
from platon_compress.recipe import TRAINABLE_TASKS, Recipe, load_recipe, parse_recipe, shipped_recipe
from platon_compress.recipe.loading import PRESETS
from platon_compress.tasks.training import prune_config

GOOD = {
    "model": {"name": "some/model", "task": "text-classification"},
    "data": {"train": "a.tsv", "validation": "b.tsv"},
    "prune": {"sparsity": 0.9},
}


def _with(section, **values):
    return {**GOOD, section: {**GOOD.get(section, {}), **values}}


@pytest.mark.parametrize("name", ["digits", *TRAINABLE_TASKS])
def test_shipped_recipes_are_valid(name):
    recipe = load_recipe(shipped_recipe(name))
    assert name in ("digits", recipe.model.task)


@pytest.mark.parametrize("name", TRAINABLE_TASKS)
def test_a_short_run_of_a_shipped_recipe_gets_masks_often_enough(name):
    recipe = load_recipe(shipped_recipe(name))
    assert memory_warning(prune_config(recipe.prune, 300)) is None


@pytest.mark.parametrize("name", ["digits", *TRAINABLE_TASKS])
def test_presets_go_with_every_shipped_recipe(name):
    own = load_recipe(shipped_recipe(name))
    sparsities = []
    for preset in PRESETS:
        recipe = load_recipe(shipped_recipe(name), preset=preset)
        sparsities.append(recipe.prune.sparsity)
        assert (recipe.plan.values, recipe.plan.tokens) == ("int8", own.plan.tokens)
        assert recipe.train == own.train
        assert recipe.prune.criterion == ("fisher" if preset == "fast" else "platon")
        assert recipe.distill is not None
        assert recipe.prune.from_dense
        assert recipe.prune.epochs == 2 * own.train.epochs
    assert sparsities == sorted(sparsities, reverse=True)


def test_a_preset_gives_way_to_what_is_set_and_keeps_what_it_does_not_name():
    recipe = load_recipe(shipped_recipe("sentence-similarity"), ("prune.sparsity=0.7",), preset="fast")
    assert (recipe.prune.sparsity, recipe.prune.beta2, recipe.distill.labels) == (0.7, 0.85, False)
    assert isinstance(recipe, Recipe)


def test_twice_the_passes_of_a_preset_are_those_of_the_baseline_that_is_trained_and_give_way():
    recipe = shipped_recipe("text-ranking")
    assert load_recipe(recipe, ("train.epochs=1.5",), preset="fast").prune.epochs == 3
    assert load_recipe(recipe, ("prune.epochs=1", "train.epochs=7"), preset="fast").prune.epochs == 1
    assert load_recipe(recipe, ("prune.epochs=null",), preset="fast").prune.epochs is None
    assert load_recipe(recipe, ("train.epochs=7",)).prune.epochs is None


def test_unknown_presets_list_the_known_ones():
    with pytest.raises(InputError, match="no preset is called 'quick'; use one of fast, balanced, accurate"):
        load_recipe(shipped_recipe("digits"), preset="quick")


def test_unknown_shipped_recipe_lists_the_known_ones():
    with pytest.raises(
        InputError, match=r"no shipped recipe is called 'nope'; give a .yaml file, or one of: .*digits"
    ):
        shipped_recipe("nope")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (_with("model", tsk="x"), r"unknown key model\.tsk; did you mean task\? known: name, config, task"),
        (_with("model", task="translation"), r"model\.task is 'translation'; use one of text-classification"),
        (
            _with("model", config={"model_type": "vit"}),
            r"model\.name and model\.config are both given; leave one",
        ),
        (_with("data", validation=None), r"data\.train is given without data\.validation; give that too"),
        ({k: v for k, v in GOOD.items() if k != "prune"}, r"section prune is missing"),
        ({k: v for k, v in GOOD.items() if k != "model"}, r"model is missing; add it"),
        (
            _with("train", epochs=0),
            r"train\.epochs is 0; give a number above 0 and at most 10,000, for example 4",
        ),
        (_with("bench", batch=[]), r"bench\.batch is empty; give a value"),
        (_with("plan", device="tpu"), r"plan\.device is 'tpu'; choose one of cpu, cuda"),
        ({**GOOD, "extra": 1}, r"unknown key extra; known: kind, model"),
    ],
)
def test_a_wrong_recipe_gets_one_line(raw, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_recipe(raw)
    assert "\n" not in str(caught.value)


def test_overrides_reach_nested_keys_and_new_sections():
    path = shipped_recipe("digits")
    recipe = load_recipe(path, ("prune.sparsity=0.5", "plan.threads=1", "bench.batch=[2]"))
    assert (recipe.prune.sparsity, recipe.plan.threads, recipe.bench.batch) == (0.5, 1, (2,))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sparsity=0.5", r"unknown key sparsity; it belongs to prune; known: kind, model, dense"),
        ("=0.5", r"is not section\.key=value"),
        ("prune.sparsity", r"is not section\.key=value"),
        ("prune.sparsity.x=1", r"'sparsity' is a plain value"),
        ("prune.sparsity=[", r"the value is no valid YAML"),
    ],
)
def test_a_wrong_override_gets_one_line(override, message):
    with pytest.raises(InputError, match=message):
        load_recipe(shipped_recipe("digits"), (override,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"no valid YAML at line \d"),
        ("just text", r"holds a str, not sections; `platon-compress init`"),
        ("\x00", r"no valid YAML"),
        ("[" * 20_000, r"nested too deeply"),
    ],
)
def test_a_broken_file_gets_one_line(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe(path)


def test_a_missing_file_gets_one_line(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the recipe .*none\.yaml"):
        load_recipe(tmp_path / "none.yaml")
