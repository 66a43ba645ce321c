"""Runs the stages of a recipe on a folder, skipping what is done."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from platon_compress.errors import InputError
from platon_compress.measure.peers.result import EVERY_SECOND_LAYER
from platon_compress.pipeline.choosing import choose_again
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.freshness import refuse_other_settings, why_not_current
from platon_compress.pipeline.peering import measure_peers
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.smaller import smaller_stage
from platon_compress.pipeline.stage import Stage
from platon_compress.pipeline.stages import stages_of
from platon_compress.pipeline.workspace import Workspace
from platon_compress.recipe import BenchSection, Recipe, load_recipe, trusting
from platon_compress.tasks.training import prune_config

__all__ = ["bench_again", "continue_run", "read_recipe_of", "run_recipe", "stage_names"]

_MANY_STEPS = 1_000_000  # the real number is known only with the data; no interval is too long for this one
# A report can be made of these alone; what it is made of besides may be missing or older, which is then said.
_REPORT_NEEDS = ("plan", "bench")


def run_recipe(
    recipe: Recipe, output: Path, reporter: Reporter, *, until: str | None = None
) -> dict[str, Any]:
    """Run every stage of `recipe` that has not been done so on the folder `output`, up to and with `until`.

    Returns the results of all finished stages by name. Raises what the stages raise; a stage that failed or
    was killed leaves the old result or none, and the next call starts with it.
    """
    if recipe.prune is not None and recipe.prune.masks_from is None:
        prune_config(recipe.prune, _MANY_STEPS)  # refuse impossible settings before anything is written
    run = _Run(recipe, output, reporter)
    with run.folder.locked():
        run.check()
        run.do_all(until)
    return run.results()


def continue_run(
    output: Path, stage: str, reporter: Reporter, *, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Run `stage` (again) on an existing run folder. Later stages stand where its result is the same as before.

    Raises InputError when the folder holds no run, or a stage that this one needs is missing or out of date.
    """
    run = _Run(trusting(read_recipe_of(output), trust_remote_code), output, reporter)
    with run.folder.locked():
        run.check()
        run.again(stage)
    return run.results()


def bench_again(
    output: Path, settings: Mapping[str, Any], reporter: Reporter, *, peers: Sequence[str] = ()
) -> dict[str, Any]:
    """The bench stage with other `settings` of the recipe's bench section, `peers` beside it, and the report.

    A peer that has to be trained is, unless that is done. Raises InputError when the folder holds no run, or was not
    exported.
    """
    recipe = read_recipe_of(output)
    bench = BenchSection.model_validate({**recipe.bench.model_dump(), **settings})
    more = (smaller_stage(recipe),) if EVERY_SECOND_LAYER in peers else ()
    run = _Run(recipe.model_copy(update={"bench": bench}), output, reporter, more=more)
    with run.folder.locked():
        run.check()
        for stage in more:
            run.do(stage)
        run.again("bench")
        if peers:
            run.measure_peers(peers)
        run.again("report")
    return run.results()


def read_recipe_of(output: Path) -> Recipe:
    """The recipe of an existing run folder. Raises InputError when there is none."""
    path = output / "recipe.yaml"
    if not path.is_file():
        raise InputError(f"{output} holds no run (no recipe.yaml); start one with `platon-compress run`")
    return load_recipe(path)


def stage_names(recipe: Recipe) -> tuple[str, ...]:
    """The names of a recipe's stages, in order."""
    return tuple(stage.name for stage in stages_of(recipe))


class _Run:
    """One call: a recipe on a folder."""

    def __init__(
        self, recipe: Recipe, output: Path, reporter: Reporter, *, more: tuple[Stage, ...] = ()
    ) -> None:
        """`more`: stages that the recipe does not have of its own accord."""
        self.recipe = recipe
        self.stages = (*stages_of(recipe), *more)
        self.folder = RunFolder.open(output, recipe.kind)
        self._reporter = reporter
        self._work = Workspace(self.folder, recipe, reporter)
        self._done_here: set[str] = set()

    def check(self) -> None:
        """Raises InputError where the folder was made with settings that this recipe would throw away."""
        refuse_other_settings(self.stages, self.folder, self.recipe)
        text = yaml.safe_dump(self.recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
        self.folder.remember_recipe(text)

    def do_all(self, until: str | None) -> None:
        """Every stage up to `until`; where the bench stage finds a budget missed, once more from the choice on."""
        waiting = list(self.stages)
        while waiting:
            stage = waiting.pop(0)
            self.do(stage)
            if stage.name == until:
                return
            if stage.name == "bench" and self.recipe.searches and choose_again(self._work):
                place = stage_names(self.recipe).index("choose")
                self._run(self.stages[place])
                waiting = list(self.stages[place + 1 :])

    def do(self, stage: Stage) -> None:
        """Run a stage unless what it would give is there."""
        if stage.name in why_not_current(self.stages, self.folder, self.recipe):
            self._run(stage)
            return
        self.folder.check_files(stage.name, thorough=False)
        self.folder.drop_checkpoints(stage.name)
        self._heading(stage, f"{stage.title}: already done")

    def again(self, name: str) -> None:
        """Run a stage whether it is done or not. Raises InputError when it cannot be, naming the way."""
        stage = next((stage for stage in self.stages if stage.name == name), None)
        if stage is None:
            names = ", ".join(stage_names(self.recipe))
            raise InputError(f"a {self.recipe.kind} has no stage {name!r}; its stages: {names}")
        reasons = why_not_current(self.stages, self.folder, self.recipe)
        if name == "report":
            self._say_what_is_old(stage, reasons)
        elif old := next((need for need in stage.needs if need in reasons), None):
            self.folder.result(old)
            raise InputError(f"{old} is out of date: {reasons[old]}; run it before {name}, or all with `run`")
        self._run(stage)

    def measure_peers(self, peers: Sequence[str]) -> None:
        """Other engines and smaller models beside the files of the run."""
        measure_peers(self._work, peers)

    def results(self) -> dict[str, Any]:
        """What the finished stages returned, by name."""
        return {s.name: self.folder.result(s.name) for s in self.stages if self.folder.record(s.name)}

    def _run(self, stage: Stage) -> None:
        for need in stage.needs:
            if need not in self._done_here:
                self.folder.check_files(need)
        self._heading(stage, stage.title)
        settings = stage.settings(self.recipe)
        start = time.perf_counter()
        with self.folder.running(stage, settings):
            result = stage.run(self._work)
        self._work.forget(stage.name)
        self.folder.finish(stage, time.perf_counter() - start, result, settings)
        self._done_here.add(stage.name)

    def _say_what_is_old(self, report: Stage, reasons: Mapping[str, str]) -> None:
        for need in _REPORT_NEEDS:
            self.folder.result(need)
        for name in ("bake", "plan", "convert", "export", "verify", "bench"):
            if name in reasons:
                self._reporter.warn(f"{name} is out of date: {reasons[name]}")

    def _heading(self, stage: Stage, text: str) -> None:
        self._reporter.heading(self.stages.index(stage) + 1, len(self.stages), text)
