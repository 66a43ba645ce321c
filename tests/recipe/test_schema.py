"""Every number has a range, every wrong value one line with the key, the value and what is right."""

import copy

import pytest

from platon_compress.errors import InputError
from platon_compress.limits import LIMITS
from platon_compress.recipe import Recipe, parse_recipe

GOOD = {
    "model": {"name": "some/model", "task": "text-classification"},
    "data": {"train": "a.tsv", "validation": "b.tsv"},
    "prune": {"sparsity": 0.9},
    "distill": {"teacher": "teacher"},
}
UNTRAINED = {
    "kind": "compress",
    "model": GOOD["model"],
    "data": {"calibration": "a.txt"},
    "oneshot": {"sparsity": 0.5},
}
KEYS = sorted(key for key in LIMITS if key.split(".")[0] in Recipe.model_fields and key != "model.size")


def _set(key, value):
    section, name = key.split(".")
    raw = copy.deepcopy(UNTRAINED if section == "oneshot" else GOOD)
    raw.setdefault(section, {})[name] = value
    return raw


def _outside(limit):
    yield limit.least if limit.above else limit.least - 1
    yield limit.most if limit.below else limit.most + 1
    yield from (float("nan"), float("inf"), 10**400, True, "many", [], {"a": 1})
    if limit.whole:
        yield limit.least + 0.5


def test_every_number_of_the_recipe_has_a_range():
    def numbers(schema, place):
        for name, part in schema.get("properties", {}).items():
            parts = [part, *part.get("anyOf", ())]
            parts += [p["items"] for p in parts if "items" in p]
            for found in parts:
                if "$ref" in found:
                    section = Recipe.model_json_schema()["$defs"][found["$ref"].rpartition("/")[2]]
                    yield from numbers(section, f"{place}{name}.")
                elif found.get("type") in ("integer", "number"):
                    ends = (
                        {"minimum", "exclusiveMinimum"} & set(found),
                        {"maximum", "exclusiveMaximum"} & set(found),
                    )
                    yield f"{place}{name}", all(ends)

    ranges = dict(numbers(Recipe.model_json_schema(), ""))
    assert sorted(ranges) == KEYS
    assert all(ranges.values())


@pytest.mark.parametrize("key", KEYS)
def test_a_number_out_of_its_range_gets_one_line(key):
    for value in _outside(LIMITS[key]):
        with pytest.raises(InputError) as caught:
            parse_recipe(_set(key, value))
        message = str(caught.value)
        assert key in message
        assert "\n" not in message
        assert "; " in message
        assert len(message) < 400


@pytest.mark.parametrize("key", KEYS)
def test_the_example_of_a_range_is_taken(key):
    limit = LIMITS[key]
    value = int(limit.example) if limit.whole else limit.example
    extra = {
        "prune.rewind_to": {"freeze": 0.2},
        "prune.family": {"sparsity": 0.7},
        "plan.int8_budget": {"values": "int8"},
        "prune.speedup": {"sparsity": None, "granularity": "structured"},
    }.get(key, {})
    raw = _set(key, value)
    raw[key.split(".")[0]].update(extra)
    if key == "data.document_stride":  # of tasks whose texts are read in windows
        raw["model"]["task"], raw["data"]["max_length"], raw["kind"] = "question-answering", 384, "compress"
        del raw["distill"]
    if key == "train.average":
        raw["prune"]["freeze"] = value
    parse_recipe(raw)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.label", 2020, r"data\.label is 2020, which YAML does not read as a text; write it in quotes"),
        ("data.label", False, "write it in quotes"),
        ("data.text", "", r"data\.text is empty; give a value, or leave the key out"),
        ("train.bf16", 3, r"train\.bf16 is 3; write true or false"),
        ("prune.criterion", "luck", "choose one of platon, sensitivity, magnitude, movement, fisher"),
        ("prune.targets", [1], "write it in quotes"),
        ("bench.batch", [1] * 65, r"bench\.batch holds more than 64 entries"),
        ("bench.batch", [0], r"bench\.batch\.0 is 0; give a whole number from 1 to 16,384"),
        ("plan.batch", 16384, None),
        ("model.config", "vit", r"model\.config is 'vit'; it is a section"),
        ("prune.freeze_steps", 10, r"unknown key prune\.freeze_steps; did you mean freeze\?"),
        ("prune.batch_size", 10, r"unknown key prune\.batch_size; it belongs to train; known: sparsity"),
        ("train.average", 0.2, r"under one mask, and prune\.freeze is 0; set prune\.freeze to at least 0\.2"),
        ("prune.rewind_to", 0.5, r"but freeze is 0; set for example freeze: 0\.2"),
        ("prune.freeze", 0.5, r"lower freeze or raise final_warmup"),
        ("prune.final_warmup", 0.95, "together they must stay below 1"),
    ],
)
def test_a_wrong_value_names_its_cure(key, value, message):
    if message is None:
        parse_recipe(_set(key, value))
        return
    with pytest.raises(InputError, match=message):
        parse_recipe(_set(key, value))


