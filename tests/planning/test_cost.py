"""The cost table: schema, and the rules by which it answers."""

import json

import pytest

from platon_compress.errors import InputError
from platon_compress.planning import CostTable
from platon_compress.planning import cost as cost_module


def _row(out=768, in_=768, rows=128, threads=2, density=0.1, dense=8e-3, csr=2e-3):
    return {
        "out": out,
        "in": in_,
        "density": density,
        "rows": rows,
        "threads": threads,
        "dense_seconds": dense,
        "csr_seconds": csr,
    }


def _table(*rows, **fields):
    data = {
        "kind": "cost-table",
        "schema": 2,
        "cpu": "test",
        "isa": "scalar",
        "onnxruntime": "1.31.1",
        "rows": list(rows),
    }
    return CostTable.from_dict({**data, **fields}, source="test.json")


def test_a_measured_point_is_answered_as_measured():
    table = _table(_row())
    assert table.speedup(768, 768, 0.1, 128, 2) == pytest.approx(4)
    assert table.estimate(768, 768, 0.1, 128, 2).csr_seconds == pytest.approx(2e-3)


def test_density_is_linear_between_points_and_an_upper_bound_below_them():
    table = _table(_row(density=0.1, csr=2e-3), _row(density=0.3, csr=6e-3))
    assert table.speedup(768, 768, 0.2, 128, 2) == pytest.approx(2)
    assert table.speedup(768, 768, 0.01, 128, 2) == pytest.approx(4)
    assert table.speedup(768, 768, 0.0, 128, 2) == pytest.approx(4)


def test_density_above_the_table_is_unknown():
    table = _table(_row(density=0.1), _row(density=0.3))
    assert table.speedup(768, 768, 0.3, 128, 2) is not None
    assert table.speedup(768, 768, 0.31, 128, 2) is None


def test_the_nearest_cell_in_log_space_answers():
    table = _table(_row(out=256, csr=4e-3), _row(out=1024, csr=1e-3))
    assert table.estimate(500, 768, 0.1, 128, 2).cell[0] == 256
    assert table.estimate(520, 768, 0.1, 128, 2).cell[0] == 1024


def test_out_and_in_are_not_exchanged():
    table = _table(_row(out=768, in_=3072, csr=4e-3), _row(out=3072, in_=768, csr=2e-3))
    assert table.speedup(768, 3072, 0.1, 128, 2) == pytest.approx(2)
    assert table.speedup(3072, 768, 0.1, 128, 2) == pytest.approx(4)


def test_seconds_are_scaled_by_the_work_and_the_ratio_is_not():
    found = _table(_row()).estimate(1536, 768, 0.1, 256, 2)
    assert found.dense_seconds == pytest.approx(4 * 8e-3)
    assert found.speedup == pytest.approx(4)


@pytest.mark.parametrize(
    ("question", "known"),
    [
        ((3072, 768, 128, 2), True),
        ((3080, 768, 128, 2), False),
        ((768, 192, 128, 2), True),
        ((768, 190, 128, 2), False),
        ((768, 768, 512, 2), True),
        ((768, 768, 513, 2), False),
        ((768, 768, 128, 4), True),
        ((768, 768, 128, 1), True),
        ((768, 768, 128, 5), False),
    ],
)
def test_what_is_too_far_is_unknown(question, known):
    out_features, in_features, rows, threads = question
    found = _table(_row()).speedup(out_features, in_features, 0.1, rows, threads)
    assert (found is not None) == known


def test_dense_seconds_of_a_cell_are_the_median_of_its_rows():
    table = _table(*[_row(density=d, dense=s) for d, s in ((0.1, 1e-3), (0.2, 2e-3), (0.3, 9e-3))])
    assert table.estimate(768, 768, 0.2, 128, 2).dense_seconds == pytest.approx(2e-3)


