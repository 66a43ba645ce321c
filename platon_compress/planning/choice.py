"""The form and the value type of every weight, as the cost table expects them to be fastest.

Rules:

1. A weight with at least 5 % zeros becomes CSR where the table expects `min_speedup` over dense; with 8-bit values asked
   for, their own column says so, and where the table lacks it that of float32, which is slower. (Units that were pruned
   whole leave layers without zeros: those stay what any ONNX Runtime computes.)
2. A weight that is as fast in either form, within 10 %, becomes CSR beside others of its half of an encoder block: the
   export joins them into one node, which no timing of single layers shows.
3. `auto` decides for all weights of half an encoder block at once, because the export joins only equal value types into
   one node: 8-bit values where the table expects these layers together to be `min_speedup` times as fast with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from platon_compress.planning.config import Form, PlanConfig
from platon_compress.planning.cost import CostEstimate, CostTable
from platon_compress.planning.coupling import UnitPlan
from platon_compress.planning.layers import FLOAT32, INT8, LayerPlan

__all__ = ["Weight", "decide"]

_ALIKE = 1.1  # rule 2: the margin that PlanConfig.min_speedup leaves by default
_FULL = 0.95  # rule 1; units are kept in multiples of eight, so that a few empty ones stay among them


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight with what shrinking leaves of it.

    block     the half of an encoder block that it belongs to, or itself
    computes  whether that half does anything beside its residual path; one that does not leaves the exported file
    """

    name: str
    shape: tuple[int, int]
    units: UnitPlan | None
    final_shape: tuple[int, int]
    density: float
    block: str
    computes: bool = True

    @property
    def kept(self) -> tuple[int, ...] | None:
        return None if self.units is None else self.units.kept


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """found: what the table says of the layer that shrinking leaves; None where it says nothing."""

    form: Form
    values: str
    found: CostEstimate | None
    why: str

    @property
    def seconds(self) -> float | None:
        """Of the layer in this form; None where they were not measured."""
        if self.found is None or self.form is not Form.CSR:
            return None if self.found is None else self.found.dense_seconds
        return self.found.csr_int8_seconds if self.values == INT8 else self.found.csr_seconds


def decide(weights: Sequence[Weight], config: PlanConfig, table: CostTable) -> tuple[LayerPlan, ...]:
    """One decision per weight, in their order."""
    blocks: dict[str, list[Weight]] = {}
    for weight in weights:
        blocks.setdefault(weight.block, []).append(weight)
    chosen: dict[str, _Choice] = {}
    for members in blocks.values():
        if config.values == "auto":
            choices = _fastest_values(members, config, table)
        else:
            choices = _of_block(members, config, table, config.values)
        chosen |= {weight.name: choice for weight, choice in zip(members, choices, strict=True)}
    return tuple(_layer(weight, config, table, chosen[weight.name]) for weight in weights)


def _layer(weight: Weight, config: PlanConfig, table: CostTable, choice: _Choice) -> LayerPlan:
    note = "" if weight.units is None else weight.units.reason
    size = f"{weight.density:.1%} of {weight.final_shape[0]}x{weight.final_shape[1]} is not zero"
    return LayerPlan(
        name=weight.name,
        group=None if weight.units is None else weight.units.coupling.name,
        shape=weight.shape,
        density=weight.density,
        form=choice.form,
        kept=weight.kept,
        expected_speedup=_expected_speedup(weight, config, table, choice),
        reason="; ".join(part for part in (note, choice.why, size) if part),
        values=choice.values,
    )


def _fastest_values(members: Sequence[Weight], config: PlanConfig, table: CostTable) -> Sequence[_Choice]:
    """The same value type for all CSR weights of half a block."""
    floats, rounded = (_of_block(members, config, table, values) for values in (FLOAT32, INT8))
    reason = _why_float32(floats, rounded, config)
    return rounded if reason is None else [_staying(choice, reason) for choice in floats]


def _of_block(
    members: Sequence[Weight], config: PlanConfig, table: CostTable, values: str
) -> Sequence[_Choice]:
    """What each weight of half a block becomes beside the others."""
    choices = [_choose(weight, config, table, values) for weight in members]
    if all(choice.form is not Form.CSR for choice in choices):
        return choices
    return [
        _beside_csr(weight, choice, config, table, values)
        for weight, choice in zip(members, choices, strict=True)
    ]


def _beside_csr(
    weight: Weight, choice: _Choice, config: PlanConfig, table: CostTable, values: str
) -> _Choice:
    """What a weight becomes whose half of the block holds CSR: CSR too, where that is expected to lose next to nothing."""
    found = choice.found
    if choice.form is Form.CSR or found is None or _no_csr_anywhere(weight, config) or table.unfit():
        return choice
    if found.csr_seconds_with(values) > _ALIKE * found.dense_seconds:
        return choice
    why = f"{_expectation(found, values)}, and one node computes it with others of its half of the block"
    return replace(choice, form=Form.CSR, values=values, why=why)


