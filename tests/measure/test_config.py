import json

import pytest

from platon_compress.errors import InputError
from platon_compress.measure.config import BenchConfig


def test_round_trip():
    config = BenchConfig(batch=(1, 16), tokens=(64,), threads=2)
    assert BenchConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_one_size_and_repeated_sizes():
    config = BenchConfig(batch=4, tokens=[32, 32, 128])
    assert (config.batch, config.tokens) == ((4,), (32, 128))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"batch": ()}, "batch is empty"),
        ({"tokens": (0,)}, "tokens must be a whole number >= 1, got 0"),
        ({"runs": 0}, "runs must be a whole number >= 1"),
        ({"warmup": -1}, "warmup must be a whole number >= 0"),
        ({"cold_runs": 1.5}, "cold_runs must be a whole number >= 0, got 1.5"),
        ({"threads": 0}, "threads must be a whole number >= 1"),
        ({"device": "tpu"}, "unknown device 'tpu'; choose one of cpu, cuda"),
        ({"pause_seconds": -0.1}, r"pause_seconds must lie in \[0, 10\]"),
        ({"round_seconds": 0}, "round_seconds must be above 0 or None, got 0; 0.4 is the default"),
    ],
)
def test_bad_settings_are_refused(bad, message):
    with pytest.raises(InputError, match=message):
        BenchConfig(**bad)


def test_unknown_key_is_refused():
    with pytest.raises(InputError, match="unknown benchmark setting 'batches'; known: batch, tokens"):
        BenchConfig.from_dict({"batches": [1]})
