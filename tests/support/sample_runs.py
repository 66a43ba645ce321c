"""Runs that never happened, for the rules that judge them."""

import copy
from pathlib import Path

import numpy as np

from platon_compress.measure.bench_report import BenchReport
from platon_compress.report.run_data import RunData
from platon_compress.scoring import RESAMPLES

MEGABYTE = 1_000_000
SIZE = {
    "disk_bytes": 90 * MEGABYTE,
    "parameters": 20_000_000,
    "nonzeros": 20_000_000,
    "encoder_bytes": 40 * MEGABYTE,
    "embedding_bytes": 50 * MEGABYTE,
    "sparse_index_bytes": 0,
}


def ratio(baseline, candidate, median, decided=True):
    spread = 0.02 if decided else 0.3
    low, high = median - spread, median + spread
    statement = "faster" if low > 1 else "slower" if high < 1 else "undecided"
    return {
        "baseline": baseline,
        "candidate": candidate,
        "pairs": 50,
        "median": median,
        "quartile_low": low,
        "quartile_high": high,
        "low": low,
        "high": high,
        "statement": statement,
    }


def bench(speeds, int8_speeds=None, disk=0.2, int8_disk=0.25, **changes):
    """A benchmark of `len(speeds)` batch sizes: compressed against dense, and against int8."""
    settings = []
    for index, speed in enumerate(speeds):
        ratios = [ratio("dense", "compressed", speed)]
        if int8_speeds is not None:
            ratios.append(ratio("dense_int8", "compressed", int8_speeds[index]))
        settings.append({"batch": 2**index, "tokens": 128, "samples": {}, "ratios": ratios})
    sizes = {"dense": 1.0, "dense_int8": int8_disk, "pruned": 1.0, "compressed": disk}
    variants = {
        name: {
            "file": f"{name}.onnx",
            "size": {**SIZE, "disk_bytes": int(share * SIZE["disk_bytes"])},
            "native_kernel": True if name == "compressed" else None,
        }
        for name, share in sizes.items()
    }
    if int8_speeds is None:
        variants["dense_int8"] = {"file": "dense-int8.onnx", "unavailable": "no quantiser"}
    data = {
        "kind": "benchmark",
        "schema": 1,
        "environment": {},
        "config": {},
        "unavailable": None,
        "baseline": "dense",
        "variants": variants,
        "settings": settings,
    }
    return {**data, **changes}


def answers(count, right, shared=None):
    """`count` examples, `right` of them answered right, the first `shared` (default: all) of those in common."""
    shared = right if shared is None else shared
    return ("1" * shared + "0" * (count - right) + "1" * (right - shared)).ljust(count, "0")


def scores(value, error, right=None):
    """parity.json's entry of a route: an accuracy with its standard error, and every example's answer if given."""
    spread = np.random.default_rng(0).normal(value, error, RESAMPLES)
    return {
        "metric": "accuracy",
        "values": {"accuracy": value},
        "standard_error": error,
        "unit": "row",
        "units": 872 if right is None else len(right),
        "replicates": spread.tolist(),
        "right": right,
    }


def run(data, *, ours=0.84, dense=0.85, error=0.012, steps=(540, 540), int8=None, **files):
    """`classes`: of the data stage; `parity`: more of parity.json, `file_problem`, `recipe` and `kind` as in RunData."""
    trained = {"metric": "accuracy", "standard_error": error, "examples": 872, "history": []}
    stages = {"bake": {"result": {"sparsity": 0.9}}}
    if "classes" in files:
        stages["data"] = {"result": {"classes": files["classes"]}}
    if ours is not None:
        stages["prune"] = {"result": {**trained, "value": ours, "steps": steps[1]}}
    if dense is not None:
        stages["dense"] = {"result": {**trained, "value": dense, "steps": steps[0]}}
    parity = {"rows": [], "scores": {}, "passed": True, "atol": 1e-4}
    if int8 is not None:
        parity["scores"] = {"dense_int8": scores(int8, error)}
    layer = {"name": "w", "shape": [4, 4], "density": 0.1, "form": "csr", "reason": "faster"}
    return RunData(
        folder=Path("run"),
        bench=BenchReport.from_dict(copy.deepcopy(data)),
        plan={"layers": [layer]},
        parity={**parity, **files.get("parity", {})},
        recipe=files.get("recipe", {}),
        state={"kind": files.get("kind", "run"), "stages": stages},
        file_problem=files.get("file_problem"),
    )
