"""README sentences and rows of memory, padding and kernel results: the figures are the results' own."""

import pytest
from memory import MemoryConfig, ProcessMemory, memory_report
from readme_tables import results_markdown
from tables.others import PADDING_HEAD, padding_rows, result_sentences

from platon_compress.measure.timing import compare

_SIDES = [
    f"{file}, {order}" for file in ("dense", "compressed", "unpadded") for order in ("padded", "bucketed")
]


def _memory(factor):
    return ProcessMemory(
        path=f"{factor}.onnx",
        peak_bytes=(factor * 10**8,) * 6,
        resident_bytes=(factor * 10**8,) * 6,
        load_seconds=(float(factor),) * 6,
        workers_bytes=(factor * 3 * 10**8,),
    )


def _padding():
    samples = {side: (6.0 / (1 + place),) * 6 for place, side in enumerate(_SIDES)}
    ratios = [compare(samples, baseline=_SIDES[0], candidate=side).to_dict() for side in _SIDES[1:]]
    return {
        "kind": "padding",
        "title": "Mini",
        "data": "news",
        "sparsity": 0.9,
        "batch_size": 8,
        "environment": {"threads": 2},
        "valid_share": {"padded": 0.5, "bucketed": 0.75},
        "ratios": ratios,
    }


def _kernel():
    def row(density, gflops, **place):
        return {
            "model": "m", "threads": 2, "rows": 128, "density": density, "useful_gflops": gflops, **place
        }  # fmt: skip

    rows = [row(0.2, 30), row(0.2, 50), row(0.1, 20), row(0.1, 99, threads=1), row(0.1, 99, rows=16)]
    return {
        "kind": "kernels",
        "rows": rows,
        "ceilings": [{"threads": 1, "fma_gflops": 900}, {"threads": 2, "fma_gflops": 200}],
    }


def test_memory_is_compared_with_the_first_file():
    report = memory_report([_memory(4), _memory(1)], MemoryConfig(repeats=6))
    (sentence,) = result_sentences({"m": {**report, "title": "BERT", "sparsity": 0.9}}, "results")
    assert "Memory of BERT with 90% zeros, whole processes of 1 thread" in sentence
    assert (
        "at 100 MB against 400 MB dense (0.25x); 4 side by side hold 300 MB against 1200 MB (0.25x)"
        in sentence
    )
    assert "loading is 4.00x (4.00" in sentence
    assert sentence.endswith("([samples](results/m.json)).")


def test_kernels_are_quoted_at_their_most_rows_and_threads():
    (sentence,) = result_sentences({"kernel": _kernel()}, "results")
    assert "128 rows, 2 threads, useful GFLOP/s by zeros: 30 to 50 at 80%, 20 to 20 at 90%;" in sentence
    assert "ceiling is 200 ([roofline](results/roofline.png), [samples](results/kernel.json))" in sentence


def test_padding_rows_follow_the_head():
    (row,) = padding_rows({"a": _padding(), "b": {"kind": "training"}})
    assert len(row) == len(PADDING_HEAD)
    assert row[:3] == ("Mini, news, batch 8, 2 threads", "90%", "50% (75% bucketed)")
    assert [float(cell.split("x")[0]) for cell in row[3:]] == pytest.approx([2, 3, 4, 5, 6])


def test_the_readme_holds_them():
    text = results_markdown({"kernel": _kernel(), "padding": _padding()})
    assert "useful GFLOP/s by zeros: 30 to 50" in text
    assert "| Mini, news, batch 8, 2 threads | 90% | 50% (75% bucketed) |" in text
