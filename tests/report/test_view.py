"""What stands on top of the page, and the key numbers."""

import pytest
from sample_runs import bench, run

from platon_compress.planning import Form
from platon_compress.report.cards import key_cards
from platon_compress.report.heading import run_origin, run_subtitle, run_title
from platon_compress.report.plots import training_plot
from platon_compress.report.words import CARDS, FORMS, SHORT_FORMS, SHORT_VARIANTS, VARIANTS


def cards(*arguments, **changes):
    return {card.label: (card.value, card.detail) for card in key_cards(run(*arguments, **changes))}


@pytest.mark.parametrize(
    ("recipe", "title"),
    [
        (
            {"model": {"config": {"model_type": "vit"}}, "data": {"dataset": "builtin:digits"}},
            "ViT on digits",
        ),
        (
            {
                "model": {"name": "package:mini-lm"},
                "data": {"dataset": "nyu-mll/glue", "dataset_config": "sst2"},
            },
            "mini-lm on sst2",
        ),
        (
            {
                "model": {"name": "models/my-bert", "task": "text-classification"},
                "data": {"validation": "dev.tsv"},
            },
            "models/my-bert (text classification)",
        ),
        ({"model": {"name": "./a/b/roberta"}}, "roberta"),
        ({"model": {"name": "some-org/some-model"}}, "some-org/some-model"),
        ({}, "run"),
    ],
)
def test_titles_say_which_model_and_which_task(recipe, title):
    assert run_title(run(bench([2.0]), recipe=recipe)) == title


@pytest.mark.parametrize(
    ("prune", "words"),
    [({}, "pruned with PLATON"), ({"criterion": "fisher"}, "pruned by fisher")],
)
def test_the_subtitle_names_the_criterion(prune, words):
    recipe = {"model": {"task": "text-classification"}, "prune": prune}
    said = run_subtitle(run(bench([2.0]), kind="run", recipe=recipe))
    assert said == f"text-classification, {words} and compressed for ONNX Runtime"


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("demo", "platon-compress demo"),
        ("run", "platon-compress run recipe.yaml -o run"),
        ("compress", "platon-compress compress my/model -o run"),
    ],
)
def test_origin_names_run_date_and_command(kind, command):
    data = bench([2.0], environment={"timestamp": "2026-01-02T03:04:05+00:00"})
    origin = run_origin(run(data, kind=kind, recipe={"model": {"name": "my/model"}}))
    assert origin == {"run": "run", "measured": "2026-01-02 03:04", "command": command}


def test_cards_hold_ranges_and_intervals():
    found = cards(bench([2.4, 2.7], [1.4, 1.4]))
    assert found[CARDS["speed"]] == ("2.40-2.70x", "95 %: 2.38 to 2.72, 2 settings: faster")
    assert found[CARDS["speed_int8"]] == ("1.40x", "95 %: 1.38 to 1.42, 2 settings: faster")
    assert found["Accuracy"] == ("84.0%", "-1.0 ± 3.4 points against dense")


def test_cards_say_what_is_not_decided():
    data = bench([2.4, 1.0])
    assert cards(data)[CARDS["speed"]][1].endswith("2 settings: varies by setting")
    data["settings"][0]["ratios"][0].update(low=None, high=None, statement="undecided")
    assert cards(data)[CARDS["speed"]][1] == "2 settings: undecided, too few pairs"
    assert cards(data, ours=None)[CARDS["metric"]][0] == "not measured"


@pytest.mark.parametrize(("passed", "value"), [(True, "yes"), (False, "NO")])
def test_parity_is_said_in_plain_words(passed, value):
    parity = {"rows": [{"pair": "a", "max_abs": 1e-6}], "passed": passed, "examples": 64}
    expected = (value, "against the pruned model on 64 examples, largest difference 1.0e-06")
    assert cards(bench([2.0]), parity=parity)[CARDS["parity"]] == expected


def test_every_form_and_variant_has_its_words():
    assert set(FORMS) == set(SHORT_FORMS) == {str(form) for form in Form}
    assert set(VARIANTS) == set(SHORT_VARIANTS)


@pytest.mark.parametrize(
    ("granularity", "schedule", "title"),
    [("element", "sparsity", "sparsity"), ("structured", "share of time removed", "share of zeros")],
)
def test_the_training_plot_says_what_its_schedule_counts(granularity, schedule, title):
    rows = [{"step": step, "sparsity": 0.1 * step, "achieved_sparsity": 0.2 * step} for step in range(1, 4)]
    plot = training_plot({}, {"history": rows, "metric": "accuracy", "granularity": granularity})
    assert plot.caption.endswith(f"Wide grey line: scheduled {schedule}.")
    assert plot.alt.startswith(f"{title} over the training steps")
