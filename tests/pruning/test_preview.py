import json

import pytest

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner, preview
from platon_compress.testing import tiny_transformer


@pytest.mark.parametrize("criterion", ["platon", "sensitivity", "magnitude", "movement", "fisher"])
def test_says_what_the_pruner_then_holds(criterion):
    model, _ = tiny_transformer("bert")
    config = PruneConfig(sparsity=0.9, mask_interval=2, criterion=criterion)
    listing = preview(model, config, total_steps=100)
    pruner = Pruner(model, config.resolved(100))
    memory = pruner.memory_bytes()
    assert [row.name for row in listing.rows] == list(pruner.names)
    assert listing.weights == pruner.size
    assert listing.state_bytes == memory["states"] + memory["masks"]
    assert (listing.first_mask, listing.final_step) == (12, 71)


def test_text_has_every_parameter_the_plot_and_the_sums():
    model, _ = tiny_transformer("bert")
    listing = preview(model, PruneConfig(sparsity=0.9, total_steps=100, granularity="neuron"))
    text = listing.to_text()
    assert text.count("intermediate.dense.weight") == 2
    assert "attention" not in text
    assert "  90% |" in text
    assert "first mask at 20, full sparsity from 71" in text
    assert "8,192 of" in text
    rows = [line for line in text.splitlines() if "% |" in line]
    filled = [row.count("#") for row in rows]
    assert filled == sorted(filled)
    assert json.loads(json.dumps(listing.to_dict()))["weights"] == 8192


def test_needs_the_length_of_the_run():
    with pytest.raises(InputError, match="total_steps is not set"):
        preview(tiny_transformer("bert")[0], PruneConfig(sparsity=0.5))
