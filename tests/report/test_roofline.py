"""The roofline plot: what it draws, what it refuses, and that the committed result is readable."""

import json
from pathlib import Path

import pytest

from platon_compress.errors import InputError
from platon_compress.measure.kernel_bench import KernelBenchConfig, bytes_loaded, run_kernel_bench
from platon_compress.report.roofline import write_roofline
from platon_compress.schemas import stamped

pytest.importorskip("matplotlib")
COMMITTED = Path(__file__).parents[2] / "benchmarks" / "results" / "kernel.json"


@pytest.fixture
def result(tmp_path):
    shapes = tmp_path / "tiny.json"
    shapes.write_text(json.dumps({"layers": [{"layer": "one", "out_features": 48, "in_features": 70}]}))
    config = KernelBenchConfig(
        models=(str(shapes),), densities=(0.5, 0.25), rows=(9, 16), threads=(1, 2), runs=1, warmup=0
    )
    path = tmp_path / "kernel.json"
    path.write_text(json.dumps(run_kernel_bench(config).to_dict()))
    return path


def test_one_panel_per_thread_count_and_one_point_per_row(result, tmp_path):
    write_roofline(json.loads(result.read_text()), tmp_path / "roof.svg")
    drawing = (tmp_path / "roof.svg").read_text()
    # Matplotlib keeps each text as a comment beside its outlines.
    for text in ("avx2, 1 thread", "avx2, 2 threads", "50% zeros", "75% zeros", "48 x 70 (out x in)"):
        isa = json.loads(result.read_text())["ceilings"][0]["kernel"]
        assert f"<!-- {text.replace('avx2', isa)} -->" in drawing
    assert drawing.count("<!-- 9 rows -->") == drawing.count("<!-- 16 rows -->") == 2
    assert drawing.count('id="PathCollection_') == 8
    write_roofline(json.loads(result.read_text()), tmp_path / "roof.png")
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "the result names no kind of result"),
        (stamped("kernels", {"rows": [], "ceilings": []}), "holds no rows or ceilings; give the JSON of"),
    ],
)
def test_another_result_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        write_roofline(content, tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()


def test_the_committed_result_lies_below_its_own_ceilings(tmp_path):
    content = json.loads(COMMITTED.read_text())
    roofs = {(entry["kernel"], entry["threads"]): entry for entry in content["ceilings"]}
    assert {(row["rows"], row["threads"]) for row in content["rows"]} == {
        (rows, threads) for rows in (16, 128) for threads in (1, 2)
    }
    for row in content["rows"]:
        roof = roofs[row["kernel"], row["threads"]]
        useful = 2e-9 * row["nnz"] * row["rows"] / row["median_seconds"]
        assert useful == pytest.approx(row["useful_gflops"])
        assert 0 < useful < roof["fma_gflops"]
        loaded = bytes_loaded(row["nnz"], row["rows"]) / row["median_seconds"] * 1e-9
        assert loaded < roof["load_gbytes_per_second"]
    write_roofline(content, tmp_path / "roof.png")
