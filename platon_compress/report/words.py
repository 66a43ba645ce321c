"""The words of the report: every label once, for the JSON result, Markdown, HTML and the pictures."""

from collections.abc import Mapping

__all__ = ["ANSWERS", "FORMS", "NONE", "POINTS", "SECTIONS", "STATEMENTS", "VARIANTS", "metric_name"]

NONE = "\N{EN DASH}"
"""In a cell without a value."""

VARIANTS: Mapping[str, str] = {
    "dense": "dense",
    "dense_int8": "dense int8",
    "pruned": "pruned, dense kernels",
    "compressed": "compressed",
}
"""Name of a measured file to its label."""

FORMS: Mapping[str, str] = {
    "dense": "dense",
    "structured": "structured (shrunk)",
    "csr": "CSR (sparse kernel)",
}
"""Form of a layer to its label."""

STATEMENTS: Mapping[str, str] = {"faster": "faster", "slower": "slower", "undecided": "undecided"}
"""What an interval says; undecided: it holds 1, or there are too few pairs for one."""

ANSWERS: Mapping[str, str] = {
    "yes": "Yes",
    "mixed": "Mixed",
    "no": "No",
    "undecided": "Undecided",
    "not measured": "Not measured",
}
"""Answer of the verdict to its heading."""

POINTS = ("Speed", "Size", "Quality")
"""The three points below the verdict's sentence."""

SECTIONS: Mapping[str, str] = {
    "use": "Use",
    "latency": "Latency",
    "start": "Cold start and memory",
    "size": "Size",
    "metric": "Task metric",
    "parity": "Same answers",
    "layers": "Layers",
    "method": "How it was measured",
}
"""Headings, in both pages."""


def metric_name(name: str) -> str:
    """As it stands before a figure: "accuracy", "macro F1"."""
    return name.replace("_", " ")
