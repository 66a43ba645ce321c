"""From a recipe's fractions to steps, and back to the recipe's words where they do not fit."""

import pytest

from platon_compress.errors import InputError
from platon_compress.recipe import PruneSection
from platon_compress.tasks.training import prune_config


@pytest.mark.parametrize(
    ("settings", "steps", "message"),
    [
        ({"mask_interval": 50}, 16, r"^prune: mask_interval 50 exceeds the run's 16 steps, .* to at most 1$"),
        ({"final_warmup": 0, "mask_interval": 10}, 23, "give final_warmup at least one step"),
        ({"granularity": "2:4"}, 100, "prune: granularity '2:4' prunes exactly half"),
        ({"max_layer_sparsity": 0.5}, 100, "max_layer_sparsity 0.5 goes with scope"),
        ({"granularity": "head", "scope": "layer"}, 100, "set granularity='element' or leave them out"),
    ],
)
def test_what_does_not_fit_is_said_in_the_recipes_words(settings, steps, message):
    with pytest.raises(InputError, match=message) as caught:
        prune_config(PruneSection(sparsity=0.9, **settings), steps)
    assert "_steps" not in str(caught.value)


def test_fractions_become_steps():
    config = prune_config(PruneSection(sparsity=0.9, freeze=0.25, mask_interval=4), 200)
    assert (config.initial_warmup_steps, config.final_warmup_steps, config.freeze_steps) == (20, 60, 50)
    assert (config.total_steps, config.mask_interval) == (200, 4)
