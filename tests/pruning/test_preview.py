import json

import pytest

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.pruning.preview import preview
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
    weights = sum(p.numel() for p in model.parameters())
    assert listing.memory_bytes == {
        "weights": 4 * weights, "gradients": 4 * weights, "AdamW": 8 * weights, "pruner": listing.state_bytes
    }  # fmt: skip


def test_frozen_weights_need_no_gradients():
    model, _ = tiny_transformer("bert")
    frozen = model.get_input_embeddings().weight.requires_grad_(False)
    memory = preview(model, PruneConfig(sparsity=0.9, total_steps=100)).memory_bytes
    assert memory["gradients"] == memory["weights"] - 4 * frozen.numel()


@pytest.mark.parametrize("family", ["bert", "deberta-v3", "dinov2-registers", "modernbert"])
@pytest.mark.parametrize("steps", [20, 540, 123_456])
def test_every_line_fits_a_terminal_of_80_columns(family, steps):
    model, _ = tiny_transformer(family)
    config = PruneConfig(
        sparsity=0.9, total_steps=steps, freeze_steps=steps // 10, rewind_to=0.25, mask_interval=10
    )
    text = preview(model, config).to_text()
    assert max(map(len, text.splitlines())) <= 79


def test_the_axis_names_the_steps_where_something_begins():
    model, _ = tiny_transformer("bert")
    config = PruneConfig(sparsity=0.9, total_steps=540, mask_interval=2, freeze_steps=54, rewind_to=0.5)
    listing = preview(model, config)
    lines = listing.to_text().splitlines()
    dashes = next(i for i, line in enumerate(lines) if line.endswith("---"))
    assert lines[dashes + 1].split() == ["1", "56", "379", "487", "540"]
    assert len(lines[dashes + 1]) == len(lines[dashes])
    rising = next(line for line in reversed(lines[:dashes]) if "#" in line)
    assert (
        abs(rising.index("#") - lines[dashes + 1].index("56")) <= 4
    )  # the lowest level is reached soon after
    assert "mask frozen from 487, learning rate back to that of step 271" in lines


def test_what_the_pruner_would_warn_of_is_said():
    model, _ = tiny_transformer("bert")
    short, long = (preview(model, PruneConfig(sparsity=0.9, total_steps=n)) for n in (100, 10_000))
    assert "lower the betas, or train longer" in short.warnings[0]
    assert "warning: the averages remember" in short.to_text()
    assert long.warnings == ()


def test_text_has_every_parameter_the_plot_and_the_sums():
    model, _ = tiny_transformer("bert")
    listing = preview(
        model, PruneConfig(sparsity=0.9, total_steps=100, granularity="neuron", group_multiple=1)
    )
    text = listing.to_text()
    assert text.startswith(
        "bert.encoder.layer.*.\n  intermediate.dense   2 x 64x32             4,096\n  output.dense"
    )
    assert "attention" not in text
    assert "  90% |" in text
    assert "first mask at 20, full sparsity from 71" in text
    assert "8,192 of" in text
    assert "are prunable, 7,372 go" in text
    rows = [line for line in text.splitlines() if "% |" in line]
    filled = [row.count("#") for row in rows]
    assert filled == sorted(filled)
    assert json.loads(json.dumps(listing.to_dict()))["weights"] == 8192


def test_needs_the_length_of_the_run():
    with pytest.raises(InputError, match="total_steps is not set"):
        preview(tiny_transformer("bert")[0], PruneConfig(sparsity=0.5))


@pytest.mark.parametrize(
    "settings", [{"granularity": "head", "sparsity": 0.99}, {"granularity": "neuron", "group_multiple": 4096}]
)
def test_what_the_pruner_would_refuse_is_refused(settings):
    """Rule: a sparsity out of reach of whole groups is found before the dense training, not after it."""
    model, _ = tiny_transformer("bert")
    with pytest.raises(InputError, match="out of reach with granularity"):
        preview(model, PruneConfig(**{"sparsity": 0.9, **settings}, total_steps=100))
