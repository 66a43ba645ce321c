import json
from pathlib import Path

import pytest

from platon_compress.errors import InputError
from platon_compress.schemas import SCHEMAS, require_kind, require_known, stamped

ROOT = Path(__file__).parents[1]


def test_a_stamped_result_is_read_again():
    result = stamped("plan", {"layers": []})
    assert list(result) == ["kind", "schema", "layers"]
    assert require_kind(result, "plan", "plan.json", "plan again") is result


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1], "^x.json holds a list, not a JSON object; do it again$"),
        ({"version": 1}, r"^x.json names no kind of result \(None\); do it again$"),
        ({"kind": ["plan"], "schema": 1}, "names no kind of result"),
        ({"kind": "plan", "schema": 9}, "^x.json has schema 9, this release reads 2 of plan; do it again$"),
        ({"kind": "plan", "schema": True}, "has schema True"),
        ({"kind": "plan"}, "has schema None"),
        (stamped("parity", {}), "^x.json holds a result of the kind parity, not plan; do it again$"),
    ],
)
def test_anything_else_is_refused_in_one_line(data, message):
    with pytest.raises(InputError, match=message):
        require_kind(data, "plan", "x.json", "do it again")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks" / "results").glob("*.json")), ids=lambda p: p.stem
)
def test_committed_results_say_what_they_are(path):
    assert require_known(json.loads(path.read_text()), path.name, "measure again") in SCHEMAS


def test_the_shipped_cost_table_says_what_it_is():
    path = ROOT / "platon_compress" / "planning" / "default_cost_table.json"
    require_kind(json.loads(path.read_text()), "cost-table", path.name, "calibrate again")
