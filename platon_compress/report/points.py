"""The verdict's three points: speed, size and quality, each with its uncertainty and its rivals beside it."""

from platon_compress.measure.bench_report import BenchReport
from platon_compress.measure.timing import PairedRatio
from platon_compress.report.run_data import Metric, RunData
from platon_compress.report.words import STATEMENTS, UNITS, metric_figure, metric_name
from platon_compress.scoring import Difference

__all__ = ["points_apart", "speed_range", "spoken_ratio", "verdict_points"]

_SHOWN_SETTINGS = 2


def verdict_points(run: RunData) -> tuple[str, str, str]:
    """Speed, size, quality; each says so where nothing was measured."""
    return _speed_point(run), _size_point(run), _quality_point(run)


def spoken_ratio(ratio: PairedRatio) -> str:
    """`2.41x (2.35-2.47)`, and "undecided" where the interval does not tell."""
    if ratio.low is None or ratio.high is None:
        return f"{ratio.median:.2f}x (undecided, too few pairs)"
    word = f", {STATEMENTS['undecided']}" if ratio.statement == "undecided" else ""
    return f"{ratio.median:.2f}x ({ratio.low:.2f}-{ratio.high:.2f}{word})"


def speed_range(ratios: list[PairedRatio]) -> str:
    """`2.18-3.38x` over the settings, `2.18x` of one."""
    medians = sorted(ratio.median for ratio in ratios)
    least, most = f"{medians[0]:.2f}", f"{medians[-1]:.2f}"
    return f"{least}x" if least == most else f"{least}-{most}x"


def points_apart(change: Difference) -> str:
    """`-0.9 ± 1.2 points`: the difference with half the width of its interval."""
    half = 50 * (change.high - change.low)
    margin = f" ± {half:.1f}" if half else ""
    return f"{100 * change.value:+.1f}{margin} points"


def _speed_point(run: RunData) -> str:
    speeds = _speeds(run.bench, run.bench.baseline, f"the speed of {_baseline_name(run)}")
    if not speeds:
        return "speed was not measured"
    unrounded = _speeds(run.bench, "compressed_float32", "that of its float32 form")
    return "; ".join(part for part in (speeds, _int8_speeds(run), unrounded) if part)


def _int8_speeds(run: RunData) -> str:
    int8 = run.bench.variants.get("dense_int8")
    setting = (int8.quantisation or {}).get("setting") if int8 else None
    speeds = _speeds(run.bench, "dense_int8", "that of dense int8" + (f" ({setting})" if setting else ""))
    if speeds:
        return speeds
    reason = int8.unavailable if int8 else None
    return f"dense int8 was not measured ({reason})" if reason else "dense int8 was not measured"


def _speeds(bench: BenchReport, baseline: str, of_what: str) -> str:
    """`2.41x (2.35-2.47) the speed of dense at batch 1`: every setting; beyond a few the first and the range of all."""
    paired = [(s, r) for s in bench.settings if (r := s.ratio("compressed", baseline)) is not None]
    spoken = [
        f"{spoken_ratio(ratio)}{'' if place else f' {of_what}'} at {setting.label}"
        for place, (setting, ratio) in enumerate(paired)
    ]
    if len(spoken) <= _SHOWN_SETTINGS:
        return " and ".join(spoken)
    return f"{spoken[0]} ({speed_range([ratio for _, ratio in paired])} over {len(paired)} settings)"


def _baseline_name(run: RunData) -> str:
    if not run.has_dense_model:
        return "the same weights in dense kernels"
    dense, ours = run.stage("dense").get("steps"), run.stage("prune").get("steps")
    if dense is None or ours is None:
        return "dense"
    if not dense:
        return "the dense model as given"
    if dense == ours:
        return f"dense (trained for the same {dense} steps)"
    return f"dense (trained for {dense} steps, the pruned model for {ours})"


def _size_point(run: RunData) -> str:
    disk, encoder = (_share(run.bench, key, run.bench.baseline) for key in ("disk_bytes", "encoder_bytes"))
    zeros = "" if run.sparsity is None else f"; {run.sparsity:.1%} of the prunable weights are zero"
    zeros += _spoken_values(run)
    if disk is None:
        return f"size was not measured{zeros}"
    inner = [f"encoder {encoder:.2f}x"] if encoder is not None else []
    versus = _share(run.bench, "disk_bytes", "dense_int8")
    inner += [f"{versus:.2f}x the size of dense int8"] if versus is not None else []
    return f"{disk:.2f}x the size on disk" + (f" ({', '.join(inner)})" if inner else "") + zeros


def _spoken_values(run: RunData) -> str:
    """How many of the sparse layers have 8-bit values; nothing where none has."""
    sparse = [layer for layer in run.layers if layer["form"] == "csr"]
    rounded = sum(layer.get("values") == "int8" for layer in sparse)
    spoken = f"; {rounded} of {len(sparse)} sparse layers have 8-bit values" if rounded else ""
    spoken += "; attention between them runs in 8 bits" if run.int8_attention else ""
    return spoken + ("; embeddings are stored in 8 bits" if run.int8_tables else "")


def _share(bench: BenchReport, key: str, baseline: str) -> float | None:
    ours, other = bench.variants.get("compressed"), bench.variants.get(baseline)
    if ours is None or other is None or ours.size is None or other.size is None:
        return None
    below = getattr(other.size, key)
    return getattr(ours.size, key) / below if below else None


def _quality_point(run: RunData) -> str:
    ours, dense, int8 = run.compressed_metric, run.dense_metric, run.int8_metric
    if ours is None:
        return "the task metric was not measured"
    taught = " (trained with distillation)" if run.stage("prune").get("distillation") else ""
    name = f"{metric_name(ours.name, run.task)} {_percent(ours)}{taught}"
    beside = _rounding(run) + (f"; dense int8 {_percent(int8)}" if int8 is not None else "")
    if dense is None:
        return f"{name}, no dense model to compare with{beside}"
    change = ours.minus(dense)
    split = "test " if run.split == "test" else ""
    how = f", paired on {_counted(ours, split)}" if change.paired else ""
    return f"{name} against {_percent(dense)} for dense ({points_apart(change)}{how}){beside}"


def _rounding(run: RunData) -> str:
    """What 8-bit values cost, against the same file before its weights were rounded."""
    ours, float32 = run.compressed_metric, run.float32_metric
    if ours is None or float32 is None:
        return ""
    return f"; its float32 form {_percent(float32)} (8-bit values: {points_apart(ours.minus(float32))})"


def _counted(metric: Metric, split: str) -> str:
    """`872 examples`, `800 test queries`: what was resampled."""
    if metric.scores is None:
        return f"{metric.examples} {split}examples"
    return f"{metric.scores.units} {split}{UNITS.get(metric.scores.unit, 'units')}"


def _percent(metric: Metric) -> str:
    return metric_figure(metric.name, metric.value)
