"""The study of checkpoints on a tiny model: what it counts, and what it refuses."""

import pytest
from checkpoint import MEASURES, run_checkpoint_study

from platon_compress.errors import InputError

TINY = {
    "vocab_size": 50, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 32,
}  # fmt: skip


@pytest.mark.multiprocess
def test_both_files_are_opened_in_turn_and_counted():
    report = run_checkpoint_study(rounds=2, sizes=TINY)
    assert report["bytes"]["compressed"] < 0.4 * report["bytes"]["dense"]
    for measure in MEASURES:
        assert {side: len(times) for side, times in report["samples"][measure].items()} == {
            "dense": 2,
            "compressed": 2,
        }
        assert report["ratios"][measure]["pairs"] == 2
    samples = report["samples"]
    for side in ("dense", "compressed"):
        pairs = zip(samples["load_seconds"][side], samples["answer_seconds"][side], strict=True)
        assert all(load < answer for load, answer in pairs)


@pytest.mark.parametrize("wrong", [{"sparsity": 0.0}, {"sparsity": 1.0}, {"rounds": 0}])
def test_what_measures_nothing_is_refused(wrong):
    with pytest.raises(InputError, match=r"measure nothing; give 0\.9 and 15"):
        run_checkpoint_study(**wrong)
