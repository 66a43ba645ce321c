"""Sentences and rows of memory, padding, kernel and pruning results: the figures are the results' own."""

import pytest
from grid_tables import table
from memory import MemoryConfig, ProcessMemory, memory_report
from readme_tables import refreshed
from tables import trained
from tables.int8 import layer_tables, model_tables
from tables.machines import machine_tables, processor
from tables.others import PADDING_HEAD, block_sentence, padding_rows, pruning_sentences, result_sentences
from tables.quality import quality_tables, task_table, tried_table

from platon_compress.measure.timing import compare
from platon_compress.report.words import NONE

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


def test_checkpoints_are_quoted_with_both_times():
    samples = {"dense": [2.0] * 12, "compressed": [1.0] * 12}
    ratio = compare(samples, baseline="dense", candidate="compressed").to_dict()
    entry = {
        "kind": "checkpoint", "title": "Mini", "sparsity": 0.9, "bytes": {"dense": 40 * 10**6, "compressed": 9 * 10**6},
        "ratios": {"load_seconds": ratio, "answer_seconds": ratio},
    }  # fmt: skip
    (sentence,) = result_sentences({"one": entry}, "there")
    assert sentence.startswith("A compressed checkpoint of Mini with 90% zeros takes 9 MB against 40 MB; ")
    assert sentence.count("2.00x (2.00\N{EN DASH}2.00)") == 2


def test_padding_rows_follow_the_head():
    (row,) = padding_rows({"a": _padding(), "b": {"kind": "training"}})
    assert len(row) == len(PADDING_HEAD)
    assert row[:3] == ("Mini, news, batch 8, 2 threads", "90%", "50% (75% bucketed)")
    assert [float(cell.split("x")[0]) for cell in row[3:]] == pytest.approx([2, 3, 4, 5, 6])


def test_pages_hold_them():
    marks = "".join(f"<!-- results:{p} -->\n<!-- /results:{p} -->\n" for p in ("padding", "sentences"))
    text = refreshed(marks, {"kernel": _kernel(), "padding": _padding()}, "x.md")
    assert "useful GFLOP/s by zeros: 30 to 50" in text
    assert "| Mini, news, batch 8, 2 threads | 90% | 50% (75% bucketed) |" in text


def test_blocks_are_compared_with_single_weights_of_all_layers():
    def row(block_rows, rows, seconds, count):
        cell = {
            "model": "m",
            "threads": 1,
            "kernel": "k",
            "density": 0.1 + 0.001 * block_rows,
            "rows": rows,
        }
        return {**cell, "block_rows": block_rows, "median_seconds": seconds, "count": count}

    rows = [row(1, 16, 3.0, 2), row(1, 16, 4.0, 1), row(4, 16, 2.0, 2), row(4, 16, 1.0, 1)]
    rows += [row(1, 128, 9.0, 1), row(4, 128, 3.0, 1)]
    entry = {"kind": "kernels", "config": {"densities": [0.4, 0.1]}, "rows": rows}
    (sentence,) = block_sentence({"blocks": entry, "other": _kernel()}, "results")
    assert "of m 2.00x to 2.00x with 16 rows and 3.00x to 3.00x with 128 rows as fast" in sentence
    assert "between 60% and 90% zeros (1 thread, [samples](results/blocks.json))" in sentence


def test_the_cost_of_pruning_is_said():
    training = {
        "kind": "training", "config": {"batch": 2, "tokens": 8, "threads": 1}, "ours_share": 0.014, "naive_ratio": 6.9,
        "linear": [{"weights": 10**7, "step_seconds": 0.01}, {"weights": 10**8, "step_seconds": 0.2}],
    }  # fmt: skip
    memory = {"kind": "pruner-memory", "rows": [{"bytes_per_weight": 13.4}, {"bytes_per_weight": 13.9}]}
    time, used = pruning_sentences({"t": training, "m": memory}, "results")
    assert (
        "takes 1.4% of a BERT-base training step on the CPU (batch 2 x 8 tokens, 1 thread), 6.9x less" in time
    )
    assert "1.0 to 2.0 ns per weight from 10 to 100 million weights" in time
    assert "13.4 to 13.9 bytes per prunable weight" in used


