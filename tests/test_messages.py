"""Every refusal of the package ends with a cure: `what is wrong, the value; what to do`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ERRORS = ("InputError", "MissingExtraError", "CheckFailedError", "BadParameter")
# Texts that come from elsewhere with their own cure: a library's C++ side, another refusal, a message built before.
BUILT = {"error.value.decode()", "message", "cured", "str(error)", "near[0][1]"}


def _messages():
    for folder in ("platon_compress", "export"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            for node in ast.walk(ast.parse(source)):
                called = getattr(node, "func", None)
                name = getattr(called, "id", getattr(called, "attr", ""))
                if isinstance(node, ast.Call) and name in ERRORS and node.args:
                    yield pytest.param(node.args[0], source, id=f"{path.relative_to(ROOT)}:{node.lineno}")


def _text(node):
    """The literal parts of a message; `\\0` stands for what is filled in."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in parts)


def _tail(message, source):
    """The expression that a message ends with."""
    last = message.values[-1] if isinstance(message, ast.JoinedStr) else message
    return ast.get_source_segment(source, last.value) if isinstance(last, ast.FormattedValue) else None


@pytest.mark.parametrize(("message", "source"), list(_messages()))
def test_a_refusal_ends_with_a_cure(message, source):
    if not isinstance(message, ast.JoinedStr | ast.Constant):
        assert ast.get_source_segment(source, message) in BUILT or isinstance(message, ast.Call)
        return
    text = _text(message)
    if (
        text.endswith(": \0") or _tail(message, source) in BUILT
    ):  # a place, and a message that has its own cure
        return
    _, semicolon, cure = text.rpartition("; ")
    assert semicolon, f"no cure: {text!r}"
    assert len(cure.strip()) >= 1
