"""`compression_config` of a compressed model's config.json: what a reader needs beside the tensors, checked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from platon_compress.errors import InputError
from platon_compress.formats.storage import ENCODINGS

__all__ = ["DTYPES", "FORMAT", "CompressionConfig", "GroupRecord"]

FORMAT = "platon-sparse"
_VERSION = 1
DTYPES = ("float32", "float16", "bfloat16")
_CURE = "save the model again with save_compressed, or fetch the whole folder"
_MOST_UNITS = 2**20


@dataclass(frozen=True, kw_only=True)
class GroupRecord:
    """Heads or neurons of which only ``kept`` are left; ``producers`` and ``consumer`` name linear layers."""

    kind: str
    units: int
    unit_size: int
    stacks: int
    kept: tuple[int, ...]
    producers: tuple[str, ...]
    consumer: str

    @classmethod
    def from_dict(cls, data: Any) -> "GroupRecord":
        """Raises InputError for fields that are missing or do not fit each other."""
        fields = _mapping(data, "an entry of removed")
        kept = _list(fields, "kept", int)
        record = cls(
            kind=_typed(fields, "kind", str),
            units=_count(fields, "units"),
            unit_size=_count(fields, "unit_size"),
            stacks=_count(fields, "stacks"),
            kept=tuple(kept),
            producers=tuple(_list(fields, "producers", str)),
            consumer=_typed(fields, "consumer", str),
        )
        rising = all(a < b for a, b in zip((-1, *kept), (*kept, record.units), strict=True))
        if not kept or not rising:
            raise _broken(f"kept of {record.consumer} is not rising numbers below {record.units} units")
        return record


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """What `compression_config` holds.

    encodings   by the name of every sparse tensor, one of ENCODINGS
    csr         names of the tensors that the export takes as CSR
    int8        names of those among them that the export rounds to 8-bit numbers; the tensors are not rounded
    """

    model_class: str
    transformers: str
    dtype: str
    encodings: Mapping[str, str]
    csr: tuple[str, ...]
    removed: tuple[GroupRecord, ...] = ()
    int8: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; :meth:`from_dict` reads it back."""
        return {
            "format": FORMAT,
            "version": _VERSION,
            "model_class": self.model_class,
            "transformers": self.transformers,
            "dtype": self.dtype,
            "encodings": dict(self.encodings),
            "csr": list(self.csr),
            "removed": [asdict(record) for record in self.removed],
            **({"int8": list(self.int8)} if self.int8 else {}),
        }

    @classmethod
    def from_dict(cls, data: Any) -> "CompressionConfig":
        """Raises InputError for another format or version, and for fields that do not fit."""
        fields = _mapping(data, "compression_config")
        if fields.get("format") != FORMAT:
            raise _broken(f"its format is {fields.get('format')!r:.60}, not {FORMAT!r}")
        if fields.get("version") != _VERSION:
            raise InputError(
                f"compression_config has version {fields.get('version')!r:.60}, this release reads {_VERSION}; "
                "install the release of platon-compress that wrote it, or a newer one"
            )
        dtype = _typed(fields, "dtype", str)
        encodings = _mapping(fields.get("encodings"), "encodings")
        csr = tuple(_list(fields, "csr", str))
        if dtype not in DTYPES or any(code not in ENCODINGS for code in encodings.values()):
            raise _broken(f"its dtype is {dtype!r:.60} or an encoding is none of {', '.join(ENCODINGS)}")
        if not set(csr) <= encodings.keys():
            raise _broken(f"{min(set(csr) - encodings.keys())!r:.200} is listed as CSR, but is not sparse")
        int8 = tuple(_list(fields, "int8", str)) if "int8" in fields else ()
        if not set(int8) <= set(csr):
            raise _broken(f"{min(set(int8) - set(csr))!r:.200} is listed as int8, but not as CSR")
        return cls(
            model_class=_typed(fields, "model_class", str),
            transformers=_typed(fields, "transformers", str),
            dtype=dtype,
            encodings=dict(encodings),
            csr=csr,
            removed=tuple(GroupRecord.from_dict(entry) for entry in _list(fields, "removed", dict)),
            int8=int8,
        )


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _broken(f"{what} is a {type(value).__name__}, not an object")
    return value


def _typed(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    if type(fields.get(name)) is not kind:
        raise _broken(f"{name} is {fields.get(name)!r:.60}, not of type {kind.__name__}")
    return fields[name]


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = _typed(fields, name, int)
    if not 1 <= value <= _MOST_UNITS:
        raise _broken(f"{name} is {value}, not between 1 and {_MOST_UNITS}")
    return value


def _list(fields: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    values = _typed(fields, name, list)
    if any(type(value) is not kind for value in values):
        raise _broken(f"{name} holds something other than {kind.__name__}")
    return values


def _broken(what: str) -> InputError:
    return InputError(f"compression_config cannot be used: {what}; {_CURE}")
