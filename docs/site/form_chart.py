"""The flow chart of docs/choosing-a-form.md, as an SVG of plain text and boxes.

    python docs/site/form_chart.py    # writes docs/which-form.svg

Narrow enough for a telephone. Its colours are variables: by the system's scheme in a file of its own, by the page's in
the site (site.css). The list below it on the page says the same; tests hold chart, list and results together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

__all__ = ["CHART", "Answer", "Question", "chart"]

OURS, DENSE, EITHER = "ours", "dense", "either"


@dataclass(frozen=True)
class Answer:
    """when: the reader's answer to the question; then: what to take; kind: which file that is."""

    when: str
    then: str
    kind: str


@dataclass(frozen=True)
class Question:
    """lines: the question; answers: where it ends; otherwise: lines of the answer with which it goes on, or none."""

    lines: tuple[str, ...]
    answers: tuple[Answer, ...]
    otherwise: tuple[str, ...] = ()


CHART = (
    Question(
        ("Where will", "it run?"),
        (
            Answer("a GPU", "smaller dense, or leave it", DENSE),
            Answer("where our library cannot be loaded", "dense int8, or smaller dense", DENSE),
        ),
        ("a CPU that", "loads our", "library"),
    ),
    Question(
        ("What can it", "learn from?"),
        (
            Answer("nothing at hand", "dense int8", DENSE),
            Answer("texts or pictures, but no training", "50 % zeros, 8-bit values", OURS),
        ),
        ("labels or a", "teacher, and", "time to train"),
    ),
    Question(
        ("Which", "processor?"),
        (
            Answer("AVX2 without VNNI", "zeros, as floats or 8-bit values", OURS),
            Answer("AVX-512 with VNNI", "zeros with 8-bit values", OURS),
            Answer("VNNI, and weights must stay floats", "dense int8; zeros above 80 %", DENSE),
            Answer("ARM, or AVX-VNNI alone", "measure first: estimate", EITHER),
        ),
        ("then: how", "many zeros"),
    ),
    Question(
        ("How much", "may it lose?"),
        (
            Answer("a point, on pictures two", "80 % zeros, distilled", OURS),
            Answer("a few points, on texts", "90 % zeros, distilled", OURS),
            Answer("less; or questions", "50 % zeros, or dense int8", EITHER),
            Answer("exactly so many points", "a family, and --max-drop", EITHER),
        ),
    ),
)

_WIDTH, _LEFT, _RIGHT = 420, 112, 274  # of the chart, of a question, of an answer
_BOX, _GAP, _LINE = 46, 8, 17
_LIGHT = (
    "--ink:#1f2933;--soft:#52606d;--paper:#ffffff;--box:#f1f5f9;--line:#94a3b8;--ours:#0f8a7e;--dense:#c2610c"
)
_DARK = (
    "--ink:#e6e9ef;--soft:#a9b4c2;--paper:#1e2129;--box:#2b303b;--line:#6b7789;--ours:#3fbfb0;--dense:#f0a35e"
)
_STYLE = f"""
.which-form{{{_LIGHT};font:13px system-ui,sans-serif}}
@media(prefers-color-scheme:dark){{.which-form{{{_DARK}}}}}
.which-form text{{fill:var(--ink)}}
.which-form .soft{{fill:var(--soft);font-size:12px}}
.which-form .strong{{font-weight:600}}
.which-form .paper{{fill:var(--paper)}}
.which-form .box{{fill:var(--box);stroke:var(--line)}}
.which-form .way{{fill:none;stroke:var(--line);stroke-width:1.5}}
.which-form .ours{{fill:var(--ours)}}
.which-form .dense{{fill:var(--dense)}}
.which-form .either{{fill:var(--line)}}
"""
_LEGEND = ((OURS, "a sparse file"), (DENSE, "a dense file"), (EITHER, "what measures better"))


def chart() -> str:
    """The whole SVG."""
    parts, top, number = [], _GAP, 1
    for question in CHART:
        parts += _question(question, top, number)
        number += len(question.answers)
        top += _height(question)
    parts += _legend(top)
    height = top + 2 * _LINE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="which-form" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-labelledby="which-form-title which-form-told">\n'
        '<title id="which-form-title">Which form for me</title>\n'
        '<desc id="which-form-told">Four questions, twelve answers: the numbered list that follows.</desc>\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="6"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _height(question: Question) -> int:
    left = _BOX + 20 + _LINE * len(question.otherwise)
    return max(left, len(question.answers) * (_BOX + _GAP)) + _GAP


def _question(question: Question, top: int, number: int) -> Iterator[str]:
    """Its box on the left, its answers on the right, and the way to the next question."""
    x, right, middle = 8, _WIDTH - _RIGHT - 8, top + _BOX / 2
    lowest = top + (len(question.answers) - 1) * (_BOX + _GAP) + _BOX / 2
    trunk = (x + _LEFT + right) / 2
    yield f'<path class="way" d="M{x + _LEFT} {middle:g}H{trunk:g}V{lowest:g}"/>'
    yield from _way_on(question, x, top)
    yield f'<rect class="box" x="{x}" y="{top}" width="{_LEFT}" height="{_BOX}" rx="16"/>'
    for place, line in enumerate(question.lines):
        yield _text(line, x + _LEFT / 2, top + 19 + place * _LINE, "strong", "middle")
    for place, answer in enumerate(question.answers):
        yield from _answer(answer, number + place, trunk, right, top + place * (_BOX + _GAP))


def _way_on(question: Question, x: int, top: int) -> Iterator[str]:
    if not question.otherwise:
        return
    bottom, middle = top + _height(question), x + 10
    yield f'<path class="way" d="M{middle} {top + _BOX}V{bottom - 2}M{middle - 4} {bottom - 8}l4 6l4 -6"/>'
    for place, line in enumerate(question.otherwise):
        yield _text(line, middle + 8, top + _BOX + 20 + place * (_LINE - 2), "soft")


def _answer(answer: Answer, number: int, trunk: float, x: int, y: int) -> Iterator[str]:
    yield f'<path class="way" d="M{trunk:g} {y + _BOX / 2:g}H{x}"/>'
    yield f'<rect class="box" x="{x}" y="{y}" width="{_RIGHT}" height="{_BOX}" rx="4"/>'
    yield f'<rect class="{answer.kind}" x="{x}" y="{y}" width="5" height="{_BOX}" rx="2"/>'
    yield _text(answer.when, x + 14, y + 18, "soft")
    yield _text(f"{number}. {answer.then}", x + 14, y + 36, "strong")


def _legend(top: int) -> Iterator[str]:
    x = 8
    for kind, meaning in _LEGEND:
        yield f'<rect class="{kind}" x="{x}" y="{top + 4}" width="10" height="10" rx="2"/>'
        yield _text(meaning, x + 15, top + 13, "soft")
        x += 115


def _text(text: str, x: float, y: float, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


if __name__ == "__main__":
    (Path(__file__).parents[1] / "which-form.svg").write_text(chart(), encoding="utf-8")
