"""The key numbers: over all settings, with their intervals."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from platon_compress.measure.bench_report import SettingReport
from platon_compress.measure.timing import PairedRatio
from platon_compress.report.notes import spoken_counts
from platon_compress.report.points import points_apart, speed_range
from platon_compress.report.run_data import RunData
from platon_compress.report.tables import format_bytes, spoken_form
from platon_compress.report.words import CARDS, STATEMENTS, metric_figure, metric_title

__all__ = ["Card", "key_cards"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """One key number."""

    label: str
    value: str
    detail: str


def key_cards(run: RunData) -> tuple[Card, ...]:
    """Those that were measured, and "not measured" for the task metric, whose lack a reader must see."""
    return tuple(
        card
        for cards in (_sparsity_card, _speed_cards, _size_card, _metric_card, _parity_card)
        for card in cards(run)
    )


def _sparsity_card(run: RunData) -> Iterator[Card]:
    if run.sparsity is not None:
        counts = Counter(map(spoken_form, run.layers))
        yield Card(
            label=CARDS["sparsity"], value=f"{run.sparsity:.1%}", detail=f"layers: {spoken_counts(counts)}"
        )


def _speed_cards(run: RunData) -> Iterator[Card]:
    for label, baseline in (("speed", run.bench.baseline), ("speed_int8", "dense_int8")):
        paired = [(s, r) for s in run.bench.settings if (r := s.ratio("compressed", baseline)) is not None]
        if paired:
            value = speed_range([ratio for _, ratio in paired])
            yield Card(label=CARDS[label], value=value, detail=_spread(paired))


def _spread(paired: list[tuple[SettingReport, PairedRatio]]) -> str:
    """`95 %: 2.44 to 2.66, batch 1 to 8`: from the lowest end of the intervals to the highest."""
    where = paired[0][0].label if len(paired) == 1 else f"{len(paired)} settings"
    bounds = [(r.low, r.high) for _, r in paired if r.low is not None and r.high is not None]
    if len(bounds) < len(paired):
        return f"{where}: {STATEMENTS['undecided']}, too few pairs"
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    said = {r.statement for _, r in paired}
    word = said.pop() if len(said) == 1 else "varies by setting"
    return f"95 %: {low:.2f} to {high:.2f}, {where}: {STATEMENTS.get(word, word)}"


def _size_card(run: RunData) -> Iterator[Card]:
    ours, dense = (run.bench.variants[n].size for n in ("compressed", run.bench.baseline))
    if ours is not None and dense is not None and dense.disk_bytes:
        spoken = f"{format_bytes(ours.disk_bytes)} instead of {format_bytes(dense.disk_bytes)}"
        yield Card(label=CARDS["size"], value=f"{ours.disk_bytes / dense.disk_bytes:.2f}x", detail=spoken)


def _metric_card(run: RunData) -> Iterator[Card]:
    ours, dense = run.compressed_metric, run.dense_metric
    if ours is None:
        yield Card(label=CARDS["metric"], value="not measured", detail="the run had no labelled examples")
        return
    detail = f"on {ours.examples} examples" if ours.examples else ""
    if dense is not None:
        detail = f"{points_apart(ours.minus(dense))} against dense"
    yield Card(
        label=metric_title(ours.name, run.task), value=metric_figure(ours.name, ours.value), detail=detail
    )


def _parity_card(run: RunData) -> Iterator[Card]:
    worst = run.worst_difference
    if worst is not None:
        answer = "yes" if run.parity.get("passed") else "NO"
        what = "its float32 form against" if run.rounded else "against"
        detail = f"{what} the pruned model on {run.parity.get('examples')} examples, largest difference {worst:.1e}"
        yield Card(label=CARDS["parity"], value=answer, detail=detail)
