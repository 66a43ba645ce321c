"""What unit_costs.json may hold."""

import pytest

from platon_compress.errors import InputError
from platon_compress.pruning.unit_costs import UnitCosts

WRITTEN = {"rest_seconds": 0.5, "curves": {"4 neurons in 8": [[0, 0.0], [2, 0.1], [4, 0.2]]}}


def test_written_costs_are_read_back():
    assert UnitCosts.from_dict(WRITTEN).to_dict() == WRITTEN


@pytest.mark.parametrize(
    "change",
    [
        {"rest_seconds": 10**400},
        {"rest_seconds": "x"},
        {"curves": 3},
        {"curves": {"a": [[float("inf"), 0.1]]}},
        {"curves": {"a": [[0, 0.0], [1, 10**400]]}},
        {"curves": {"a": [[0, 0.0, 1]]}},
        {"curves": {"a": None}},
    ],
)
def test_other_content_is_refused(change):
    with pytest.raises(InputError, match="unit costs"):
        UnitCosts.from_dict({**WRITTEN, **change})
