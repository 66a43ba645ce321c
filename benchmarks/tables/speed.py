"""How fast, one row per model, size, sparsity and condition: the two ways of taking turns stand side by side.

The conditions differ in what the processor did just before: a session that has rested while others ran finds its
weights gone from the caches, and neighbours that burn power keep the clock down. So the same file may gain 6x in one
condition and 3x in another; both are true, and a figure without its condition says nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

from tables.markdown import KERNELS, Table, percent, setting_label

from platon_compress.measure.bench_report import BenchReport
from platon_compress.measure.peers.compare import BASELINE, INT8, OURS, OURS_INT8
from platon_compress.measure.timing import PairedRatio
from platon_compress.report.tables import format_milliseconds, format_ratio

__all__ = ["CONDITIONS", "SpeedRow", "missing_peers", "speed_rows", "speed_table"]

_BACK_TO_BACK = "back to back"
CONDITIONS = {
    _BACK_TO_BACK: "dense, dense int8 and compressed take turns in one process, 5 ms apart, spinning off",
    "after idling beside other models": "every engine in a process of its own, one inference each in turn, "
    "30 ms apart; in the rows of AVX-512 ONNX Runtime's threads are pinned, as OpenVINO's are",
    "alone in a process": "a fresh process with nothing else running",
    "four processes at once": "four processes of one thread each, without pauses",
}
_WAYS = dict(zip(("interleaved", "isolated", "concurrent"), list(CONDITIONS)[1:], strict=True))
_OWN = {OURS: "", OURS_INT8: "8-bit values"}
_HEAD = (
    "model", "zeros", "size", "condition", "dense, ms", "compressed, ms", "vs dense", "vs dense int8",
    "vs other engines",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """One result in one condition. `ratios`: the other side's name to the ratio as text; above 1 ours is faster."""

    stem: str
    entry: Mapping[str, Any]
    batch: int
    tokens: int | None
    condition: str
    dense_seconds: float
    compressed_seconds: float
    ratios: Mapping[str, str]
    form: str = ""

    @property
    def title(self) -> str:
        """The model, with the values of its weights where they are no floats, and the kernels where they are not AVX2."""
        isa = self.entry.get("environment", {}).get("isa")
        kernels = "" if isa == "avx2" else KERNELS.get(isa, "")
        return ", ".join(filter(None, (str(self.entry.get("title", "")), self.form, kernels)))

    @property
    def order(self) -> tuple[Any, ...]:
        """Model, size, sparsity, condition."""
        place = list(CONDITIONS).index(self.condition)
        title, sparsity = self.title, self.entry.get("sparsity") or 0
        return (title, self.batch, self.tokens or 0, sparsity, place, self.stem)

    def cells(self) -> tuple[str, ...]:
        """In the columns of the table."""
        others = {name: text for name, text in self.ratios.items() if name not in (BASELINE, INT8, OURS)}
        return (
            self.title,
            percent(self.entry),
            setting_label(self.batch, self.tokens),
            self.condition,
            format_milliseconds(self.dense_seconds),
            format_milliseconds(self.compressed_seconds),
            self.ratios.get(BASELINE, "-"),
            self.ratios.get(INT8, "-"),
            ", ".join(f"{name} {text}" for name, text in others.items()) or "-",
        )


def speed_rows(results: Mapping[str, Mapping[str, Any]]) -> list[SpeedRow]:
    """Every condition of every result that times models, in the table's order."""
    rows: list[SpeedRow] = []
    for stem, entry in results.items():
        if entry["kind"] == "benchmark":
            rows += _benchmark_rows(stem, entry)
        elif entry["kind"] == "peers":
            rows += _peer_rows(stem, entry)
    return sorted(rows, key=lambda row: row.order)


def speed_table(rows: Iterable[SpeedRow]) -> Table:
    """The rows as they are."""
    return Table(_HEAD, 4, [row.cells() for row in rows])


def missing_peers(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why engines that no result holds were not measured."""
    entries = [entry for entry in results.values() if entry["kind"] == "peers"]
    measured = {c["baseline"] for e in entries for setting in e["settings"] for c in setting["comparisons"]}
    absent = (item for entry in entries for item in entry["unavailable"].items())
    return list(dict.fromkeys(line for name, line in absent if name not in measured))


def _benchmark_rows(stem: str, entry: Mapping[str, Any]) -> Iterator[SpeedRow]:
    report = BenchReport.from_dict(entry)
    for setting in report.settings:
        found = {BASELINE: report.baseline, INT8: "dense_int8"}
        ratios = {name: setting.ratio("compressed", variant) for name, variant in found.items()}
        times = (setting.samples[name].median_seconds for name in (report.baseline, "compressed"))
        dense, compressed = times
        yield SpeedRow(
            stem=stem,
            entry=entry,
            batch=setting.batch,
            tokens=setting.tokens,
            condition=_BACK_TO_BACK,
            dense_seconds=dense,
            compressed_seconds=compressed,
            ratios={name: format_ratio(ratio) for name, ratio in ratios.items() if ratio is not None},
        )


def _peer_rows(stem: str, entry: Mapping[str, Any]) -> Iterator[SpeedRow]:
    for setting, (own, form), (way, condition) in product(entry["settings"], _OWN.items(), _WAYS.items()):
        ours = [c for c in setting["comparisons"] if c["candidate"] == own]
        ratios = {c["baseline"]: _way_ratio(c[way]) for c in ours if c[way] is not None}
        if ratios:
            yield SpeedRow(
                stem=stem,
                entry=entry,
                batch=setting["batch"],
                tokens=setting["tokens"],
                condition=condition,
                dense_seconds=_seconds(setting[way][BASELINE]),
                compressed_seconds=_seconds(setting[way][own]),
                ratios=ratios,
                form=form,
            )


def _way_ratio(value: Mapping[str, Any] | float) -> str:
    """In pairs with its interval; the other ways are medians over blocks, without one."""
    if isinstance(value, Mapping):
        return format_ratio(PairedRatio.from_dict(value))
    return f"{value:.2f}x"


def _seconds(measured: Mapping[str, Any]) -> float:
    """Median of one inference, in any of the ways."""
    blocks = measured.get("blocks")
    samples = measured["seconds"] if blocks is None else _flat([block["seconds"] for block in blocks])
    return median(samples)


def _flat(samples: Sequence[Any]) -> list[float]:
    found: list[float] = []
    for sample in samples:
        found += _flat(sample) if isinstance(sample, Sequence) else [sample]
    return found
