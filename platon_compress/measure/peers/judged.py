"""What an engine's answers are worth: its outputs for real rows, scored as `verify` scores our own files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from platon_compress.measure.peers.process import Engine, EngineProcess
from platon_compress.measure.peers.worker import read_batches, write_batches
from platon_compress.scoring import Batch, Evaluation, Outputs, Scores

__all__ = ["JUDGED_KINDS", "JudgedRows", "judge"]

JUDGED_KINDS = ("onnxruntime", "openvino", "openvino-int8")
"""Engines that answer batches of any size with the weights of the run; the others are only timed."""
_AT_A_TIME = 64  # batches a file: small answers, and a process that hangs is noticed


@dataclass(frozen=True, kw_only=True)
class JudgedRows:
    """evaluation: the rows that the run's own files are judged on. calibration: unlabelled batches for 8-bit engines."""

    evaluation: Evaluation
    calibration: Sequence[Batch] = ()

    @property
    def parts(self) -> int:
        """Files that the batches of the evaluation are handed over in."""
        return -(-len(self.evaluation.batches) // _AT_A_TIME)


def judge(
    engine: Engine, rows: JudgedRows, scratch: Path, *, threads: int, step: Callable[[str], None]
) -> Scores:
    """The scores of `engine` on `rows`, whose evaluation can be scored; `step` is called after each part.

    Raises EngineFailedError.
    """
    batches = rows.evaluation.batches
    feed, part, out = (scratch / name for name in ("judged-feed.npz", "judged-part.npz", "judged-out.npz"))
    np.savez(feed, **{name: np.asarray(array) for name, array in batches[0].items()})  # type: ignore[arg-type]
    outputs: list[Outputs] = []
    with EngineProcess(engine, feed, threads=threads, any_size=True) as process:
        for start in range(0, len(batches), _AT_A_TIME):
            write_batches(str(part), batches[start : start + _AT_A_TIME])
            process.answer(part, out)
            outputs += read_batches(str(out))
            step(f"metric, {engine.name}")
    assert rows.evaluation.score is not None  # noqa: S101 - the caller asked
    return rows.evaluation.score(outputs)
