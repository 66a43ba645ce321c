"""A collected grid of one row, as small as a table can be."""

import copy

from platon_compress.schemas import stamped

_CHANGE = {
    "value": -0.01,
    "low": -0.02,
    "high": 0.0,
    "units_error": 0.005,
    "seeds_error": None,
    "statement": "lower",
}
_RATIO = {"pairs": 20, "quartile_low": 2.9, "quartile_high": 3.1, "statement": "faster"}


def table(*, loss=0.01, speed=3.0, share=0.5, row="films", sparsity=0.8, cpu="one", recipe=None, **values):
    """`values`: of dense, dense_int8 and compressed, over those that are usual."""
    metrics = {"dense": 0.9, "dense_int8": 0.89, "compressed": 0.9 - loss, **values}
    ratios = [
        {"baseline": name, "candidate": "compressed", "median": times, "low": 0.95 * times, "high": 1.05 * times, **_RATIO}
        for name, times in (("dense", speed), ("dense_int8", speed / 2))
    ]  # fmt: skip
    cell = {
        "row": row,
        "sparsity": sparsity,
        "recipe": {"prune": {"sparsity": sparsity}, **(recipe or {})},
        "settings": [{"batch": 1, "tokens": 32, "samples": {}, "ratios": ratios}],
        "controls": {},
        "sizes": {"dense": {"disk_bytes": 1000}, "compressed": {"disk_bytes": round(1000 * share)}},
    }
    entry = {
        "row": row,
        "sparsity": sparsity,
        "task": "text-classification",
        "metric": "accuracy",
        "unit": "examples",
        "units": 500,
        "seeds": [1],
        "also": [],
        "trivial": None,
        "model": "MiniLM",
        "data": "8,000 films, judged on 500",
        "values": {name: {"accuracy": value} for name, value in metrics.items()},
        "differences": {"dense": {**_CHANGE, "value": -loss, "low": -loss - 0.01, "high": 0.01 - loss}},
    }
    environment = {"cpu_model": cpu, "threads": 1, "isa": "avx512vnni"}
    content = {"title": "Films", "environment": environment, "rows": [entry], "cells": {"films-80-s1": cell}}
    return copy.deepcopy(stamped("quality", content))
