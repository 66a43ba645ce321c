"""The cheap alternative every user has, at its best: ONNX Runtime's dynamic int8 quantisation of the dense file.

Rules:

1. The usual settings are tried: scales per output channel or per tensor, signed or unsigned weights; 7-bit weights
   where the processor has no VNNI instructions (its predecessors saturate 16-bit sums; ONNX Runtime's own advice).
2. With labels the score is the task's metric; every setting that is not certainly worse than the best, by the interval of
   the paired difference, counts as equal to it: a few hundred examples choose. Without labels nothing tells them apart,
   and all count as equal; the score is the mean difference from the dense outputs.
3. Among equals signed weights come first, because ONNX Runtime's kernels for them are faster (up to twice with VNNI): a
   rival that is slower for nothing would flatter ours.
4. Then the outputs nearest to dense's decide, not the better score: of settings that are as fast, a few hundred answers
   can prefer the one that loses points on other rows, and outputs tell them apart.

The file's metadata keeps what was tried and chosen.
"""

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platon_compress.errors import MISFITS, InputError, MissingExtraError, first_line
from platon_compress.export.outputs import all_finite, differences, onnx_outputs
from platon_compress.files import new_file
from platon_compress.scoring import Batch, Evaluation, Outputs, Scores, as_evaluation, batch_rows

__all__ = ["Int8Choice", "Int8Setting", "quantize_int8", "read_int8_choice"]

_METADATA = "platon_compress.int8"
_EXAMPLES = 16


@dataclass(frozen=True, kw_only=True)
class Int8Setting:
    """What `quantize_dynamic` is asked for."""

    per_channel: bool
    signed: bool
    reduce_range: bool

    @property
    def label(self) -> str:
        """As the report names it: "per channel, signed 8-bit weights"."""
        scales = "per channel" if self.per_channel else "per tensor"
        return (
            f"{scales}, {'signed' if self.signed else 'unsigned'} {7 if self.reduce_range else 8}-bit weights"
        )


@dataclass(frozen=True, kw_only=True)
class Int8Choice:
    """The setting that was taken and how the others did.

    chosen_by: what the scores are, in words; scores: setting to accuracy (higher is better) or mean difference from
    dense (lower is better); failed: setting to the reason why it could not be made.
    """

    setting: str
    chosen_by: str
    scores: Mapping[str, float]
    failed: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "setting": self.setting,
            "chosen_by": self.chosen_by,
            "scores": dict(self.scores),
            "failed": dict(self.failed),
        }


def quantize_int8(
    dense_onnx: str | Path, path: str | Path, examples: Sequence[Batch] | Evaluation
) -> Int8Choice:
    """Write the best dynamically quantised copy of `dense_onnx` to `path`, see the rules above.

    examples: inputs to choose by, each [batch, ...]; with an `Evaluation` that scores all of them count, else at most
    16 from all over are used.
    Raises InputError when the file is missing, nothing is given to choose by, or no setting gives a file that ONNX
    Runtime loads; MissingExtraError without onnxruntime.
    """
    source, target = Path(dense_onnx), Path(path)
    if not source.is_file():
        raise InputError(f"there is no model file at {source}; export the dense model first")
    evaluation = as_evaluation(examples)
    batches = evaluation.batches if evaluation.score is not None else _subset(evaluation.batches)
    with tempfile.TemporaryDirectory(prefix="platon-int8-") as name, _quiet():
        files = {setting: Path(name) / f"{place}.onnx" for place, setting in enumerate(_settings())}
        answers, failed = _try_all(source, files, batches)
        if not answers:
            reason = next(iter(failed.values()))
            raise InputError(f"{source.name} could not be quantised: {reason}; leave dense int8 out")
        away = _differences(onnx_outputs(source, batches, use_library=False), answers, batches)
        if evaluation.score is None:
            equal, scores = list(answers), away
            by, count = "difference from dense", sum(map(batch_rows, batches))
        else:
            scored = {setting: evaluation.score(outputs) for setting, outputs in answers.items()}
            equal, scores = _not_worse(scored), {setting: score.value for setting, score in scored.items()}
            by, count = next(iter(scored.values())).metric, evaluation.examples
        chosen = _preferred(equal, away)
        choice = Int8Choice(
            setting=chosen.label,
            chosen_by=f"{by} on {count} examples",
            scores={setting.label: score for setting, score in scores.items()},
            failed=failed,
        )
        _store(files[chosen], target, choice)
    return choice


