"""The report's tables as text cells, shared by the Markdown and the HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from platon_compress.measure.bench_report import BenchReport, SettingReport
from platon_compress.measure.config import BenchConfig
from platon_compress.measure.timing import PairedRatio, percentiles
from platon_compress.report.points import points_apart
from platon_compress.report.rounding import metric_change
from platon_compress.report.run_data import Metric, RunData
from platon_compress.report.words import NONE, STATEMENTS, VARIANTS, metric_figure, metric_name, route_name

__all__ = [
    "Table",
    "accuracy_table",
    "environment_table",
    "form_table",
    "format_bytes",
    "format_milliseconds",
    "format_ratio",
    "int8_table",
    "latency_table",
    "layer_table",
    "operator_table",
    "parity_table",
    "rounding_table",
    "sensitivity_table",
    "size_table",
    "spoken_form",
    "start_table",
]


@dataclass(frozen=True, kw_only=True)
class Table:
    """`text_columns` are aligned left, all others right; `long_columns` may break anywhere, the others never.

    `strong_rows` are set off (the compressed model).
    """

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: tuple[int, ...] = (0,)
    long_columns: tuple[int, ...] = ()
    strong_rows: tuple[int, ...] = ()


def format_bytes(value: float | None) -> str:
    """Decimal units, three digits; the unit changes at 1000."""
    if value is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 99.95 else f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def format_milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def format_ratio(ratio: PairedRatio | None) -> str:
    """Median and 95 % interval, with the word where nothing is decided."""
    if ratio is None:
        return NONE
    if ratio.low is None or ratio.high is None:
        return f"{ratio.median:.2f}x ({STATEMENTS['undecided']}, too few pairs)"
    word = f", {STATEMENTS['undecided']}" if ratio.statement == "undecided" else ""
    return f"{ratio.median:.2f}x ({ratio.low:.2f}\N{EN DASH}{ratio.high:.2f}{word})"


def size_table(bench: BenchReport) -> Table:
    rows: list[tuple[str, ...]] = []
    strong: list[int] = []
    for name, variant in bench.variants.items():
        size = variant.size
        if size is None:
            rows.append((VARIANTS[name], f"not measured: {variant.unavailable}", *[""] * 5))
            continue
        density = size.nonzeros / size.parameters if size.parameters else 0.0
        sizes = (size.disk_bytes, size.encoder_bytes, size.embedding_bytes)
        counts = (f"{size.parameters:,}", f"{size.nonzeros:,}", f"{density:.1%}")
        strong += [len(rows)] if name == "compressed" else []
        rows.append((VARIANTS[name], *(format_bytes(value) for value in sizes), *counts))
    return Table(
        caption="Size and weight counts of each file",
        headers=("variant", "disk", "encoder", "embeddings", "parameters", "non-zero", "density"),
        rows=tuple(rows),
        strong_rows=tuple(strong),
    )


def latency_table(bench: BenchReport) -> Table:
    """Warm latency, one row per setting and variant."""
    rows: list[tuple[str, ...]] = []
    strong: list[int] = []
    for setting in bench.settings:
        for name, samples in setting.samples.items():
            times = percentiles(samples.warm_seconds).values()
            against = (format_ratio(setting.ratio(name, bench.baseline)), _against_int8(setting, name))
            strong += [len(rows)] if name == "compressed" else []
            times_text = (format_milliseconds(value) for value in times)
            rows.append((setting.label, VARIANTS[name], *times_text, *against))
    baseline = VARIANTS[bench.baseline]
    return Table(
        caption="Warm latency in ms",
        headers=("setting", "variant", "p50", "p90", "p95", "p99", f"speed vs {baseline}", "vs dense int8"),
        rows=tuple(rows),
        text_columns=(0, 1),
        strong_rows=tuple(strong),
    )


def start_table(bench: BenchReport) -> Table | None:
    """Cold start: medians over the fresh processes; None when there were none."""
    rows = []
    for setting in bench.settings:
        for name, samples in setting.samples.items():
            if samples.load_seconds:
                times = (
                    format_milliseconds(median(v)) for v in (samples.load_seconds, samples.first_seconds)
                )
                memory = (format_bytes(_known(v)) for v in (samples.session_bytes, samples.peak_bytes))
                rows.append((setting.label, VARIANTS[name], *times, *memory))
    return _table(
        "Cold start and memory (fresh process)",
        ("setting", "variant", "load, ms", "first inference, ms", "session memory", "peak memory"),
        rows,
        text_columns=(0, 1),
    )


def accuracy_table(run: RunData) -> Table | None:
    metrics = {
        "dense": run.dense_metric,
        "dense_int8": run.int8_metric,
        "compressed_float32": run.float32_metric,
        "compressed": run.compressed_metric,
    }
    rows = [_metric_row(VARIANTS[name], m, run) for name, m in metrics.items() if m is not None]
    return _table(
        f"On the same {run.split} examples",
        ("variant", "metric", "value", "standard error", "examples", "against dense, points"),
        rows,
        text_columns=(0, 1),
    )


def parity_table(run: RunData) -> Table | None:
    rows = []
    for row in run.parity.get("rows", ()):
        agreement = row.get("argmax_agreement")
        agreed = NONE if agreement is None else f"{agreement:.2%}"
        rows.append((route_name(str(row["pair"])), f"{row['max_abs']:.2e}", f"{row['mean_abs']:.2e}", agreed))
    return _table(
        "Output differences from the pruned model in PyTorch",
        ("route", "max abs difference", "mean abs difference", "argmax agreement"),
        rows,
    )


def rounding_table(run: RunData) -> Table | None:
    """The file with 8-bit weights elsewhere, and against its float32 form."""
    nears = [run.rounded[name] for name in ("elsewhere", "rounding") if name in run.rounded]
    rows = []
    for near in nears:
        change, decided = metric_change(near), near["decisions"]
        rows.append(
            (
                route_name(near["pair"]),
                NONE if not decided else f"{near['changed']} of {decided}",
                f"{near['relative_error']:.1e}",
                f"{near['cosine']:.5f}",
                f"{near['max_abs']:.1e}",
                f"{near['differing']:,} of {near['outputs']:,}",
                NONE if change is None else points_apart(change).removesuffix(" points"),
                {True: "yes", False: "NO", None: "not assessed"}[near["passed"]],
            )
        )
    return _table(
        "The file with 8-bit values compared with other ways of running it and with its float32 form",
        (
            "against",
            "differing answers",
            "relative error",
            "cosine",
            "largest difference",
            "unequal outputs",
            "metric, points",
            "close enough",
        ),
        rows,
        text_columns=(0, 7),
    )


def sensitivity_table(run: RunData) -> Table | None:
    """What each operator's 8-bit weights cost by themselves, the costliest first."""
    rows = [
        (str(cost["operator"]), f"{cost['relative_error']:.1e}")
        for cost in run.rounded.get("sensitivity", ())
    ]
    return _table(
        "How much the 8-bit weights of each operator alone change the outputs",
        ("operator", "relative error"),
        rows,
        long_columns=(0,),
    )