@pytest.mark.parametrize("section", ["plan", "bench"])
def test_batch_times_tokens_has_a_limit_too(section):
    raw = _set(f"{section}.batch", 1000)
    raw[section]["tokens"] = 1049
    with pytest.raises(InputError, match=rf"{section}\.batch 1000 times {section}\.tokens 1049 is more than"):
        parse_recipe(raw)
    raw[section]["tokens"] = 1048
    parse_recipe(raw)


@pytest.mark.parametrize("value", [10**18, float("nan"), float("inf"), [1, {"deep": 1e30}]])
def test_a_model_of_any_size_is_refused(value):
    raw = copy.deepcopy(GOOD)
    raw["model"] = {"task": "text-classification", "config": {"model_type": "bert", "hidden_size": value}}
    with pytest.raises(InputError, match=r"model\.config: (hidden_size|deep) is .*; give a number from"):
        parse_recipe(raw)


def test_the_cure_of_a_rewind_works():
    raw = _set("prune.rewind_to", 0.5)
    raw["prune"]["freeze"] = 0.2
    assert parse_recipe(raw).prune.rewind_to == 0.5


def test_a_huge_value_is_not_spelled_out():
    with pytest.raises(InputError) as caught:
        parse_recipe(_set("train.seed", [[["x" * 1000] * 1000] * 1000] * 10))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("section", "content", "message"),
    [
        ("oneshot", {"sparsity": 0.5}, "the section oneshot is for compress, which trains nothing; leave it"),
        (
            "data",
            {**GOOD["data"], "calibration": "c.txt"},
            r"data\.calibration is for compress, which trains",
        ),
    ],
)
def test_what_prunes_without_training_is_refused_in_a_training(section, content, message):
    with pytest.raises(InputError, match=message):
        parse_recipe({**GOOD, section: content})


def _structured(**prune):
    raw = _set("prune.granularity", "structured")
    raw["prune"] = {"granularity": "structured", **prune}
    return raw


def test_a_speedup_takes_the_place_of_the_sparsity():
    recipe = parse_recipe(_structured(speedup=4))
    assert recipe.prune.sparsity == 0.75
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ({}, r"prune: sparsity is missing; add it, or one of speedup, family, masks_from in its place"),
        ({"sparsity": 0.5}, r"structured asks for a speed-up, and none is given; set for example speedup: 2"),
        ({"speedup": 2, "sparsity": 0.9}, r"sparsity 0\.9 and speedup 2 are both given; leave sparsity out"),
        (
            {"speedup": 2, "family": [0.3, 0.5]},
            "a family says how fast its members are, and speedup does too",
        ),
        ({"family": [0.3, 0.5], "per_millisecond": True}, "per_millisecond ranks single weights"),
        ({"speedup": 2, "granularity": "head"}, "speedup goes with granularity structured, and it is head"),
        ({"speedup": 2, "per_millisecond": True}, "per_millisecond ranks single weights"),
        ({"speedup": 1}, r"prune\.speedup is 1; give a number above 1 and at most 100"),
    ],
)
def test_what_does_not_go_with_a_speedup(prune, message):
    with pytest.raises(InputError, match=message):
        parse_recipe(_structured(**prune))


def test_a_family_counts_the_time_too():
    recipe = parse_recipe(_structured(family=[0.3, 0.5]))
    assert recipe.prune.counts_time
    assert recipe.prune.sparsity == 0.5
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def test_a_speedup_is_one_on_the_cpu():
    raw = _structured(speedup=2)
    raw["plan"] = {"device": "cuda"}
    with pytest.raises(
        InputError, match=r"structured models gain is measured on the CPU, and plan\.device is cuda"
    ):
        parse_recipe(raw)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"prune": {"sparsity": 0.9}},
            r"masks_from takes the masks as they are, and sparsity is 0\.9; leave one",
        ),
        ({"prune": {"freeze": 0.2}}, r"masks_from takes the masks as they are, and freeze is 0\.2"),
        ({"prune": {"family": [0.5, 0.9]}}, "masks_from takes the masks as they are, and sparsity is"),
        (
            {"budget": {"min_speedup": 2}},
            "masks_from has its sparsity already, so there is nothing to search",
        ),
    ],
)
def test_masks_that_are_taken_over_leave_nothing_to_choose(sections, message):
    raw = {**GOOD, **sections, "prune": {"masks_from": "runs/a", **sections.get("prune", {})}}
    with pytest.raises(InputError, match=message):
        parse_recipe(raw)
    assert parse_recipe({**GOOD, "prune": {"masks_from": "runs/a"}}).prune.sparsity is None
    held = parse_recipe(
        {**GOOD, "prune": {"masks_from": "runs/a", "epochs": 2, "learning_rate": 4e-4, "dropout": 0}}
    ).prune
    assert (held.epochs, held.learning_rate, held.dropout) == (2, 4e-4, 0)