def test_faster_steps_are_said_for_each_size():
    samples = {"a": [4.0] * 8, "b": [2.0] * 8, "c": [1.0] * 8}
    ratios = {name: compare(samples, baseline="a", candidate=name).to_dict() for name in ("b", "c")}
    rows = [{"model": "m", "batch": 2, "tokens": tokens, "ratios": ratios} for tokens in (8, 16)]
    (sentence,) = pruning_sentences({"b": {"kind": "faster-steps", "threads": 1, "rows": rows}}, "results")
    both = "2.00x (2.00\u20132.00) and 4.00x (4.00\u20134.00)"
    assert f"in float32: {both} for m with 2 x 8 tokens, {both} for m with 2 x 16 tokens" in sentence


def test_another_machine_is_compared_with_both_rivals():
    seconds = {
        "dense": [0.040] * 12,
        "int8": [0.020] * 12,
        "80": [0.016] * 12,
        "90": [0.010] * 12,
        "95": [0.008] * 12,
    }
    measured = {"batch": 1, "tokens": 16, "threads": 2, "seconds": seconds}
    entry = {
        "kind": "machine",
        "environment": {
            "cpu_model": "Fast", "cores_logical": 16, "cpu_flags": ["avx2", "avx512_vnni", "fma"],
            "packages": {"onnxruntime": "9.9"},
        },
        "parts": {
            "bert": {"cells": {"a": {"result": measured}, "file 90": {"result": {"bytes": 3, "seconds": 1.5}}}},
            "vit": {"cells": {"a": {"result": {**measured, "tokens": None, "seconds": {"dense": [1.0]}}}}},
        },
    }  # fmt: skip
    ((found, table),) = machine_tables({"one": entry})
    assert found is entry
    assert processor(entry) == "Fast, 16 cores, avx2, avx512_vnni, ONNX Runtime 9.9"
    (row,) = table.rows
    assert row[:5] == ("BERT-base", "batch 1, 16 tokens", "2", "40.0", "20.0")
    assert [cell.replace("\N{EN DASH}", "-") for cell in row[5:]] == [
        "2.50x (2.50-2.50) / 1.25x (1.25-1.25)",
        "4.00x (4.00-4.00) / 2.00x (2.00-2.00)",
        "5.00x (5.00-5.00) / 2.50x (2.50-2.50)",
    ]


def _int8(layers=(), models=()):
    """Results of int8.py; a side that takes half as long as its baseline is twice as fast."""

    def row(baseline, seconds, **setting):
        samples = {side: [value] * 6 for side, value in seconds.items()}
        ratios = [compare(samples, baseline=baseline, candidate=side) for side in samples if side != baseline]
        return {**setting, "threads": 1, "seconds": samples, "ratios": [ratio.to_dict() for ratio in ratios]}

    layers = [
        row(
            "float32 avx2",
            {"float32 avx2": 12.0, "int8 avx2": 8.0, "float32 avx512vnni": 6.0, "int8 avx512vnni": fastest},
            rows=rows,
            sparsity=0.9,
        )
        for rows, fastest in layers
    ]
    models = [
        row(
            "dense", {"dense": 12.0, "dense int8": 6.0, "float32": 4.0, "int8": 3.0},
            model="m", batch=1, tokens=tokens, sparsity=0.5,
        )
        for tokens in models
    ]  # fmt: skip
    return {"kind": "int8", "layers": layers, "models": models}


def test_layers_show_the_least_and_the_most_of_their_shapes():
    entry = _int8(layers=[(128, 4.0), (16, 6.0), (128, 3.0)])
    ((found, table),) = layer_tables({"layers": entry, "models": _int8(models=[16])})
    assert found is entry
    assert [row[:3] for row in table.rows] == [("16", "1", "90%"), ("128", "1", "90%")]
    assert table.rows[1][3:] == ("1.50x to 1.50x", "2.00x to 2.00x", "3.00x to 4.00x")