def _why_float32(floats: Sequence[_Choice], rounded: Sequence[_Choice], config: PlanConfig) -> str | None:
    """Why these layers together keep float32 values; None where 8-bit ones are expected to be faster."""
    pairs = [pair for pair in zip(floats, rounded, strict=True) if Form.CSR in (pair[0].form, pair[1].form)]
    if not pairs:
        return "none of them is CSR"
    before, after = (_total(side) for side in zip(*pairs, strict=True))
    if before is None or after is None:
        return "the cost table does not say how fast 8-bit ones are"
    if before / after < config.min_speedup:
        return f"with 8-bit ones its part of the block is expected to be {before / after:.2f}x as fast"
    return None


def _total(choices: Sequence[_Choice]) -> float | None:
    """Seconds of all; None where one is not known."""
    seconds = [choice.seconds for choice in choices if choice.seconds is not None]
    return sum(seconds) if len(seconds) == len(choices) else None


def _staying(choice: _Choice, reason: str) -> _Choice:
    return (
        replace(choice, why=f"{choice.why}; float32 values, {reason}") if choice.form is Form.CSR else choice
    )


def _choose(weight: Weight, config: PlanConfig, table: CostTable, values: str) -> _Choice:
    found = table.estimate(*weight.final_shape, weight.density, config.rows, config.used_threads)
    if config.force is Form.CSR and weight.computes:
        why = "CSR because it was forced" + ("" if values == FLOAT32 else ", with 8-bit values as asked for")
        return _Choice(form=Form.CSR, values=values, found=found, why=why)
    refusal = _csr_refusal(weight, config, table, found, values)
    if found is None or refusal is not None:
        form = Form.DENSE if weight.kept is None else Form.STRUCTURED
        return _Choice(form=form, values=FLOAT32, found=found, why=f"no CSR: {refusal}")
    return _Choice(form=Form.CSR, values=values, found=found, why=_expectation(found, values))


def _csr_refusal(
    weight: Weight, config: PlanConfig, table: CostTable, found: CostEstimate | None, values: str
) -> str | None:
    """Why this weight does not become CSR; None when it does."""
    if reason := _no_csr_anywhere(weight, config) or table.unfit():
        return reason
    if found is None:
        return _unknown(weight, config, table)
    if found.dense_seconds / found.csr_seconds_with(values) < config.min_speedup:
        return f"it is expected to be {_times(found, values)} as fast as dense, below {config.min_speedup:g}x"
    return None


def _no_csr_anywhere(weight: Weight, config: PlanConfig) -> str | None:
    """Why it does not become CSR on any machine."""
    if not weight.computes:
        return "its half of the block holds no weight at the end, so the exported file leaves all of it out"
    if config.force is not None:
        return f"{config.force} was forced"
    if weight.density > _FULL:
        return "it holds hardly any zeros"
    return "the sparse kernels run on the CPU, the plan is for cuda" if config.device == "cuda" else None


def _expectation(found: CostEstimate, values: str) -> str:
    faster = f"is expected to be {_times(found, values)} as fast as dense"
    if values == FLOAT32:
        return f"CSR {faster}"
    if found.csr_int8_seconds is None:
        unknown = "the cost table does not say how much faster the 8-bit ones asked for are"
        return f"CSR {faster} with float32 values; {unknown}"
    gain = found.csr_seconds / found.csr_int8_seconds
    return f"CSR with 8-bit values {faster}, {gain:.2f}x as fast as float32"


def _times(found: CostEstimate, values: str) -> str:
    out_features, in_features, rows, threads = found.cell
    ratio = found.dense_seconds / found.csr_seconds_with(values)
    return f"{ratio:.2f}x (table: {out_features}x{in_features}, {rows} rows, {threads} threads)"


def _unknown(weight: Weight, config: PlanConfig, table: CostTable) -> str:
    out_features, in_features = weight.final_shape
    missing = "it is denser than anything in the cost table"
    if table.estimate(out_features, in_features, 0.0, config.rows, config.used_threads) is None:
        where = f"{out_features}x{in_features} at {config.rows} rows and {config.used_threads} threads"
        missing = f"the cost table has nothing near {where}"
    command = f"calibrate --shapes {out_features}x{in_features} --tokens {config.rows}"
    return f"{missing}; `platon-compress {command}` measures it for plan.cost_table"


def _expected_speedup(weight: Weight, config: PlanConfig, table: CostTable, choice: _Choice) -> float | None:
    """Seconds of the dense original / seconds of the chosen form, both as the table expects them."""
    if choice.form is Form.DENSE:
        return 1.0
    sparse = choice.form is Form.CSR
    before, dense = (
        table.estimate(*shape, 0.0, config.rows, config.used_threads)
        for shape in (weight.shape, weight.final_shape)
    )
    after = choice.found if sparse else dense
    if before is None or after is None or config.device != "cpu":
        return None
    return before.dense_seconds / (after.csr_seconds_with(choice.values) if sparse else after.dense_seconds)
