"""What is proved of a file with 8-bit weights, and how near it is to its form before they were rounded.

The whole numbers of a product are defined exactly, what lies between two products is not: a last bit of an activation
function moves a rounding, and a few layers later roundings fall independently. So two right ways to run one file give
answers that are near to each other, not equal.

Rules:

1. [exact] The file is what rounding its float32 form gives, operator by operator with all that each reads, tables of
   embeddings included; the form itself is proved as any file is.
2. [operators] Each operator with 8-bit weights, on what the file feeds it, gives the same with the kernels that a session
   takes here, with the library's portable ones and in stock ONNX Runtime, see `node_check`. This is where a wrong kernel
   shows.
3. [elsewhere] The whole file with the library and in stock ONNX Runtime: the share of the decisions that are the same
   is not certainly below what the task asks for (`Evaluation.least_agreement`): where it holds exactly, as many
   differences come by chance in 2.5 % of such samples, or more often; a single one says nothing. A decision is what a
   user of the task reads: the class of a row, the tag of a word, the answer to a question, the first passage of a
   query. Where there are none (numbers, embeddings, inputs that nobody labelled) the cosine of all outputs is at least
   LEAST_COSINE. The task's metric is not certainly apart by more than METRIC_APART: the interval of the paired
   difference reaches that near to zero.
4. [rounding] Against its float32 form the file is measured, not judged: what the loss may be is a user's choice.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from scipy.stats import binom

from platon_compress.export.node_check import MOST_RELATIVE_ERROR, NodeCheck
from platon_compress.export.outputs import all_finite, argmax_agreement, distance
from platon_compress.export.passes import SplitTables, apply_rule
from platon_compress.export.passes.clean import tidy
from platon_compress.export.quantize import quantize_as, rounded_operators
from platon_compress.export.reading import load_ir
from platon_compress.export.round_model import quantize_tables
from platon_compress.export.sensitivity import OperatorCost
from platon_compress.scoring import Batch, Difference, Evaluation, Outputs, Scores, batch_rows

__all__ = [
    "COMPRESSED",
    "COMPRESSED_STOCK",
    "FLOAT32",
    "LEAST_COSINE",
    "METRIC_APART",
    "Nearness",
    "RoundedFile",
    "check_rounded",
    "is_rounding_of",
    "sampled_places",
]

COMPRESSED, COMPRESSED_STOCK, FLOAT32 = "onnx_compressed", "onnx_compressed_stock", "onnx_float32"
"""Names of the routes: the file with the library, without it, and the form before rounding."""

LEAST_COSINE = 0.999
METRIC_APART = 0.001
_CERTAIN = 0.025  # one side of a 95 % interval, as for the metric
_SAMPLED_EXAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """Two ways' answers to the same examples.

    max_abs, mean_abs, cosine, relative_error: of all numbers that may be read; relative_error is the length of the
    difference over the second way's. outputs: how many numbers; differing: how many of them are not equal.
    decisions, changed, unit: how many, how many differ, what one is; 0 where the task has none.
    metric_difference: of the first way less the second, None where nothing was scored for both.
    passed: None where it is measured only.
    """

    pair: str
    max_abs: float
    mean_abs: float
    cosine: float
    relative_error: float
    argmax_agreement: float
    outputs: int
    differing: int
    decisions: int = 0
    changed: int = 0
    unit: str | None = None
    metric_difference: Difference | None = None
    passed: bool | None = None

    @property
    def agreement(self) -> float | None:
        """Share of the decisions that are the same; None without any."""
        return 1 - self.changed / self.decisions if self.decisions else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "agreement": self.agreement}


@dataclass(frozen=True, kw_only=True)
class RoundedFile:
    """What is known of a file with 8-bit weights, by the rules above. sensitivity: see the module of that name."""

    exact: bool
    operators: tuple[NodeCheck, ...]
    elsewhere: Nearness
    rounding: Nearness
    least_agreement: float
    sensitivity: tuple[OperatorCost, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether rules 1 to 3 hold, and all answers are finite."""
        whole = bool(self.elsewhere.passed) and math.isfinite(self.rounding.max_abs)
        return self.exact and whole and all(check.passed for check in self.operators)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "passed": self.passed,
            "exact": self.exact,
            "operators": [check.to_dict() for check in self.operators],
            "elsewhere": self.elsewhere.to_dict(),
            "rounding": self.rounding.to_dict(),
            "sensitivity": [cost.to_dict() for cost in self.sensitivity],
            "most_relative_error": MOST_RELATIVE_ERROR,
            "least_agreement": self.least_agreement,
            "least_cosine": LEAST_COSINE,
            "metric_apart": METRIC_APART,
        }