def int8_table(bench: BenchReport) -> Table | None:
    """The settings of dynamic quantisation that were tried for the rival, and the one that was taken."""
    variant = bench.variants.get("dense_int8")
    tried = variant.quantisation if variant is not None else None
    if not tried:
        return None
    by_difference = str(tried["chosen_by"]).startswith("difference")
    rows = []
    for setting, score in tried["scores"].items():
        taken = "chosen" if setting == tried["setting"] else ""
        rows.append((str(setting), f"{score:.2e}" if by_difference else f"{score:.2%}", taken))
    rows += [(str(setting), NONE, str(reason)) for setting, reason in tried["failed"].items()]
    return _table(
        "Dense int8: settings tried",
        ("setting", str(tried["chosen_by"]), ""),
        rows,
        text_columns=(0, 2),
    )


def spoken_form(layer: Mapping[str, Any]) -> str:
    """`dense`, `csr`, `csr int8` of a layer of the plan."""
    values = layer.get("values", "float32")
    return str(layer["form"]) if values == "float32" else f"{layer['form']} {values}"


def form_table(layers: Sequence[Mapping[str, Any]]) -> Table | None:
    """Layers, weights and density per form."""
    rows = []
    for form in dict.fromkeys(map(spoken_form, layers)):
        chosen = [layer for layer in layers if spoken_form(layer) == form]
        weights = sum(layer["shape"][0] * layer["shape"][1] for layer in chosen)
        kept = sum(layer["shape"][0] * layer["shape"][1] * layer["density"] for layer in chosen)
        rows.append(
            (form, str(len(chosen)), f"{weights:,}", f"{1 - kept / weights:.1%}" if weights else NONE)
        )
    return _table("Forms in the compressed model", ("form", "layers", "weights", "sparsity"), rows)


