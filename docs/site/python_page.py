"""The page of public Python names: their signatures and docstrings.

Read from the imported packages: public names are imported on first use, and `platon_compress.export` lies in a folder of
its own, so that tools which read sources find neither.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["python_page"]

_PACKAGES = (
    "platon_compress",
    "platon_compress.export",
    "platon_compress.measure",
    "platon_compress.report",
    "platon_compress.runtime",
)
_LINE = 90
_ENTRY = re.compile(r"^(\w+):(?= )", re.MULTILINE)  # a parameter or a field at the start of a line
_TEXT_ANNOTATION = re.compile(r"(: |-> )'([^']*)'")


def python_page() -> str:
    """Markdown: every name in `__all__` of a public package, a class with its public methods."""
    lines = [
        "# Python",
        "",
        "Public names as their docstrings have them; [a shorter list](reference.md).",
        "",
    ]
    for package in _PACKAGES:
        module = importlib.import_module(package)
        lines += [f"## `{package}`", "", inspect.getdoc(module) or "", ""]
        for name in module.__all__:
            lines += _entry("###", name, getattr(module, name))
    return "\n".join(lines)


def _entry(level: str, name: str, value: Any) -> Iterator[str]:
    if not callable(value):
        return
    yield from (
        f"{level} `{name}`",
        "",
        "```python",
        f"{name}{_signature(value)}",
        "```",
        "",
        _prose(value),
        "",
    )
    if inspect.isclass(value):
        for method, function in vars(value).items():
            if not method.startswith("_") and inspect.isfunction(function) and function.__doc__:
                yield from _entry(level + "#", f"{value.__name__}.{method}", function)


def _signature(value: Any) -> str:
    """One parameter a line where they are many; annotations without the quotes of those that are texts."""
    signature = inspect.signature(value)
    whole = _unquoted(str(signature))
    if len(whole) < _LINE:
        return whole
    return "(\n" + "".join(f"    {_unquoted(str(each))},\n" for each in signature.parameters.values()) + ")"


def _unquoted(text: str) -> str:
    return _TEXT_ANNOTATION.sub(r"\1\2", text)


def _prose(value: Any) -> str:
    """The docstring; roles of reStructuredText become plain code."""
    text = inspect.getdoc(value) or ""
    for role in (":func:", ":class:", ":meth:", ":mod:"):
        text = text.replace(role, "")
    return _ENTRY.sub(r"\n- `\1`:", text.replace("``", "`"))
