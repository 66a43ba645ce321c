"""`--set`: a text stays the text that was written, everything else is YAML."""

import pytest

from platon_compress.errors import InputError
from platon_compress.recipe import load_recipe, shipped_recipe
from platon_compress.recipe.overrides import apply_override


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.text=#1 String", "#1 String"),
        ("data.text=a: b", "a: b"),
        ("data.label=no", "no"),
        ("data.label=2020", "2020"),
        ("data.label=1e3", "1e3"),
        ("data.text=[text", "[text"),
        ("data.text=*star", "*star"),
        ("data.text=x=y", "x=y"),
        ("data.text='quoted name'", "quoted name"),
        ('data.text_pair="null"', "null"),
        ("data.text_pair=null", None),
        ("data.text_pair=~", None),
        ("data.dataset_config=2024-01-01", "2024-01-01"),
        ("model.name=C:\\models\\bert", "C:\\models\\bert"),
        ("dense= runs/a ", " runs/a "),
    ],
)
def test_a_text_is_taken_letter_by_letter(override, value):
    raw = {}
    apply_override(raw, override)
    section, _, key = override.partition("=")[0].partition(".")
    assert (raw[section][key] if key else raw[section]) == value


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("prune.sparsity=0.5", 0.5),
        ("bench.batch=[1, 2]", [1, 2]),
        ("plan.calibrate=no", False),
        ("plan.threads=null", None),
        ("model.config.hidden_size=64", 64),
        ("model.config.model_type=vit", "vit"),
        ("prune.targets=[a, 're:b']", ["a", "re:b"]),
    ],
)
def test_everything_else_is_yaml(override, value):
    raw = {}
    apply_override(raw, override)
    found = raw
    for key in override.partition("=")[0].split("."):
        found = found[key]
    assert found == value


def test_one_value_is_a_list_of_one():
    recipe = load_recipe(
        shipped_recipe("digits"), ("bench.batch=4", "prune.ignore=head", "model.freeze=patch")
    )
    assert (recipe.bench.batch, recipe.prune.ignore, recipe.model.freeze) == ((4,), ("head",), ("patch",))


def test_an_override_opens_a_section_that_was_taken_away():
    raw = {"prune": None}
    apply_override(raw, "prune.sparsity=0.5")
    assert raw == {"prune": {"sparsity": 0.5}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.text=", "has no value; write null to take the key away"),
        ("data.text=   ", "has no value"),
        ("data.text", r"is not section\.key=value"),
        ("data..text=a", r"is not section\.key=value"),
        ("kind.x.y=1", "'kind' is a plain value in the recipe, not a section; set kind itself"),
        ("bench.runs={a: 1, a: 2}", "has the key 'a' twice"),
        ("bench.runs=" + "[" * 3000, "is nested too deeply"),
    ],
)
def test_a_wrong_override_gets_one_line(override, message):
    with pytest.raises(InputError, match=message) as caught:
        apply_override({"kind": "run"}, override)
    assert len(str(caught.value)) < 300
