"""Large tables of cases: a part of them by default, the rest with the slow tests."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def thinned(cases: Iterable[Any], every: int) -> Sequence[Any]:
    """`cases` for `parametrize`, of which one of `every` runs by default, the first among them."""
    return [case if place % every == 0 else _slow(case) for place, case in enumerate(cases)]


def _slow(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
