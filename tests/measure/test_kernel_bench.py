"""The kernel benchmark on one small layer; its numbers are only checked against each other."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from platon_compress.errors import InputError
from platon_compress.library import supported_kernels
from platon_compress.measure.kernel_bench import (
    KernelBenchConfig,
    bytes_loaded,
    load_shapes,
    measure_ceilings,
    run_kernel_bench,
)

ALL_KERNELS = supported_kernels()


@pytest.fixture
def shape_file(tmp_path):
    path = tmp_path / "tiny.json"
    layer = {"layer": "one", "out_features": 48, "in_features": 70, "count": 2, "activation": "relu"}
    path.write_text(json.dumps({"layers": [layer]}))
    return str(path)


def test_shipped_shapes_are_readable():
    files = sorted((Path(__file__).parents[2] / "benchmarks" / "shapes").glob("*.json"))
    assert [path.stem for path in files] == ["bert-large", "distilbert", "minilm-l6", "vit-b16", "vit-s14"]
    for path in files:
        assert sum(shape.count for shape in load_shapes(str(path))) % 6 == 0
    base = sum(shape.count * shape.out_features * shape.in_features for shape in load_shapes("bert-base"))
    assert base == 12 * 12 * 768 * 768


def test_rows_hold_raw_samples_and_rates(shape_file):
    config = KernelBenchConfig(
        models=(shape_file,), densities=(0.5, 1.0), rows=(3, 9), threads=(1, 2), kernels=ALL_KERNELS, runs=3, warmup=1,
        pause_seconds=0,
    )  # fmt: skip
    calls = []
    report = run_kernel_bench(config, progress=lambda done, total: calls.append((done, total)))
    data = json.loads(json.dumps(report.to_dict()))
    assert len(data["rows"]) == 8 * len(ALL_KERNELS)
    assert calls[-1] == (8, 8)
    assert {row["threads"] for row in data["rows"]} == {1, 2}
    for row in data["rows"]:
        assert len(row["seconds"]) == 3
        assert row["useful_gflops"] == pytest.approx(row["effective_dense_gflops"] * row["nnz"] / (48 * 70))
    assert data["environment"]["isa"] in ALL_KERNELS
    assert len(data["ceilings"]) == 2 * len(ALL_KERNELS)


def test_blocks_are_measured_beside_single_weights(shape_file):
    config = KernelBenchConfig(
        models=(shape_file,), densities=(0.5,), rows=(9,), threads=(1,), blocks=(1, 4), runs=2, warmup=0,
        pause_seconds=0,
    )  # fmt: skip
    calls = []
    report = run_kernel_bench(config, progress=lambda done, total: calls.append((done, total)))
    single, blocks = report.rows
    (line,) = report.block_lines()
    assert line.endswith(f"{single.median_seconds / blocks.median_seconds:.2f}x")
    assert f"50% non-zero, 9 rows, 1 threads, {single.kernel}: 4x1 blocks" in line
    assert replace(report, config=replace(config, blocks=(1,)), rows=(single,)).block_lines() == []
    assert calls == [(1, 1)]
    assert (single.block_rows, blocks.block_rows) == (1, 4)
    assert blocks.nnz % 4 == 0
    assert blocks.packed_bytes / blocks.nnz < single.packed_bytes / single.nnz


@pytest.mark.parametrize("kernel", ALL_KERNELS)
def test_ceilings_are_plausible(kernel):
    ceilings = measure_ceilings(kernel, 1, seconds=0.01)
    assert 0.1 < ceilings.fma_gflops < 10_000
    assert 0.1 < ceilings.load_gbytes_per_second < 100_000


def test_bytes_loaded_counts_panels():
    assert bytes_loaded(10, 64) == 10 * (8 * 32 + 5)
    assert bytes_loaded(10, 65) == 10 * (9 * 32 + 10)
    assert bytes_loaded(12, 64, 4) == 3 * (8 * 32 + 3 * (4 * 4 + 1))  # 3 + 3 + 2 groups
    assert bytes_loaded(12, 72, 4) == 3 * (9 * 32 + 4 * (4 * 4 + 1))  # 3 + 2 and 2 + 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ()}, "models is empty"),
        ({"densities": (0.0,)}, r"densities must lie in \(0, 1\], got 0.0"),
        ({"rows": (0,)}, "rows and threads must be whole numbers >= 1, got 0"),
        ({"blocks": (2,)}, r"blocks must be 1 \(single weights\) or 4 \(4x1 blocks\), got 2"),
        ({"kernels": ("mmx",)}, "no kernels 'mmx' here"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        KernelBenchConfig(**change)


def test_bad_shape_files(tmp_path):
    with pytest.raises(InputError, match="no shapes 'gpt-5'; choose bert-base or give a shape file"):
        load_shapes("gpt-5")
    bad = {
        "{": "is not a shape file",
        '{"layers": [{}]}': "is not a shape file",
        '{"layers": []}': "lists no layers",
    }
    for text, message in bad.items():
        path = tmp_path / "bad.json"
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            load_shapes(str(path))
