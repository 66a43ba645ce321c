"""PlanConfig: limits, and its way through JSON."""

import json
from pathlib import Path

import pytest

from platon_compress.errors import InputError
from platon_compress.planning import Form, PlanConfig


def test_defaults():
    config = PlanConfig(tokens=128, batch=2)
    assert config.rows == 256
    assert config.used_threads >= 1
    assert PlanConfig(tokens=1, threads=3).used_threads == 3


def test_round_trip_through_json():
    config = PlanConfig(tokens=64, batch=8, threads=2, cost_table=Path("t.json"), force=Form.CSR)
    assert PlanConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_text_becomes_a_form_and_a_path():
    config = PlanConfig(tokens=1, force="csr", cost_table="t.json")
    assert config.force is Form.CSR
    assert config.cost_table == Path("t.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": 0}, "tokens is 0; give a whole number from 1 to"),
        ({"tokens": 1.5}, "tokens is 1.5; give a whole number from 1 to"),
        ({"tokens": True}, "tokens is True; give a whole number from 1 to"),
        ({"tokens": 1, "batch": -1}, "batch is -1; give a whole number from 1 to"),
        ({"tokens": 1, "batch": None}, "batch is None; give a whole number from 1 to"),
        ({"tokens": 1, "threads": 0}, "threads is 0; give a whole number from 1 to"),
        ({"tokens": 1, "device": "tpu"}, "device must be 'cpu' or 'cuda', got 'tpu'"),
        ({"tokens": 1, "min_speedup": 0.5}, "min_speedup must be >= 1, got 0.5"),
        ({"tokens": 1, "min_speedup": float("nan")}, "min_speedup must be >= 1, got nan"),
        ({"tokens": 1, "force": "coo"}, "force must be one of dense, structured, csr, got 'coo'"),
    ],
)
def test_limits(fields, message):
    with pytest.raises(InputError, match=message):
        PlanConfig(**fields)


def test_unknown_field_is_refused():
    with pytest.raises(InputError, match=r"the plan's config .* does not fit: .*tokenz"):
        PlanConfig.from_dict({"tokenz": 1})
