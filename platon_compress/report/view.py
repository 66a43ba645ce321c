"""Everything that the templates show, already as text: they only place it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from platon_compress.measure.config import DEVICES
from platon_compress.report import tables
from platon_compress.report.cards import Card, key_cards
from platon_compress.report.heading import model_name, run_origin, run_subtitle, run_task, run_title
from platon_compress.report.notes import run_notes
from platon_compress.report.peers import peer_notes, peer_table, read_peers
from platon_compress.report.plot_style import Plot
from platon_compress.report.plots import latency_plot, layer_plot, size_plot, training_plot
from platon_compress.report.rounding import rounding_failures, spoken_operators, spoken_rounding
from platon_compress.report.run_data import RunData
from platon_compress.report.tables import Table
from platon_compress.report.verdict import Verdict
from platon_compress.report.words import ANSWERS, POINTS, SECTIONS

__all__ = ["View", "build_view"]


@dataclass(frozen=True, kw_only=True)
class View:
    """`tables` and `plots` hold only what could be made; templates ask with `.get`.

    points: label and text of the verdict's three points; origin: run, measured, command; file_problem: why the
    compressed file cannot be taken.
    """

    title: str
    subtitle: str
    origin: Mapping[str, str]
    verdict: Verdict
    answer: str
    sentence: str
    points: tuple[tuple[str, str], ...]
    sections: Mapping[str, str]
    cards: tuple[Card, ...]
    tables: dict[str, Table]
    plots: dict[str, Plot]
    notes: tuple[str, ...]
    parity: str
    front_matter: str
    hardware: str
    file_problem: str | None


def build_view(run: RunData, verdict: Verdict) -> View:
    """Compose the report's content from the run."""
    bench, peers = run.bench, read_peers(run.folder)
    made_tables: dict[str, Table | None] = {
        "size": tables.size_table(bench),
        "latency": tables.latency_table(bench) if bench.settings else None,
        "start": tables.start_table(bench),
        "peers": peer_table(peers),
        "accuracy": tables.accuracy_table(run),
        "int8": tables.int8_table(bench),
        "parity": tables.parity_table(run),
        "rounding": tables.rounding_table(run),
        "sensitivity": tables.sensitivity_table(run),
        "forms": tables.form_table(run.layers),
        "layers": tables.layer_table(run.layers),
        "operators": tables.operator_table(bench),
        "environment": tables.environment_table(bench),
    }
    made_plots = (
        layer_plot(run.layers),
        latency_plot(bench),
        size_plot(bench),
        training_plot(run.stage("dense"), run.stage("prune"), run.task),
    )
    return View(
        title=run_title(run),
        subtitle=run_subtitle(run),
        origin=run_origin(run),
        verdict=verdict,
        answer=ANSWERS[verdict.answer],
        sentence=_as_sentence(verdict.sentence),
        points=tuple(zip(POINTS, verdict.points, strict=True)),
        sections=SECTIONS,
        cards=key_cards(run),
        tables={name: table for name, table in made_tables.items() if table is not None},
        plots={plot.name: plot for plot in made_plots if plot is not None},
        notes=(*run_notes(run), *peer_notes(peers)),
        parity=_parity_sentence(run),
        front_matter=_front_matter(run),
        hardware=_hardware(run),
        file_problem=run.file_problem,
    )


def _as_sentence(text: str) -> str:
    """With a capital, unless it begins with the name of a file or a device."""
    first = text.split(" ", 1)[0]
    return text if not first.isalpha() or first in DEVICES else text[:1].upper() + text[1:]


def _parity_sentence(run: RunData) -> str:
    """The check in plain words; empty where nothing was checked."""
    worst, atol = run.worst_difference, run.parity.get("atol")
    if worst is None or atol is None:
        return ""
    mixed = "" if "image" in (run_task(run) or "") else " of mixed lengths"
    examples = f"{run.parity.get('examples')} examples{mixed}"
    if worst <= atol:
        same = (
            f"on {examples} every form of the pruned model gives the same outputs; the largest difference is "
            f"{worst:.1e} (allowed: {atol:g})."
        )
        return f"{'Yes' if run.parity.get('passed') else 'No'}: {same}{_rounded_sentence(run)}"
    return f"No: on {examples} the outputs differ by up to {worst:.1e} (allowed: {atol:g})."


def _rounded_sentence(run: RunData) -> str:
    """What the check means for a file with 8-bit values; nothing for others."""
    if not run.rounded:
        return ""
    failures = list(rounding_failures(run.rounded))
    operators = map(spoken_operators, run.rounded["operators"])
    proved = (
        f"But {'; '.join(failures)}."
        if failures
        else f"The 8-bit file is {'; '.join(('its exact rounding', *operators))}."
    )
    return (
        f" This covers the compressed file before its weights were rounded to 8 bits. {proved} Effect of rounding: "
        f"{spoken_rounding(run.rounded['rounding'])}."
    )


def _hardware(run: RunData) -> str:
    env = run.bench.environment
    packages = env.get("packages", {})
    runtime = packages.get("onnxruntime") or packages.get("onnxruntime-gpu")
    threads = "1 thread" if env.get("threads") == 1 else f"{env.get('threads')} threads"
    return f"{env.get('cpu_model')}, {threads}, {env.get('isa')}, ONNX Runtime {runtime}"


def _front_matter(run: RunData) -> str:
    """YAML of a Hugging Face model card. The base model is named only when it looks like a hub id."""
    name, metric = model_name(run), run.compressed_metric
    card: dict[str, Any] = {"library_name": "onnx"}
    if run_task(run):
        card["pipeline_tag"] = run_task(run)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists():
        card["base_model"] = name
    card["tags"] = ["platon-compress", "pruning", "sparse", "onnx", "onnxruntime"]
    if metric is not None:
        data = run.recipe.get("data")
        dataset = (
            (data.get("dataset") or data.get("test") or data.get("validation"))
            if isinstance(data, dict)
            else None
        )
        result = {
            "task": {"type": run_task(run) or "other"},
            "dataset": {
                "name": str(dataset or f"{run.split} data of the run"),
                "type": str(dataset or "custom"),
            },
            "metrics": [{"type": metric.name, "value": round(metric.value, 4)}],
        }
        card["model-index"] = [{"name": f"{name} compressed", "results": [result]}]
    # Through JSON: plain types only, whatever the recipe held.
    return yaml.safe_dump(json.loads(json.dumps(card, default=str)), sort_keys=False, allow_unicode=True)