def test_load_reads_what_calibrate_writes(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(
        json.dumps(
            {
                "kind": "cost-table",
                "schema": 2,
                "cpu": "c",
                "isa": "avx2",
                "onnxruntime": "1",
                "rows": [_row()],
            }
        )
    )
    table = CostTable.load(path)
    assert (table.cpu, table.isa, table.source) == ("c", "avx2", str(path))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.json: .*No such file.*calibrate"):
        CostTable.load(tmp_path / "none.json")


@pytest.mark.parametrize("text", ["{", "[" * 5000])
def test_file_that_is_not_json_is_refused(tmp_path, text):
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"cannot read .*t\.json: .*calibrate"):
        CostTable.load(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "the cost table t holds a list, not a JSON object"),
        (
            {"kind": "cost-table", "schema": 9, "rows": [_row()]},
            "has schema 9, this release reads 2 of cost-table; write it again",
        ),
        ({"kind": "cost-table", "schema": 2}, "has no rows; write it again"),
        ({"kind": "cost-table", "schema": 2, "rows": []}, "has no rows"),
        ({"kind": "cost-table", "schema": 2, "rows": "abc"}, "has no rows"),
        ({"kind": "cost-table", "schema": 2, "rows": [3]}, "row 0 of the cost table t is not an object: 3"),
        (
            {"kind": "cost-table", "schema": 2, "rows": [_row(), _row(out=0)]},
            "row 1 of the cost table t has out = 0, not above 0",
        ),
        ({"kind": "cost-table", "schema": 2, "rows": [_row(rows=1.5)]}, "has rows = 1.5"),
        ({"kind": "cost-table", "schema": 2, "rows": [_row(threads=True)]}, "has threads = True"),
        ({"kind": "cost-table", "schema": 2, "rows": [_row(csr="1")]}, "has csr_seconds = '1'"),
        ({"kind": "cost-table", "schema": 2, "rows": [_row(dense=float("nan"))]}, "has dense_seconds = nan"),
        (
            {"kind": "cost-table", "schema": 2, "rows": [_row(dense=10**400)]},
            "has dense_seconds = 10+, not above 0",
        ),
        ({"kind": "cost-table", "schema": 2, "rows": [_row(rows=2**60)]}, "has rows = 11529"),
        ({"kind": "cost-table", "schema": 2, "rows": [_row(density=-0.1)]}, "has density = -0.1"),
        ({"kind": "cost-table", "schema": 2, "rows": [_row(density=1.5)]}, "has density 1.5, above 1"),
        ({"kind": "cost-table", "schema": 2, "rows": [{"out": 1}]}, "has in = None"),
    ],
)
def test_schema(data, message):
    with pytest.raises(InputError, match=message):
        CostTable.from_dict(data, source="t")


def _library(monkeypatch, *, names=("scalar", "avx2"), taken):
    monkeypatch.setattr(cost_module, "kernel_names", lambda: names)
    monkeypatch.setattr(cost_module, "selected_kernel", lambda: taken)


SHIPPED = {"kind": "cost-table", "schema": 2, "isa": "avx2", "rows": [_row()]}


def test_the_shipped_table_speaks_for_a_library_that_takes_its_kernels_or_better(monkeypatch):
    _library(monkeypatch, taken="avx2")
    assert CostTable.from_dict(SHIPPED).unfit() is None
    _library(monkeypatch, names=("scalar", "avx2", "avx512"), taken="avx512")
    assert CostTable.from_dict(SHIPPED).unfit() is None


def test_a_library_with_other_kernels_is_asked_not_the_processor(monkeypatch):
    """A build with portable kernels only, on a processor that has AVX2."""
    _library(monkeypatch, names=("scalar",), taken="scalar")
    reason = "is for avx2 kernels, the library takes scalar here; run `platon-compress calibrate`"
    assert CostTable.from_dict(SHIPPED).unfit().endswith(reason)
    assert CostTable.from_dict(SHIPPED, source="mine.json").unfit() is None
    assert CostTable.from_dict({**SHIPPED, "isa": "scalar"}).unfit() is None


def test_a_forced_kernel_set_counts(monkeypatch):
    monkeypatch.setenv("PLATON_FORCE_ISA", "scalar")
    assert "the library takes scalar here" in CostTable.from_dict(SHIPPED).unfit()


def test_a_library_that_cannot_be_loaded_has_no_kernels(monkeypatch):
    def missing():
        raise InputError("it is not built")

    monkeypatch.setattr(cost_module, "selected_kernel", missing)
    assert CostTable.from_dict(SHIPPED).unfit().endswith("avx2 kernels, and here are none: it is not built")


def test_tables_of_the_schema_before_are_read():
    old = {key if key != "rows" else "tokens": value for key, value in _row().items()}
    table = CostTable.from_dict({**SHIPPED, "schema": 1, "rows": [old]})
    assert table.rows == CostTable.from_dict(SHIPPED).rows
    with pytest.raises(InputError, match="row 0 of the cost table shipped has rows = None"):
        CostTable.from_dict({**SHIPPED, "schema": 1, "rows": [{"out": 1, "in": 1}]})
    with pytest.raises(InputError, match="is not an object: 3"):
        CostTable.from_dict({**SHIPPED, "schema": 1, "rows": [3]})


def test_the_shipped_table_fits_the_schema():
    table = CostTable.load()
    assert table.source == "shipped"
    assert {row.threads for row in table.rows} >= {1, 2}
    assert table.isa == "avx2"
    assert table.speedup(768, 768, 0.1, 128, 2) is not None
