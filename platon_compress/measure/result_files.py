"""Committed results: any benchmark's JSON with a title and where it comes from, one file each.

They keep the kind and schema of the benchmark that wrote them, see :mod:`platon_compress.schemas`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platon_compress.errors import CheckFailedError, InputError
from platon_compress.files import read_json, write_json
from platon_compress.schemas import require_known

__all__ = ["read_results", "save_result"]


def save_result(
    folder: str | Path,
    name: str,
    report: Mapping[str, Any],
    *,
    title: str,
    masks: str,
    sparsity: float | None = None,
    verdict: str | None = None,
    allow_changed_tree: bool = False,
) -> Path:
    """Write `folder/name.json`: the report's own keys, and `title`, `masks` ("trained", "random", ...), `sparsity`,
    and `verdict` where the run's report gave one.

    A result is worth keeping only when its code can be found again: a report that was measured from a checkout
    with local changes raises CheckFailedError. Raises InputError for a name that is no plain file name, or a report
    without its kind.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InputError(f"{name!r} is no name for a result; use letters, digits, dots and dashes")
    stamp = {"kind": require_known(report, name, "stamp it where it is made"), "schema": report["schema"]}
    git = (report.get("environment") or {}).get("git") or {}
    if git.get("dirty") and not allow_changed_tree:
        raise CheckFailedError(
            f"{name} was measured from a checkout with local changes; commit and measure again"
        )
    path = Path(folder) / f"{name}.json"
    content = {**stamp, "title": title, "masks": masks, "sparsity": sparsity, "verdict": verdict, **report}
    return write_json(path, content)


def read_results(folder: str | Path) -> dict[str, dict[str, Any]]:
    """File stem to content, sorted by name. Raises InputError for a file that is no result of this release."""
    cure = "measure it again or delete it"
    found = {path.stem: read_json(path, cure) for path in sorted(Path(folder).glob("*.json"))}
    for name, content in found.items():
        require_known(content, f"{name}.json", cure)
    return found
