import json

import pytest

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity must lie in \[0, 1\), got 1.0; 0.9 keeps one weight in ten"),
        ({"sparsity": -0.1}, r"sparsity must lie in \[0, 1\), got -0.1"),
        ({"sparsity": float("nan")}, r"sparsity must lie in \[0, 1\), got nan"),
        ({"sparsity": "most"}, r"sparsity must be a number, got 'most'"),
        ({"mask_interval": 0}, "mask_interval must be a whole number >= 1, got 0"),
        ({"total_steps": 2.5}, "total_steps must be a whole number >= 1, got 2.5"),
        ({"initial_warmup_steps": -1}, "initial_warmup_steps must be a whole number >= 0, got -1"),
        ({"group_multiple": 0}, "group_multiple must be a whole number >= 1, got 0"),
        ({"beta1": 1.0}, r"beta1 must lie in \[0, 1\), got 1.0"),
        ({"beta2": 2.0}, r"beta2 must lie in \[0, 1\), got 2.0"),
        ({"criterion": "luck"}, "unknown criterion 'luck'; choose one of platon, sens"),
        ({"granularity": "row"}, "unknown granularity 'row'; choose one of element, 4x1, 2:4, head"),
        (
            {"reference_compat": True, "granularity": "head"},
            "reference_compat goes with granularity='element', got 'head'",
        ),
        ({"reference_compat": True, "beta2": 0.0}, "reference_compat needs beta2 above 0"),
        ({"reference_compat": True, "criterion": "fisher"}, "reference_compat goes with criterion='platon'"),
        ({"schedule": "linear"}, "unknown schedule 'linear'; choose one of cubic, one_shot, constant"),
        ({"scope": "head"}, "unknown scope 'head'; choose one of global, layer, type"),
        ({"granularity": "2:4"}, "'2:4' prunes exactly half of the weights, got sparsity 0.9; set 0.5"),
        ({"granularity": "head", "scope": "layer"}, "scope, max_layer_sparsity and bounds rank single"),
        ({"max_layer_sparsity": 0.5}, "max_layer_sparsity 0.5 goes with .* between sparsity 0.9 and 1"),
        ({"start_sparsity": 0.9}, r"start_sparsity must lie below sparsity, 0.9, got 0.9; lower it"),
        ({"start_sparsity": -0.1}, r"start_sparsity must lie below sparsity, 0.9, got -0.1"),
        ({"start_sparsity": "half"}, r"start_sparsity must be a number, got 'half'"),
        (
            {"start_sparsity": 0.5, "family": (0.5, 0.9)},
            r"must lie below the first of the family, 0.5, got 0.5",
        ),
        ({"start_sparsity": 0.5, "schedule": "one_shot"}, "goes with schedule='cubic', got 'one_shot'"),
        ({"bounds": {}}, "bounds map names to a least and a greatest sparsity, got {}; write"),
        ({"bounds": {"a": 0.5}}, "bounds of 'a' must be two sparsities, the least and the greatest, got 0.5"),
        ({"bounds": {"a": (0.5, 0.4)}}, r"bounds of 'a' must be two sparsities, .* got \(0.5, 0.4\)"),
        (
            {"bounds": {"a": (0, 1)}, "granularity": "4x1"},
            "max_layer_sparsity and bounds rank single weights",
        ),
        ({"bounds": {"a": (0, 1)}, "scope": "layer"}, "bounds go with scope 'global', got scope 'layer'"),
        ({"bounds": {"a": (0, 1)}, "reference_compat": True}, "without max_layer_sparsity and bounds"),
        ({"max_layer_sparsity": 0.95, "reference_compat": True}, "without max_layer_sparsity and bounds"),
        ({"total_steps": 100, "freeze_steps": 31}, "freeze_steps 31 exceeds final_warmup_steps 30"),
        ({"total_steps": 100, "rewind_to": 0.5}, "rewinds when the mask freezes, but freeze_steps is 0"),
        (
            {"total_steps": 100, "freeze_steps": 20, "rewind_to": "x"},
            "must be a fraction of the run, got 'x'",
        ),
        (
            {"total_steps": 100, "freeze_steps": 20, "rewind_to": 0.8},
            "rewind_to 0.8 of total_steps 100 does not come before the frozen steps, which begin at 80",
        ),
        ({"total_steps": 5, "mask_interval": 10}, "mask_interval 10 exceeds total_steps 5"),
        (
            {"total_steps": 100, "initial_warmup_steps": 50, "final_warmup_steps": 50},
            "nothing would be pruned gradually: .* leave no step of total_steps 100",
        ),
        (
            {"total_steps": 10, "initial_warmup_steps": 10, "reference_compat": True, "mask_interval": 1},
            "nothing would be pruned gradually",
        ),
        (
            {"total_steps": 105, "final_warmup_steps": 0},
            "final_warmup_steps 0 and total_steps 105, no multiple of mask_interval 10",
        ),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        PruneConfig(**{"sparsity": 0.9, **settings})


def test_unknown_and_missing_settings():
    with pytest.raises(InputError, match="unknown pruning setting 'sparcity'; known are beta1"):
        PruneConfig.from_dict({"sparcity": 0.9})
    with pytest.raises(InputError, match="hold no sparsity"):
        PruneConfig.from_dict({})


def test_settings_are_keyword_only_and_frozen():
    with pytest.raises(TypeError):
        PruneConfig(0.9)
    with pytest.raises(AttributeError):
        PruneConfig(sparsity=0.9).sparsity = 0.5


def test_defaults_follow_the_length_of_the_run():
    config = PruneConfig(sparsity=0.9).resolved(1000)
    assert (config.total_steps, config.initial_warmup_steps, config.final_warmup_steps) == (1000, 100, 300)
    assert PruneConfig(sparsity=0.9, total_steps=50).resolved(1000).total_steps == 50


def test_length_must_be_known_in_the_end():
    with pytest.raises(InputError, match=r"total_steps is not set; .* PlatonCallback"):
        PruneConfig(sparsity=0.9).resolved()


def test_round_trip():
    config = PruneConfig(sparsity=0.9, targets=["a", "b"], ignore="c", total_steps=100)
    assert config.targets == ("a", "b")
    assert PruneConfig.from_dict(config.to_dict()) == config
    bounded = PruneConfig(sparsity=0.9, bounds={"a": [0, 0.95]})
    assert bounded.bounds == {"a": (0, 0.95)}
    assert PruneConfig.from_dict(json.loads(json.dumps(bounded.to_dict()))) == bounded


def test_kept_multiple():
    assert PruneConfig(sparsity=0.5, granularity="neuron").kept_multiple == 8
    assert PruneConfig(sparsity=0.5, granularity="head").kept_multiple == 1
    assert PruneConfig(sparsity=0.5, granularity="neuron", group_multiple=16).kept_multiple == 16
