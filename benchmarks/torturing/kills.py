"""kill -9 in every stage of first and of repeated runs, and what must hold after each.

A name holds the old result or the new one, what the state calls finished is there, and the run goes on to the same
bits as one that nobody disturbed.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from typing import Any

from torturing.forked import command, ended, finish, fork, run_results
from torturing.jobs import Case, finished_stages

from platon_compress.errors import CheckFailedError, PlatonError

__all__ = ["REPEATED", "kill_runs"]

REPEATED = ("bake", "plan", "convert", "export", "verify")
"""Stages that a command of their own does again."""
_UNDISTURBED = 0.2  # of the runs: they go on from where a kill left the folder, to their end
_RESTARTED = 0.25  # of the finished folders; in the others a stage is done again
_LOOK_SECONDS = 0.003


def kill_runs(case: Case, kills: int, seed: int) -> dict[str, Any]:
    """Kill runs of `case` until there have been `kills`, first where there were the fewest, at moments drawn at random.

    Returns the number of kills by stage (that of the next one between two), how many runs went on from what a kill had
    left, and how many ended, all files as they must be. Raises CheckFailedError at the first broken promise.
    """
    torment = _Torment(case, random.Random(f"{seed} {case.name}"))  # noqa: S311
    while torment.killed.total() < kills:
        torment.begin()
    torment.go(None)
    return {
        "stages": {stage: torment.killed[stage] for stage in case.stages},
        "repeated": torment.repeated,
        "continued": torment.continued,
        "finished": torment.finished,
    }


class _Torment:
    """One run folder, from kill to kill."""

    def __init__(self, case: Case, moments: random.Random) -> None:
        self.case, self.moments = case, moments
        self.folder = case.whole.parent / "killed"
        self.log = self.folder.with_suffix(".log")
        self.killed = Counter[str]()
        self.repeated = self.continued = self.finished = 0
        self._left = False  # a kill left the folder as it is

    def begin(self) -> None:
        """One run: a new one or one that goes on, or a stage again; mostly it is killed."""
        open_stages = [stage for stage in self.case.stages if stage not in finished_stages(self.folder)]
        if open_stages:
            spared = self._left and self.moments.random() < _UNDISTURBED
            rarest = min(open_stages[:2], key=lambda stage: (self.killed[stage], self.moments.random()))
            self.go(None if spared else rarest)
        elif self.moments.random() < _RESTARTED:
            shutil.rmtree(self.folder)
            self._left = False
        else:
            stage = self.moments.choice([s for s in REPEATED if s in self.case.stages])
            self.go(stage, again=True)

    def go(self, stage: str | None, *, again: bool = False) -> None:
        """A run that is killed in `stage`, if it is not too fast (None: not killed); `again`: the command of that stage."""
        self.continued += self._left
        words = (str(stage),) if again else self.case.words
        child = fork(command(*words, "-o", self.folder), self.log)
        if stage is not None:
            self._await(child, stage, again)
            os.kill(child, signal.SIGKILL)
        status = finish(child)
        if status == -signal.SIGKILL:
            self.killed[words[0] if again else self._running()] += 1
            self.repeated += again
            self._left = True
        elif status != 0:
            raise CheckFailedError(f"{self._told(words)} ends with {status}: {self.log.read_text()}")
        try:
            self._check()
        except PlatonError as error:
            raise CheckFailedError(f"{self._told(words)}: {error}") from error
        if status == 0 and not again:
            self._check_whole(words)

    def _await(self, child: int, stage: str, again: bool) -> None:
        """Until somewhere in `stage`, or the child's end."""
        before = set(self.case.stages[: self.case.stages.index(stage)])
        while not again and not ended(child) and before - finished_stages(self.folder).keys():
            time.sleep(_LOOK_SECONDS)
        longest = 1.3 * self.case.seconds[stage] + (0.3 if again else 0.02)
        end = time.monotonic() + self.moments.uniform(0, longest)
        while not ended(child) and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)

    def _running(self) -> str:
        """The stage that a kill stopped."""
        finished = finished_stages(self.folder)
        return next((s for s in self.case.stages if s not in finished), self.case.stages[-1])

    def _check(self) -> None:
        """Whatever has its name is whole; whatever the state calls finished is there."""
        from platon_compress.pipeline.folder import RunFolder

        if not self.folder.exists():
            return
        opened = RunFolder.open(self.folder, self.case.kind)
        for stage in self.case.stages:
            opened.check_files(stage)
        whole, found = self.case.results, run_results(self.folder)
        for name, content in found.items():
            if whole.get(name) != content:
                raise CheckFailedError(f"{name} is neither the old result nor the new one")
        for place in {name.rpartition("/")[0] for name in found} - {""}:
            missing = {name for name in whole if name.startswith(f"{place}/")} - found.keys()
            if missing:
                raise CheckFailedError(f"{place} is only half there, without {sorted(missing)}")

    def _check_whole(self, words: tuple[str, ...]) -> None:
        if run_results(self.folder) != self.case.results:
            raise CheckFailedError(f"{self._told(words)} went on to other results than an undisturbed run")
        self.finished += 1
        self._left = False

    def _told(self, words: tuple[str, ...]) -> str:
        return f"{' '.join(words)} -o {self.folder} after {self.killed.total()} kills"
