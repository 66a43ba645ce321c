"""Whether the measured file meets its recipe's budget: at the planned deployment, with the drop on the validation rows."""

from collections.abc import Mapping
from statistics import median

from platon_compress.budget import TOLERANCE, Budget, Figures
from platon_compress.report.run_data import RunData

__all__ = ["budget_misses", "budget_of", "measured_figures", "spoken_budget"]


def budget_of(run: RunData) -> Budget | None:
    """What the run's recipe asks for. None where it asks for nothing."""
    section = run.recipe.get("budget")
    return Budget.of(section) if isinstance(section, Mapping) else None


def measured_figures(run: RunData) -> Figures | None:
    """Of the compressed file at the batch and tokens that the plan is for; None where they were not timed."""
    planned = run.plan.get("config")
    if not isinstance(planned, Mapping):
        return None
    for setting in run.bench.settings:
        ratio = setting.ratio("compressed", run.bench.baseline)
        size = run.bench.variants["compressed"].size
        if setting.batch != planned["batch"] or setting.tokens not in (None, planned["tokens"]):
            continue
        if ratio is None or size is None or not setting.samples:
            continue
        return Figures(
            latency_seconds=median(setting.samples["compressed"].warm_seconds),
            speedup=ratio.median,
            size_bytes=size.disk_bytes,
        )
    return None


def drop_of(run: RunData) -> float | None:
    """Points that the finished candidate lies below dense on the validation rows; None where nothing was chosen."""
    drop = run.stage("choose").get("drop")
    return float(drop["value"]) if isinstance(drop, Mapping) else None


def budget_misses(run: RunData) -> tuple[str, ...]:
    """What the measured file misses of the budget, for a message; nothing without a budget."""
    budget = budget_of(run)
    if budget is None:
        return ()
    figures, drop = measured_figures(run), drop_of(run)
    missed: tuple[str, ...] = ()
    if budget.asks_for_speed_or_size:
        missed = ("it was not timed at the planned batch and tokens",)
        if figures is not None:
            missed = budget.misses(figures, tolerance=TOLERANCE)
    if budget.max_drop is not None and (drop is None or not budget.allows(drop)):
        said = "an unknown drop" if drop is None else f"{drop:.2f} points lost"
        missed = (*missed, f"{said} (limit {budget.max_drop:g})")
    return missed


def spoken_budget(run: RunData) -> str:
    """`The budget (at most 10 ms) is met: 9.4 ms, 3.1x dense, 48.2 MB.`; empty without a budget."""
    budget = budget_of(run)
    if budget is None:
        return ""
    figures, drop, missed = measured_figures(run), drop_of(run), budget_misses(run)
    if missed:
        return f"The budget ({budget.spoken()}) is missed: {', '.join(missed)}."
    parts = [] if figures is None else [figures.spoken()]
    parts += [] if drop is None else [f"{drop:.2f} points below dense on the validation rows"]
    return f"The budget ({budget.spoken()}) is met: {', '.join(parts)}."