def test_models_stand_beside_dense_int8():
    entry = _int8(layers=[(16, 6.0)], models=[128, 16])
    ((found, table),) = model_tables({"layers": _int8(layers=[(16, 6.0)]), "models": entry})
    assert found is entry
    assert [row[1] for row in table.rows] == ["batch 1, 16 tokens", "batch 1, 128 tokens"]
    assert table.rows[0][2:] == (
        "1", "50%", "2.00x (2.00\N{EN DASH}2.00)", "3.00x (3.00\N{EN DASH}3.00)", "4.00x (4.00\N{EN DASH}4.00)",
        "2.00x (2.00\N{EN DASH}2.00)",
    )  # fmt: skip


def test_a_grid_of_criteria_shows_every_training_on_the_validation_rows():
    def tried(criterion, rate, seed, value):
        return {
            "criterion": criterion, "learning_rate": rate, "seed": seed, "value": value, "metric": "accuracy",
            "row": "films", "sparsity": 0.8, "examples": 100,
        }  # fmt: skip

    cells = [("platon", 1e-4, 1, 0.8), ("platon", 1e-4, 2, 0.9), ("fisher", 2e-4, 1, 0.7)]
    validation = {str(i): tried(*cell) for i, cell in enumerate(cells)}
    shown = tried_table({"validation": validation})
    assert shown.head == ("criterion", "learning rate 0.0001", "learning rate 0.0002")
    assert shown.rows == [("platon", "85.0%", NONE), ("fisher", NONE, "70.0%")]
    assert tried_table({"validation": {"0": validation["0"]}}) is None
    assert tried_table({"validation": {**validation, "longer": validation["0"]}}) is None
    validation["2"]["sparsity"] = 0.9
    assert tried_table({"validation": validation}) is None


def test_of_many_ways_the_pairs_are_shown_that_are_certainly_apart():
    entry = table(loss=0.01, row="ours")
    pair = {"row": "ours", "against": "theirs", "sparsity": 0.8, "seeds": 1, "value": -0.02, "low": -0.05}
    entry["criteria"] = [
        {**pair, "high": 0.01, "statement": "undecided"},
        {**pair, "against": "others", "high": -0.01, "statement": "lower"},
    ]
    *_, (title, shown) = quality_tables({"quality-a": entry})
    assert title.endswith(": rows certainly apart, in points (1 more pair undecided)")
    assert shown.rows == [("ours", "others", "80%", "1", "-2.0 (-5.0 to -1.0)")]
    entry["criteria"].pop()
    assert not any("apart" in title for title, _ in quality_tables({"quality-a": entry}))


def test_the_page_of_a_task_has_a_column_for_each_model_that_is_listed(monkeypatch):
    results = {"quality-a": table(loss=0.02, row="one"), "quality-b": table(row="other", sparsity=0.9)}
    results["quality-a"]["environment"]["isa"] = "avx2"
    recipe = results["quality-a"]["cells"]["films-80-s1"]["recipe"]
    recipe["plan"], recipe["prune"]["from_dense"] = {"values": "int8"}, True
    listed = (("quality-b", "other", 0.9), ("quality-a", "one", 0.8))
    monkeypatch.setattr(trained, "PAGES", {"text-classification": listed})
    shown = task_table(trained.rows_of_task(results, "text-classification"))
    assert shown.head == ("", "other", "one")
    lines = {line[0]: line[1:] for line in shown.rows}
    assert lines["change from dense"] == ("-1.0 (-2.0 to +0.0)", "-2.0 (-3.0 to -1.0)")
    assert lines["preset"] == (NONE, "balanced")
    assert lines["values"] == ("float32", "8 bits")
    assert lines["processor"] == ("AVX-512 with VNNI", "AVX2")
