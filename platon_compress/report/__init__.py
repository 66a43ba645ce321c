"""The report of a run: model card, HTML page and the verdict."""

from platon_compress.lazy import lazy_names

_HOMES = {"write_report": "platon_compress.report.writing"}

__all__ = ["write_report"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
