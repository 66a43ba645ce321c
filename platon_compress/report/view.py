"""Everything that the templates show, already as text: they only place it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from platon_compress.report import tables
from platon_compress.report.plot_style import Plot
from platon_compress.report.plots import latency_plot, layer_plot, size_plot, training_plot
from platon_compress.report.points import points_apart
from platon_compress.report.run_data import RunData
from platon_compress.report.tables import Table
from platon_compress.report.verdict import Verdict

__all__ = ["Card", "View", "build_view"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """One key number."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class View:
    """`tables` and `plots` hold only what could be made; templates ask with `.get`."""

    title: str
    subtitle: str
    verdict: Verdict
    cards: tuple[Card, ...]
    tables: dict[str, Table]
    plots: dict[str, Plot]
    notes: tuple[str, ...]
    front_matter: str
    hardware: str


def build_view(run: RunData, verdict: Verdict) -> View:
    """Compose the report's content from the run."""
    bench = run.bench
    made_tables: dict[str, Table | None] = {
        "size": tables.size_table(bench),
        "latency": tables.latency_table(bench) if bench.settings else None,
        "start": tables.start_table(bench),
        "accuracy": tables.accuracy_table(run),
        "parity": tables.parity_table(run),
        "forms": tables.form_table(run.layers),
        "layers": tables.layer_table(run.layers),
        "operators": tables.operator_table(bench),
        "environment": tables.environment_table(bench),
    }
    made_plots = (
        layer_plot(run.layers),
        latency_plot(bench),
        size_plot(bench),
        training_plot(run.stage("dense"), run.stage("prune")),
    )
    return View(
        title=_model_name(run),
        subtitle=_subtitle(run),
        verdict=verdict,
        cards=tuple(_cards(run)),
        tables={name: table for name, table in made_tables.items() if table is not None},
        plots={plot.name: plot for plot in made_plots if plot is not None},
        notes=_notes(run),
        front_matter=_front_matter(run),
        hardware=_hardware(run),
    )


def _cards(run: RunData) -> Iterator[Card]:
    bench = run.bench
    if run.sparsity is not None:
        yield Card(label="Sparsity", value=f"{run.sparsity:.1%}", detail=_form_counts(run))
    for baseline, label in (
        (bench.baseline, "Speed against dense"),
        ("dense_int8", "Speed against dense int8"),
    ):
        ratios = [(s, r) for s in bench.settings if (r := s.ratio("compressed", baseline)) is not None]
        if ratios:
            setting, ratio = ratios[0]
            decided = "no measurable difference" if ratio.statement == "undecided" else ratio.statement
            yield Card(label=label, value=f"{ratio.median:.2f}x", detail=f"{setting.label}: {decided}")
    ours, dense = bench.variants["compressed"].size, bench.variants[bench.baseline].size
    if ours is not None and dense is not None:
        spoken = f"{tables.format_bytes(ours.disk_bytes)} instead of {tables.format_bytes(dense.disk_bytes)}"
        yield Card(label="Size on disk", value=f"{ours.disk_bytes / dense.disk_bytes:.2f}x", detail=spoken)
    yield from _metric_card(run)
    yield from _parity_card(run)


def _metric_card(run: RunData) -> Iterator[Card]:
    ours, dense = run.compressed_metric, run.dense_metric
    if ours is None:
        yield Card(label="Accuracy", value="not measured", detail="the run had no labelled examples")
        return
    detail = f"of {ours.examples} examples" if ours.examples else ""
    if dense is not None:
        detail = f"{points_apart(ours.minus(dense))} against dense"
    yield Card(label=ours.name.capitalize(), value=f"{ours.value:.1%}", detail=detail)


def _parity_card(run: RunData) -> Iterator[Card]:
    rows = run.parity.get("rows")
    if rows:
        worst = max(row["max_abs"] for row in rows)
        passed = "passed" if run.parity.get("passed") else "FAILED"
        detail = f"largest difference over {run.parity.get('examples')} examples: {passed}"
        yield Card(label="Parity", value=f"{worst:.1e}", detail=detail)


def _notes(run: RunData) -> tuple[str, ...]:
    """What a reader must know to judge the numbers."""
    return (*_variant_notes(run), *_weight_notes(run), *_comparison_notes(run))


def _variant_notes(run: RunData) -> Iterator[str]:
    for variant in run.bench.variants.values():
        if variant.unavailable:
            yield f"{variant.file}: {variant.unavailable}."
        on_cpu = variant.executed_nodes.get("CPUExecutionProvider", {})
        if run.bench.config.device != "cpu" and on_cpu:
            yield f"{variant.file}: {sum(on_cpu.values())} nodes ran on the CPU ({_spoken_counts(on_cpu)})."
    native = run.bench.variants["compressed"].native_kernel
    if native is False:
        yield "The sparse linears did not run in the native kernel: the times are those of dense operators."
    if native is None and not run.bench.unavailable:
        yield "compressed.onnx holds no sparse linear: it runs in stock ONNX Runtime without our library."


