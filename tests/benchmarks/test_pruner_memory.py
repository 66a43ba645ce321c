"""Memory of the pruner as the operating system sees it, in processes with and without one."""

import json

import pytest
from pruner_memory import PrunerMemoryConfig, PrunerMemoryReport, run_pruner_memory

from platon_compress.errors import CheckFailedError, InputError


@pytest.mark.multiprocess
def test_three_floats_a_byte_and_little_else():
    """14 million weights: the buffers of a fixed size weigh more than at full size, so the limits are wide.

    Another float32 per weight would add 0.33 to either share, a copy of the state at a save 1.08.
    """
    report = run_pruner_memory(PrunerMemoryConfig(layers=2))
    assert report.weights == 2 * (4 * 768**2 + 2 * 768 * 3072)
    assert -0.02 < report.transient_share < 0.3
    assert report.save_share < 0.3
    row = json.loads(json.dumps(report.to_dict()))
    assert row["bytes_per_weight"] == pytest.approx(13 + 12 * row["transient_share"])


def test_shares_are_of_the_states():
    report = PrunerMemoryReport(
        config=PrunerMemoryConfig(),
        weights=100,
        bare_peak_bytes=1000,
        steps_peak_bytes=2420,
        save_peak_bytes=3500,
    )
    assert report.state_bytes == 1200
    assert report.transient_share == pytest.approx(0.1)
    assert report.save_share == pytest.approx(1.0)


def test_bad_settings():
    with pytest.raises(InputError, match="layers must be >= 1, got 0; correct the setting"):
        PrunerMemoryConfig(layers=0)


@pytest.mark.multiprocess
def test_a_process_that_fails_is_an_error():
    with pytest.raises(CheckFailedError, match="the 'bare' process of the memory benchmark ended with 1"):
        run_pruner_memory(PrunerMemoryConfig(layers=1, heads=7))
