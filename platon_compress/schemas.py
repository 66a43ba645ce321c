"""What a result file says it is: `kind` and `schema`, the first two keys of every results JSON.

A reader takes a file of its own kind and of the schema below, or of an older one that only lacks keys with a default.
A schema's number rises when a key changes its meaning or goes, and when an older release would read the new one wrongly;
keys that are only added leave it as it is.
"""

from collections.abc import Mapping
from typing import Any

from platon_compress.errors import InputError

__all__ = ["SCHEMAS", "require_kind", "require_known", "stamped"]

SCHEMAS = {
    "attention": 1,
    "benchmark": 1,
    "checkpoint": 1,
    "cost-table": 2,
    "estimate": 1,
    "family": 1,
    "faster-steps": 1,
    "fuzz": 1,
    "int8": 1,
    "kernels": 3,
    "machine": 1,
    "mca": 1,
    "memory": 1,
    "oneshot": 1,
    "oneshot-time": 1,
    "padding": 1,
    "pareto": 1,
    "parity": 3,
    "pauses": 1,
    "peers": 1,
    "plan": 2,
    "pruner-memory": 1,
    "quality": 1,
    "quality-cell": 1,
    "rounded": 1,
    "rounding": 1,
    "search": 1,
    "serving": 1,
    "sizes": 1,
    "threads": 1,
    "torture": 1,
    "training": 1,
}
"""Kind to the schema that this release writes and reads."""

_COMPLETED = {"parity": (2,), "plan": (1,)}
"""Older ones that are read too: what they lack has a default."""


def stamped(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` behind its kind and schema. Raises KeyError for a kind that SCHEMAS does not hold."""
    return {"kind": kind, "schema": SCHEMAS[kind], **content}


def require_kind(data: Any, kind: str, source: str, cure: str) -> Mapping[str, Any]:
    """`data` when it is a JSON object of `kind`; `source` names where it comes from.

    Raises InputError, ending with `cure`, for anything else.
    """
    if require_known(data, source, cure) != kind:
        raise InputError(f"{source} holds a result of the kind {data['kind']}, not {kind}; {cure}")
    return data


def require_known(data: Any, source: str, cure: str) -> str:
    """The kind of `data`. Raises InputError, ending with `cure`, when kind or schema are not this release's."""
    if not isinstance(data, Mapping):
        raise InputError(f"{source} holds a {type(data).__name__}, not a JSON object; {cure}")
    kind, schema = data.get("kind"), data.get("schema")
    if not isinstance(kind, str) or kind not in SCHEMAS:
        raise InputError(f"{source} names no kind of result ({_short(kind)}); {cure}")
    readable = (SCHEMAS[kind], *_COMPLETED.get(kind, ()))
    if not isinstance(schema, int) or isinstance(schema, bool) or schema not in readable:
        raise InputError(
            f"{source} has schema {_short(schema)}, this release reads {SCHEMAS[kind]} of {kind}; {cure}"
        )
    return kind


def _short(value: Any) -> str:
    return repr(value)[:40]