def layer_table(layers: Sequence[Mapping[str, Any]]) -> Table | None:
    rows = []
    for layer in layers:
        shape = " x ".join(str(size) for size in layer["shape"])
        kept = layer.get("kept")
        speed = layer.get("expected_speedup")
        rows.append(
            (
                str(layer["name"]),
                shape + (f", {len(kept)} units kept" if kept is not None else ""),
                f"{1 - layer['density']:.1%}",
                spoken_form(layer),
                NONE if speed is None else f"{speed:.2f}x",
                str(layer["reason"]),
            )
        )
    return _table(
        "Every pruned weight with its form and the reason for it",
        ("weight", "shape [out x in]", "sparsity", "form", "expected speed-up", "reason"),
        rows,
        text_columns=(0, 1, 3, 5),
        long_columns=(0, 5),
    )


def operator_table(bench: BenchReport) -> Table | None:
    """What ONNX Runtime really ran in one inference, from its profile."""
    rows = []
    for name, variant in bench.variants.items():
        for provider, counts in variant.executed_nodes.items():
            spoken = ", ".join(f"{count} {op}" for op, count in sorted(counts.items(), key=lambda i: -i[1]))
            rows.append((VARIANTS[name], provider, str(sum(counts.values())), spoken))
    return _table(
        "Operators that ran",
        ("variant", "provider", "nodes", "operators"),
        rows,
        text_columns=(0, 1, 3),
        long_columns=(3,),
    )


def environment_table(bench: BenchReport) -> Table:
    env, config = bench.environment, bench.config
    packages = env.get("packages", {})
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    git = env.get("git") or {}
    commit = f"{git.get('commit')}{' (with local changes)' if git.get('dirty') else ''}" if git else NONE
    load = env.get("load_average")
    rows = [
        ("processor", str(env.get("cpu_model"))),
        ("cores", f"{env.get('cores_logical')} logical, {env.get('cores_physical') or NONE} physical"),
        ("threads per session", str(env.get("threads"))),
        ("instruction set of our kernels", str(env.get("isa"))),
        ("memory", format_bytes(env.get("memory_bytes"))),
        ("operating system", str(env.get("operating_system"))),
        ("Python and packages", f"Python {env.get('python')}, {versions}"),
        ("device", config.device),
        ("method", _method(config)),
        ("load average at start", NONE if load is None else ", ".join(str(value) for value in load)),
        ("commit", commit),
        ("measured at", str(env.get("timestamp"))),
    ]  # fmt: skip
    return Table(
        caption="Machine, software and method",
        headers=("what", "value"),
        rows=tuple(rows),
        text_columns=(0, 1),
        long_columns=(1,),
    )


def _method(config: BenchConfig) -> str:
    return (
        f"{config.runs} rounds after {config.warmup} warm-up rounds, every variant once per round, "
        f"{config.pause_seconds * 1e3:g} ms pause before each run"
    )


def _table(
    caption: str,
    headers: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    text_columns: tuple[int, ...] = (0,),
    long_columns: tuple[int, ...] = (),
) -> Table | None:
    if not rows:
        return None
    strong = tuple(i for i, row in enumerate(rows) if VARIANTS["compressed"] in row[:2])
    return Table(
        caption=caption,
        headers=headers,
        rows=tuple(rows),
        text_columns=text_columns,
        long_columns=long_columns,
        strong_rows=strong,
    )


def _against_int8(setting: SettingReport, name: str) -> str:
    return format_ratio(setting.ratio(name, "dense_int8"))


def _known(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _metric_row(label: str, metric: Metric, run: RunData) -> tuple[str, ...]:
    name, error = metric.name, metric.standard_error
    dense, difference = run.dense_metric, NONE
    if dense is not None and label != VARIANTS["dense"]:
        difference = points_apart(metric.minus(dense)).removesuffix(" points")
    examples = NONE if metric.examples is None else str(metric.examples)
    spoken_error = NONE if error is None else metric_figure(name, error, 2)
    value = metric_figure(name, metric.value, 2)
    return (label, metric_name(name, run.task), value, spoken_error, examples, difference)
