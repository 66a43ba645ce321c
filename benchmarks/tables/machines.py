"""What one call of machine.py measured on another processor: whole encoders against dense and dense int8."""

from collections.abc import Iterator, Mapping
from typing import Any

from tables.markdown import Table, setting_label

from platon_compress.measure.timing import compare, percentiles
from platon_compress.report.tables import format_milliseconds, format_ratio

__all__ = ["machine_tables", "processor"]

_ENCODERS = {"bert": "BERT-base", "vit": "ViT-B/16"}
_RIVAL, _FILES = "int8", ("80", "90", "95")
_HEAD = ("model", "size", "threads", "dense, ms", "dense int8, ms", *(f"{zeros} % zeros" for zeros in _FILES))
# Instruction sets that decide how fast the rivals are.
_TOLD = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")


def machine_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Table]]:
    """Each machine's result and its table; a cell of the last columns is "against dense / against dense int8"."""
    for entry in results.values():
        if entry["kind"] == "machine":
            yield entry, Table(_HEAD, 2, list(_rows(entry)))


def processor(entry: Mapping[str, Any]) -> str:
    """The processor and what it can do that matters here."""
    environment = entry["environment"]
    flags = [flag for flag in _TOLD if flag in environment["cpu_flags"]]
    runtime = environment["packages"].get("onnxruntime")
    return f"{environment['cpu_model']}, {environment['cores_logical']} cores, {', '.join(flags)}, ONNX Runtime {runtime}"


def _rows(entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for part, model in _ENCODERS.items():
        for cell in entry["parts"].get(part, {}).get("cells", {}).values():
            measured = cell["result"]
            seconds = measured.get("seconds")
            if isinstance(seconds, Mapping) and {"dense", _RIVAL, *_FILES} <= seconds.keys():
                yield _row(model, measured)


def _row(model: str, measured: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = measured["seconds"]
    size = setting_label(measured["batch"], measured["tokens"])
    times = (format_milliseconds(percentiles(seconds[side])["p50_seconds"]) for side in ("dense", _RIVAL))
    return (model, size, str(measured["threads"]), *times, *(_cell(seconds, zeros) for zeros in _FILES))


def _cell(seconds: Mapping[str, list[float]], zeros: str) -> str:
    return " / ".join(
        format_ratio(compare(seconds, baseline=side, candidate=zeros)) for side in ("dense", _RIVAL)
    )