def read_int8_choice(path: str | Path) -> Int8Choice | None:
    """What :func:`quantize_int8` wrote into the file; None in a file of another origin."""
    from platon_compress.export.reading import load_proto

    for entry in load_proto(path, external_data=False).metadata_props:
        if entry.key == _METADATA:
            try:
                return Int8Choice(**json.loads(entry.value))
            except (*MISFITS, RecursionError) as error:
                raise InputError(
                    f"{path} does not say how it was quantised ({first_line(error)}); export it again"
                ) from error
    return None


def _settings() -> list[Int8Setting]:
    reduce = not _has_vnni()
    return [
        Int8Setting(per_channel=per_channel, signed=signed, reduce_range=reduce)
        for signed in (True, False)
        for per_channel in (True, False)
    ]


def _subset(batches: Sequence[Batch]) -> list[Batch]:
    """A few examples from all over, the last batch cut where it holds too many: data may be sorted by length."""
    sizes = [batch_rows(batch) for batch in batches]
    if not sum(sizes):
        raise InputError("there are no examples to choose int8 settings by; give at least one batch")
    count = min(len(batches), -(-_EXAMPLES // max(sizes)))
    places = [place * len(batches) // count for place in range(count)]
    left = [max(0, _EXAMPLES - sum(sizes[p] for p in places[:n])) for n in range(count)]
    return [
        {name: v[:most] for name, v in batches[p].items()}
        for p, most in zip(places, left, strict=True)
        if most
    ]


def _try_all(
    source: Path, files: Mapping[Int8Setting, Path], batches: Sequence[Batch]
) -> tuple[dict[Int8Setting, list[Outputs]], dict[str, str]]:
    """Setting to its answers, and a setting's label to the reason why there are none."""
    from platon_compress.export.reading import load_proto

    answers, failed = {}, {}
    model = load_proto(source)
    # ONNX Runtime before 1.32 infers shapes anew, and stumbles over those that are there.
    del model.graph.value_info[:]
    for setting, path in files.items():
        try:
            _quantize(model, path, setting)
            outputs = onnx_outputs(path, batches, use_library=False)
            if not all_finite(outputs):
                raise ValueError("its answers are not finite")
        except MissingExtraError:
            raise
        except (
            Exception
        ) as error:  # the quantiser raises whatever its graph walk meets, and may write a broken file
            failed[setting.label] = first_line(error)
        else:
            answers[setting] = outputs
    return answers, failed


def _quantize(model: Any, path: Path, setting: Int8Setting) -> None:
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.quantization.registry import IntegerOpsRegistry
    except ImportError as error:
        raise MissingExtraError(
            "onnxruntime is not installed; run `pip install 'platon-compress[cpu]'`"
        ) from error
    quantize_dynamic(
        model,
        path,
        # ONNX Runtime 1.32 takes the standard Attention for its own of that name and breaks the graph.
        op_types_to_quantize=[name for name in IntegerOpsRegistry if name != "Attention"],
        per_channel=setting.per_channel,
        weight_type=QuantType.QInt8 if setting.signed else QuantType.QUInt8,
        reduce_range=setting.reduce_range,
    )


def _differences(
    dense: Sequence[Outputs], answers: Mapping[Int8Setting, Sequence[Outputs]], batches: Sequence[Batch]
) -> dict[Int8Setting, float]:
    """How far every setting's outputs are from `dense`, on average."""
    return {setting: differences(dense, outputs, batches)["mean_abs"] for setting, outputs in answers.items()}


def _not_worse(scored: Mapping[Int8Setting, Scores]) -> list[Int8Setting]:
    """The best setting, and all that the examples do not tell from it."""
    best = max(scored.values(), key=lambda scores: scores.value)
    return [setting for setting, scores in scored.items() if _is_equal(scores, best)]


def _preferred(equal: Sequence[Int8Setting], away: Mapping[Int8Setting, float]) -> Int8Setting:
    """Rules 3 and 4."""
    return min(equal, key=lambda setting: (not setting.signed, away[setting]))


def _is_equal(scores: Scores, best: Scores) -> bool:
    """Whether the examples do not tell the two apart, with 95 % confidence."""
    return best.minus(scores).low <= 0


def _store(file: Path, target: Path, choice: Int8Choice) -> None:
    import onnx

    model = onnx.load(str(file))
    model.metadata_props.add(key=_METADATA, value=json.dumps(choice.to_dict()))
    with new_file(target) as temporary:
        onnx.save(model, str(temporary))


def _has_vnni() -> bool:
    """Whether the processor multiplies bytes without saturating (Linux; elsewhere the safe answer, no)."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser logs advice through the root logger and prints; its errors still arrive."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