def check_rounded(
    path: str | Path,
    float32: str | Path,
    evaluation: Evaluation,
    outputs: Mapping[str, Sequence[Outputs]],
    scores: Mapping[str, Scores],
    operators: tuple[NodeCheck, ...],
    sensitivity: tuple[OperatorCost, ...] = (),
) -> RoundedFile:
    """Judge the file at `path`, whose form before rounding is at `float32`.

    outputs: by the names COMPRESSED, COMPRESSED_STOCK and FLOAT32; scores: by the same, empty where nothing is scored;
    operators: of `check_nodes`; sensitivity: of `operator_costs`.
    """

    answers = {name: _answers(evaluation, found) for name, found in outputs.items()}

    def near(way: str) -> Nearness:
        scored = COMPRESSED in scores and way in scores
        return Nearness(
            pair=f"{COMPRESSED} vs {way}",
            **_numbers(outputs[COMPRESSED], outputs[way], evaluation.batches),
            **_decided(answers[COMPRESSED], answers[way], evaluation.decision),
            metric_difference=scores[COMPRESSED].minus(scores[way]) if scored else None,
        )

    elsewhere = near(COMPRESSED_STOCK)
    return RoundedFile(
        exact=is_rounding_of(path, float32),
        operators=operators,
        elsewhere=replace(elsewhere, passed=_passes(elsewhere, evaluation.least_agreement)),
        rounding=near(FLOAT32),
        least_agreement=evaluation.least_agreement,
        sensitivity=sensitivity,
    )


def is_rounding_of(path: str | Path, float32: str | Path) -> bool:
    """Whether rounding the operators and tables of one file that are 8-bit numbers in the other gives just the other."""
    file, form = load_ir(path), load_ir(float32)
    operators = rounded_operators(file)
    quantize_as(form, operators)
    tables = any(map(_reads_int8_table, file.graph))
    if tables:
        quantize_tables(form)
    for model in (file, form):  # in the file tables may be split, as settings wanted it
        apply_rule(SplitTables(), model.graph)
        tidy(model)
    return (tables or bool(operators)) and _content(file) == _content(form)


def sampled_places(batches: Sequence[Batch]) -> list[int]:
    """Of batches from all over that hold at least 64 examples, or all: enough for operators, which see every token."""
    count = min(
        len(batches), -(-_SAMPLED_EXAMPLES * len(batches) // max(sum(map(batch_rows, batches)), 1)) or 1
    )
    return [place * len(batches) // count for place in range(count)]


def _reads_int8_table(node: ir.Node) -> bool:
    table = node.inputs[0] if node.op_type == "Gather" else None
    return table is not None and table.const_value is not None and table.const_value.dtype == ir.DataType.INT8


def _content(model: ir.Model) -> list[tuple[Any, ...]]:
    """Node by node what is done to what, whatever values and nodes are called; at the end what comes out."""
    known: dict[ir.Value | None, Any] = {None: None}
    known |= {value: value.name for value in model.graph.inputs}
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None:
            head = f"{tensor.dtype} {tensor.shape} ".encode()
            known[value] = sha256(head + tensor.tobytes()).digest()
    content: list[tuple[Any, ...]] = []
    for number, node in enumerate(model.graph):
        attributes = (ir.serde.serialize_attribute(each) for each in node.attributes.values())
        written = sorted(each.SerializeToString(deterministic=True) for each in attributes)
        content.append((node.domain, node.op_type, written, [known[value] for value in node.inputs]))
        known |= {value: (number, place) for place, value in enumerate(node.outputs)}
    return [*content, tuple((value.name, known[value]) for value in model.graph.outputs)]


def _passes(near: Nearness, least: float) -> bool:
    apart = near.metric_difference
    if not math.isfinite(near.max_abs):
        return False
    certainly_fewer = near.changed > 1 and _chance(near, 1 - least) < _CERTAIN
    same = not certainly_fewer if near.decisions else near.cosine >= LEAST_COSINE
    return same and (apart is None or (apart.low <= METRIC_APART and apart.high >= -METRIC_APART))


def _chance(near: Nearness, share: float) -> float:
    """Of finding as many decisions changed, or more, where this share of all there are changes."""
    return float(binom.sf(near.changed - 1, near.decisions, share))


def _numbers(ours: Sequence[Outputs], others: Sequence[Outputs], batches: Sequence[Batch]) -> dict[str, Any]:
    apart = distance(others, ours, batches)
    return {
        "max_abs": apart.max_abs,
        "mean_abs": apart.mean_abs,
        "cosine": apart.cosine,
        "relative_error": apart.relative_error,
        "argmax_agreement": argmax_agreement(others, ours, batches),
        "outputs": apart.count,
        "differing": apart.differing,
    }


def _answers(evaluation: Evaluation, outputs: Sequence[Outputs]) -> Sequence[Any] | np.ndarray | None:
    """What is decided; None where nothing is, or by numbers that are none."""
    return evaluation.decisions(outputs) if evaluation.decisions and all_finite(outputs) else None


def _decided(
    ours: Sequence[Any] | np.ndarray | None, others: Sequence[Any] | np.ndarray | None, unit: str
) -> dict[str, Any]:
    if ours is None or others is None:
        return {}
    changed = sum(bool(a != b) for a, b in zip(ours, others, strict=True))
    return {"decisions": len(ours), "changed": changed, "unit": unit}
