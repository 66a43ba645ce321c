"""Fuzz targets of what a run folder holds, and of recipes and cost tables."""

import tempfile
from pathlib import Path

import yaml
from fuzzing.reader import Reader, as_json, compressed, is_json

from platon_compress.files import read_json

__all__ = ["FOLDER_READERS"]

_CURE = "give another"


def _plans() -> tuple[bytes, ...]:
    return as_json(compressed()[1].to_dict())


def _read_plan(path: Path) -> object:
    from platon_compress.planning.layers import Plan

    return Plan.from_dict(read_json(path, _CURE)).to_dict()


def _write_outputs(folder: Path) -> None:
    """What the stage plan of _states has written."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "plan.json").write_text('{"layers": []}')


def _states() -> tuple[bytes, ...]:
    from platon_compress.pipeline.folder import RunFolder
    from platon_compress.pipeline.stage import Stage

    stage = Stage(name="plan", title="", run=lambda _: {}, uses=lambda _: (), outputs=("plan.json", "model"))
    later = Stage(name="convert", title="", run=lambda _: {}, uses=lambda _: (), needs=("plan",))
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder.open(Path(name) / "run", "run")
        _write_outputs(folder.path)
        folder.finish(stage, 1.5, {"layers": 3, "csr": [1, 2]}, {"plan.tokens": 8})
        folder.finish(later, 0.1, {}, {})
        return ((folder.path / "state.json").read_bytes(),)


def _read_state(path: Path) -> object:
    from platon_compress.pipeline.folder import RunFolder

    folder = RunFolder.open(path.parent, "run")
    for stage in ("plan", "convert"):
        if folder.record(stage) is not None:
            folder.check_files(stage)
            folder.result(stage)
    return folder


def _recipes() -> tuple[bytes, ...]:
    from platon_compress.recipe.data import TRAINABLE_TASKS
    from platon_compress.recipe.starter import starter
    from platon_compress.testing import tiny_recipe

    budget = tiny_recipe(budget={"max_latency": "10ms", "min_speedup": 2, "max_size": "5MB", "max_drop": 1})
    texts = [yaml.safe_dump(tiny_recipe()), yaml.safe_dump(budget), *map(starter, TRAINABLE_TASKS)]
    return tuple(text.encode() for text in texts)


def _read_recipe(path: Path) -> object:
    from platon_compress.recipe.loading import load_recipe

    return load_recipe(path, ("prune.sparsity=0.5",)).model_dump_json()


def _is_yaml(path: Path) -> object:
    from platon_compress.yaml_file import read_yaml

    return read_yaml(path)


def _families() -> tuple[bytes, ...]:
    figures = {"latency_seconds": 0.01, "speedup": 2.0, "size_bytes": 1000}
    drop = {"value": 0.5, "low": 0.1, "high": 0.9, "paired": True}
    one = {
        "sparsity": 0.5,
        "steps": 10,
        "value": 0.9,
        "standard_error": 0.01,
        "drop": drop,
        "expected": figures,
    }
    content = {
        "kind": "family", "schema": 1, "task": "text-classification", "metric": "accuracy", "split": "validation",
        "budget": {"max_latency_seconds": 0.02}, "dense": {"value": 0.9, "figures": figures}, "chosen": 0.5,
        "candidates": [{**one, "measured": None}, {**one, "sparsity": 0.9, "measured": figures}],
    }  # fmt: skip
    return as_json(content)


def _read_family(path: Path) -> object:
    from platon_compress.pipeline.family import read_candidates

    return [candidate.to_dict() for candidate in read_candidates(path)]


def _scores() -> tuple[bytes, ...]:
    scores = {
        "metric": "accuracy", "values": {"accuracy": 0.5, "f1": 0.4}, "unit": "row", "units": 4,
        "replicates": [0.5, 0.25, 0.75], "right": "1010",
    }  # fmt: skip
    return as_json({"steps": 10, "scores": scores}, {"steps": 1, "scores": {**scores, "right": None}})


def _read_scores(path: Path) -> object:
    from platon_compress.pipeline.family import read_scores

    return read_scores(path.parent)[1].to_dict()


def _unit_costs() -> tuple[bytes, ...]:
    curves = {"4 heads of 8 in 32": [[0, 0.0], [2, 0.1], [4, 0.3]], "64 neurons in 32": [[0, 0.0], [64, 0.5]]}
    return as_json({"rest_seconds": 0.25, "curves": curves})


def _read_unit_costs(path: Path) -> object:
    from platon_compress.pruning.unit_costs import UnitCosts

    return UnitCosts.from_dict(read_json(path, _CURE)).to_dict()


def _weight_costs() -> tuple[bytes, ...]:
    return as_json({"32x64": 1e-9, "64x32": 2e-9})


def _read_weight_costs(path: Path) -> object:
    from platon_compress.pruning import PruneConfig

    return PruneConfig(sparsity=0.5, weight_costs=read_json(path, _CURE))


def _cost_tables() -> tuple[bytes, ...]:
    row = {
        "out": 64,
        "in": 32,
        "density": 0.1,
        "rows": 8,
        "threads": 1,
        "dense_seconds": 1e-5,
        "csr_seconds": 1e-6,
    }
    rows = [row, {**row, "density": 0.5, "csr_seconds": 2e-5, "csr_int8_seconds": 1e-5}]
    head = {"kind": "cost-table", "schema": 2, "cpu": "c", "isa": "avx2", "onnxruntime": "1"}
    return as_json({**head, "rows": rows})


def _read_cost_table(path: Path) -> object:
    from platon_compress.planning import CostTable

    return CostTable.load(path).speedup(64, 32, 0.2, 8, 1)


def _benchmarks() -> tuple[bytes, ...]:
    from platon_compress.measure.config import BenchConfig

    size = {
        "disk_bytes": 10, "parameters": 9, "nonzeros": 5, "encoder_bytes": 4, "embedding_bytes": 5, "sparse_index_bytes": 1,
    }  # fmt: skip
    ratio = {
        "baseline": "dense", "candidate": "compressed", "pairs": 5, "median": 2.0, "quartile_low": 1.9, "quartile_high": 2.1,
        "low": 1.8, "high": 2.2, "statement": "faster",
    }  # fmt: skip
    setting = {"batch": 1, "tokens": 8, "samples": {}, "ratios": [ratio]}
    variants = {
        name: {"file": f"{name}.onnx", "size": size, "native_kernel": None}
        for name in ("dense", "compressed")
    }
    return as_json(
        {"kind": "benchmark", "schema": 1, "environment": {}, "config": BenchConfig().to_dict(), "unavailable": None,
         "baseline": "dense", "variants": variants, "settings": [setting]}
    )  # fmt: skip


def _read_benchmark(path: Path) -> object:
    from platon_compress.measure.bench_report import read_report

    return read_report(path).to_dict()


FOLDER_READERS = (
    Reader("plan", "plan.json", "json", "plan.json", _plans, is_json, _read_plan),
    Reader("state", "state.json of a run", "json", "state.json", _states, is_json, _read_state, _write_outputs),
    Reader("recipe", "a recipe", "yaml", "recipe.yaml", _recipes, _is_yaml, _read_recipe),
    Reader("family", "family.json", "json", "family.json", _families, is_json, _read_family),
    Reader("scores", "scores of a candidate", "json", "scores.json", _scores, is_json, _read_scores),
    Reader("unit-costs", "unit_costs.json", "json", "unit_costs.json", _unit_costs, is_json, _read_unit_costs),
    Reader("weight-costs", "weight_costs.json", "json", "weight_costs.json", _weight_costs, is_json,
               _read_weight_costs),
    Reader("cost-table", "a cost table", "json", "table.json", _cost_tables, is_json, _read_cost_table),
    Reader("benchmark", "benchmark.json", "json", "benchmark.json", _benchmarks, is_json, _read_benchmark),
)  # fmt: skip
