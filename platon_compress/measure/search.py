"""Which sparsity of which form meets a budget, before anybody trains.

Rules:

1. A form is a granularity of the zeros with a value type. Of each form one real file is made, with random masks, at the
   sparsity where the cost table alone expects the budget to be met, and timed in pairs with dense.
2. At another sparsity its seconds are those of that file and what the cost table says that its linear layers gain or
   lose in between; its bytes are those of that file and the non-zeros in between, each as large as in that file.
   The seconds of "structured" come from measured half blocks instead, and its sparsity is the share of the time that goes.
3. The answer is the smallest sparsity from LEAST to MOST, in steps of 0.01, whose figures meet the budget; of the time
   that goes the smallest share from LEAST_TIME on. Where none does, the figures at MOST are the best of that form.

Random masks are an upper bound on the speed of trained ones, and nothing is said about accuracy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.budget import Budget, Figures
from platon_compress.errors import InputError
from platon_compress.measure.trial_files import DENSE, DENSE_INT8, Trial, figures_of, trying
from platon_compress.measure.trial_masks import BLOCKS, ELEMENT, STRUCTURED, TrialMasks
from platon_compress.progress import Progress, Steps
from platon_compress.pruning.config import UNIT_KINDS
from platon_compress.schemas import stamped

if TYPE_CHECKING:
    import torch

    from platon_compress.pruning.unit_costs import UnitCosts

__all__ = ["FORMS", "LEAST", "LEAST_TIME", "MOST", "Form", "Search", "SearchRow", "search"]

LEAST, LEAST_TIME, MOST = 0.5, 0.1, 0.98
_DENSITIES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.55)  # of the cost table; random masks may land a little above 0.5
_BYTES = {"float32": 5.0, "int8": 2.0, "auto": 5.0}  # a non-zero, before a file of that form is there


@dataclass(frozen=True, order=True)
class Form:
    """granularity: of `prune.granularity`; values: of `plan.values`, where zeros stay in the weights."""

    granularity: str
    values: str

    def __str__(self) -> str:
        return self.granularity if self.shrinks else f"{self.granularity} {self.values}"

    @property
    def shrinks(self) -> bool:
        """Whether whole units go, so that dense layers are left."""
        return self.granularity in UNIT_KINDS


FORMS = (
    *(Form(granularity, values) for granularity in (ELEMENT, BLOCKS) for values in ("float32", "int8")),
    Form(STRUCTURED, "float32"),
)
"""What competes where nobody has chosen yet."""


@dataclass(frozen=True, kw_only=True)
class SearchRow:
    """The answer of one form: the smallest sparsity that meets the budget, or MOST where none does.

    figures: expected there; misses: what they miss of the budget; measured: of the file at `measured_sparsity`.
    """

    form: Form
    sparsity: float
    figures: Figures
    misses: tuple[str, ...]
    measured_sparsity: float
    measured: Figures

    @property
    def meets(self) -> bool:
        return not self.misses


@dataclass(frozen=True, kw_only=True)
class Search:
    """Rows in the order of the forms. dense_int8: None where it cannot be made."""

    budget: Budget
    rows: tuple[SearchRow, ...]
    dense: Figures
    dense_int8: Figures | None
    tokens: int
    batch: int
    threads: int
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def can_be_met(self) -> bool:
        """Whether some form meets the budget."""
        return any(row.meets for row in self.rows)

    @property
    def best(self) -> SearchRow:
        """What comes nearest where nothing meets it: the fastest, or the smallest where only a size is asked for."""
        timed = self.budget.max_latency_seconds is not None or self.budget.min_speedup is not None
        return min(
            self.rows, key=lambda row: row.figures.latency_seconds if timed else row.figures.size_bytes
        )

    def refusal(self) -> str:
        """One line that says why not, and the best that can be had."""
        row = self.best
        return (
            f"no sparsity up to {MOST:.0%} meets the budget ({self.budget.spoken()}): the best is {row.form} at "
            f"{row.sparsity:.0%} with {row.figures.spoken()}; raise the budget, or take a smaller model"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, raw samples in seconds included."""
        return stamped("search", asdict(self))


def search(
    model: "torch.nn.Module",
    budget: Budget,
    *,
    forms: Sequence[Form] = FORMS,
    tokens: int = 128,
    batch: int = 1,
    threads: int | None = None,
    example_inputs: "Mapping[str, torch.Tensor] | None" = None,
    cost_table: Path | None = None,
    calibrate: bool = True,
    attention: str = "auto",
    embeddings: str = "auto",
    runs: int = 20,
    progress: Progress | None = None,
) -> Search:
    """The smallest sparsity of every form with which `model` meets the `budget` in ONNX Runtime on this machine.

    `model` is left as it is; `tokens`, `batch`, `threads`, `progress` as in `measure.estimate`. `cost_table` None:
    measured first, or without `calibrate` the one that ships. `attention` and `embeddings`: as in
    `plan`.

    Raises:
        InputError: a budget that asks for neither speed nor size, no form, a model without linear layers to prune or
            without groups where those are asked for, or inputs that cannot be made up (then give `example_inputs`).
    """
    if not budget.asks_for_speed_or_size or not forms:
        raise InputError("nothing to search for; give a latency, a speed-up or a size, and at least one form")
    steps = Steps(len(forms) + 3, progress)
    with trying(model, example_inputs, batch=batch, tokens=tokens, threads=threads) as trial:
        steps.advance("export of the dense model")
        tables: dict[str, Path | None] = dict.fromkeys((ELEMENT, BLOCKS), cost_table)
        if cost_table is None and calibrate:
            tables |= _calibrated(trial, forms)
        steps.advance("calibration")
        dense = figures_of(trial.files, trial.time(runs, DENSE))[DENSE]
        costs = _unit_costs(trial, forms)
        curves = [_Curve(trial, form, tables, dense, costs) for form in forms]
        for curve in curves:
            curve.anchor = curve.smallest(curve.guess, budget)[0]
            masks = curve.zeros.masks(curve.anchor)
            trial.add(str(curve.form), masks, curve.config, attention=attention, embeddings=embeddings)
            steps.advance(f"export of {curve.form} at {curve.anchor:.0%}")
        samples = trial.time(runs)
        steps.advance("paired timing")
        figures = figures_of(trial.files, samples)
        return Search(
            budget=budget,
            rows=tuple(curve.row(figures[str(curve.form)], budget) for curve in curves),
            dense=figures[DENSE],
            dense_int8=figures.get(DENSE_INT8),
            samples=samples,
            **trial.facts(),
        )