def _weight_notes(run: RunData) -> Iterator[str]:
    for name, reason in run.stage("bake").get("skipped", ()):
        yield f"{name} was not pruned: {reason}."
    exported = run.stage("export").get("compressed") or {}
    for name, reason in exported.get("skipped", ()):
        yield f"{name} is not in the file as planned: {reason}."


def _comparison_notes(run: RunData) -> Iterator[str]:
    if not run.has_dense_model:
        yield "No dense model was given: dense stands for the same sparse weights in dense kernels."
    if run.parity.get("inputs") == "random inputs":
        yield "Parity was checked on random inputs: the run had no data."
    load, cores = run.bench.environment.get("load_average"), run.bench.environment.get("cores_logical")
    if load and cores and load[0] > cores:
        yield f"The machine was busy (load {load[0]} on {cores} cores): trust the ratios, not single times."
    steps = {run.stage(stage)["steps"] for stage in ("dense", "prune") if "steps" in run.stage(stage)}
    if len(steps) > 1:
        yield f"Dense and pruned were trained with different numbers of steps ({sorted(steps)})."
    yield from _distillation_note(run)
    if run.stage("prune").get("per_millisecond"):
        yield "Weights were ranked by score per measured millisecond of their layer, not by score alone."


def _distillation_note(run: RunData) -> Iterator[str]:
    """The pruned model may have had a help that the dense one had not: a reader must know."""
    pruned, dense = (run.stage(stage).get("distillation") for stage in ("prune", "dense"))
    if pruned is None:
        return
    hidden = f", hidden states with factor {pruned['hidden']:g}" if pruned["hidden"] else ""
    baseline = (
        "the dense model was trained on the labels alone, without distillation"
        if dense is None
        else "there were no labels, so the dense model learnt from the same teacher for the same steps"
    )
    yield (
        f"The pruned model was trained with distillation from {pruned['teacher']} ({pruned['weight']:.0%} of the "
        f"loss, temperature {pruned['temperature']:g}{hidden}); {baseline}."
    )


def _spoken_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _form_counts(run: RunData) -> str:
    counts: dict[str, int] = {}
    for layer in run.layers:
        counts[str(layer["form"])] = counts.get(str(layer["form"]), 0) + 1
    return _spoken_counts(counts)


def _model_name(run: RunData) -> str:
    model = run.recipe.get("model")
    if isinstance(model, dict):
        config = model.get("config")
        name = model.get("name") or (config or {}).get("model_type")
        if name:
            return str(name)
    return str(model) if isinstance(model, str) else run.folder.resolve().name


def _task(run: RunData) -> str | None:
    model = run.recipe.get("model")
    task = model.get("task") if isinstance(model, dict) else run.recipe.get("task")
    return str(task) if task else None


def _subtitle(run: RunData) -> str:
    kind = str(run.state.get("kind") or "run")
    what = (
        "compressed from a sparse checkpoint" if kind == "compress" else "pruned with PLATON and compressed"
    )
    if run.stage("prune").get("distillation"):
        what = "pruned with PLATON and distillation and compressed"
    return f"{_task(run) or 'model'}, {what} for ONNX Runtime"


def _hardware(run: RunData) -> str:
    env = run.bench.environment
    packages = env.get("packages", {})
    runtime = packages.get("onnxruntime") or packages.get("onnxruntime-gpu")
    return f"{env.get('cpu_model')}, {env.get('threads')} threads, {env.get('isa')}, ONNX Runtime {runtime}"


def _front_matter(run: RunData) -> str:
    """YAML of a Hugging Face model card. The base model is named only when it looks like a hub id."""
    name, metric = _model_name(run), run.compressed_metric
    card: dict[str, Any] = {"library_name": "onnx"}
    if _task(run):
        card["pipeline_tag"] = _task(run)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists():
        card["base_model"] = name
    card["tags"] = ["platon-compress", "pruning", "sparse", "onnx", "onnxruntime"]
    if metric is not None:
        data = run.recipe.get("data")
        dataset = (data.get("dataset") or data.get("validation")) if isinstance(data, dict) else None
        result = {
            "task": {"type": _task(run) or "other"},
            "dataset": {
                "name": str(dataset or "validation data of the run"),
                "type": str(dataset or "custom"),
            },
            "metrics": [{"type": metric.name, "value": round(metric.value, 4)}],
        }
        card["model-index"] = [{"name": f"{name} compressed", "results": [result]}]
    # Through JSON: plain types only, whatever the recipe held.
    return yaml.safe_dump(json.loads(json.dumps(card, default=str)), sort_keys=False, allow_unicode=True)
