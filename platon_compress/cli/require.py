"""`--require "accuracy_drop<=1, speedup>=2"`: what must hold of a run's figures, or the exit status is 1."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from platon_compress.errors import CheckFailedError, InputError, shown

__all__ = ["Requirement", "check_budget", "check_requirements", "parse_requirements"]

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*([^\s<>=]+)\s*")


@dataclass(frozen=True)
class Requirement:
    """One condition: the figure `name` compared with `bound`."""

    name: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.comparison}{self.bound:g}"

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether it does; what was not measured does not."""
        return self.name in figures and _COMPARISONS[self.comparison](figures[self.name], self.bound)


def parse_requirements(text: str | None) -> tuple[Requirement, ...]:
    """The conditions of a `--require`, none for None. Raises InputError in one line."""
    return () if text is None else tuple(_parse(part) for part in text.split(","))


def check_budget(output: Path) -> None:
    """Raises CheckFailedError where the measured file misses the budget of the finished run in `output`."""
    from platon_compress.report.budget import budget_misses
    from platon_compress.report.run_data import read_run

    if missed := budget_misses(read_run(output)):
        raise CheckFailedError(f"the budget is missed: {', '.join(missed)}; the report is in {output}")


def check_requirements(requirements: Iterable[Requirement], output: Path) -> None:
    """Compare with the figures of the finished run in `output`. Raises CheckFailedError, naming all that fail."""
    wanted = tuple(requirements)
    if not wanted:
        return
    from platon_compress.report.requirements import figures
    from platon_compress.report.run_data import read_run

    found = figures(read_run(output))
    failed = [
        f"{requirement} ({_measured(requirement, found)})"
        for requirement in wanted
        if not requirement.holds(found)
    ]
    if failed:
        raise CheckFailedError(f"required, but not so: {', '.join(failed)}; the report is in {output}")


def _measured(requirement: Requirement, figures: Mapping[str, float]) -> str:
    value = figures.get(requirement.name)
    return "it was not measured" if value is None else f"it is {value:.4g}"


def _parse(text: str) -> Requirement:
    from platon_compress.report.requirements import FIGURES

    form = _FORM.fullmatch(text)
    if form is None:
        raise InputError(
            f"--require holds {shown(text.strip())}; write a figure, one of {' '.join(_COMPARISONS)} and a number, "
            "for example speedup>=2"
        )
    name, comparison, number = form.groups()
    if name not in FIGURES:
        raise InputError(f"--require names {name!r}; the figures are {', '.join(FIGURES)}")
    return Requirement(name, comparison, _number(number, text))


def _number(number: str, text: str) -> float:
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise InputError(
            f"--require holds {shown(text.strip())}, but {number!r} is no number; write for example 2.5"
        )
    return bound