class _Curve:
    """Figures of one form by sparsity: by the table alone, then corrected by the file at `anchor`."""

    def __init__(
        self,
        trial: Trial,
        form: Form,
        tables: Mapping[str, Path | None],
        dense: Figures,
        costs: "UnitCosts | None",
    ) -> None:
        self.form, self.anchor, self._dense = form, MOST, dense
        path = tables[BLOCKS if form.granularity == BLOCKS else ELEMENT]
        self.config = replace(trial.config, values=form.values, cost_table=path)
        self.zeros = TrialMasks(
            trial.model, form.granularity, costs if form.granularity == STRUCTURED else None
        )
        self._grid = _grid(LEAST_TIME if form.granularity == STRUCTURED else LEAST)
        seconds = self._seconds_at()
        self._seconds = {sparsity: seconds(sparsity) for sparsity in (0.0, *self._grid)}
        self._kept = {sparsity: self._weights_at(sparsity) for sparsity in (0.0, *self._grid)}
        self._others = dense.size_bytes - 4 * self._kept[0.0]
        self._bytes = 4.0 if form.shrinks else _BYTES[form.values]

    def _seconds_at(self) -> Callable[[float], float]:
        """Of a sparsity, by half blocks or by the table; only differences count."""
        from platon_compress.planning import CostTable
        from platon_compress.planning.expected import dense_seconds, sparse_seconds

        if self.form.granularity == STRUCTURED:
            return self.zeros.seconds
        table = CostTable.load(self.config.cost_table)
        count = dense_seconds if self.form.shrinks else sparse_seconds
        return lambda sparsity: count(self.zeros.layers(sparsity).values(), self.config, table)

    def _weights_at(self, sparsity: float) -> float:
        return sum(out * width * density for (out, width), density in self.zeros.layers(sparsity).values())

    def guess(self, sparsity: float) -> Figures:
        """By the table alone: what the rest of the model gains from a sparse file is not in it."""
        seconds = self._dense.latency_seconds - self._seconds[0.0] + self._seconds[sparsity]
        return self._at(seconds, sparsity, self._dense.latency_seconds, self._bytes)

    def row(self, measured: Figures, budget: Budget) -> SearchRow:
        """The answer, with the file at the anchor measured."""
        at = self.anchor
        # Where whole layers go, nothing may be left to weigh.
        kept = (measured.size_bytes - self._others) / self._kept[at] if self._kept[at] else self._bytes

        def corrected(sparsity: float) -> Figures:
            seconds = measured.latency_seconds + self._seconds[sparsity] - self._seconds[at]
            return self._at(seconds, sparsity, measured.speedup * measured.latency_seconds, kept)

        sparsity, misses = self.smallest(corrected, budget)
        return SearchRow(
            form=self.form,
            sparsity=sparsity,
            figures=corrected(sparsity),
            misses=misses,
            measured_sparsity=at,
            measured=measured,
        )

    def smallest(self, figures: Callable[[float], Figures], budget: Budget) -> tuple[float, tuple[str, ...]]:
        """The smallest sparsity whose figures meet the budget, or MOST and what is missed there."""
        for sparsity in self._grid:
            if not (misses := budget.misses(figures(sparsity))):
                break
        return sparsity, misses

    def _at(self, seconds: float, sparsity: float, dense_seconds: float, bytes_kept: float) -> Figures:
        seconds = max(seconds, 1e-9)
        return Figures(
            latency_seconds=seconds,
            speedup=dense_seconds / seconds,
            size_bytes=round(self._others + bytes_kept * self._kept[sparsity]),
        )


def _grid(least: float) -> tuple[float, ...]:
    return tuple(round(least + 0.01 * step, 2) for step in range(round((MOST - least) * 100) + 1))


def _calibrated(trial: Trial, forms: Sequence[Form]) -> dict[str, Path]:
    """Cost tables of single weights and of 4x1 blocks, where a form asks for them."""
    tables = {}
    for kind, rows in ((ELEMENT, 1), (BLOCKS, 4)):
        wanted = [form for form in forms if (form.granularity == BLOCKS) == (kind == BLOCKS)]
        if wanted:
            int8 = any(form.values != "float32" for form in wanted)
            tables[kind] = trial.calibrate(_DENSITIES, block_rows=rows, int8=int8)
    return tables


def _unit_costs(trial: Trial, forms: Sequence[Form]) -> "UnitCosts | None":
    """What heads and neurons cost, where a form asks for it."""
    from platon_compress.measure.half_blocks import measure_half_blocks
    from platon_compress.structure import find_couplings

    if all(form.granularity != STRUCTURED for form in forms):
        return None
    couplings = find_couplings(trial.model)
    if not couplings:
        name = type(trial.model).__name__
        raise InputError(f"{name} has no heads or neurons that could go; ask for other forms")
    return measure_half_blocks(trial.model, trial.inputs, couplings, threads=trial.config.used_threads)
