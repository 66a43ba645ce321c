"""Turns matplotlib figures into inline SVG that follows the page: its colours, its font, light and dark.

Figures are drawn with stand-in colours; in the SVG text each becomes a CSS variable of the page. The pairs in
the page's style sheet are chosen from the Okabe-Ito palette (told apart with colour-blind eyes) and have at
least 3:1 contrast to the background in both modes; forms and variants also differ by label, never by
colour alone. Every figure is drawn twice, for a page and for a phone: an SVG that only shrinks takes its text along.
"""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

__all__ = ["COLOURS", "FORM_COLOURS", "GRID", "MUTED", "TEXT", "Plot", "draw"]

_WIDE_INCHES, _NARROW_INCHES = 9.0, 3.9

_FILES = ("dense", "dense_int8", "pruned", "compressed_float32", "compressed")
_VARIABLES = ("text", "muted", "grid", *_FILES, "structured", "csr")
_STAND_INS = {name: f"#0102{index:02x}" for index, name in enumerate(_VARIABLES, start=16)}

TEXT, MUTED, GRID = (_STAND_INS[name] for name in ("text", "muted", "grid"))
COLOURS: Mapping[str, str] = {n: _STAND_INS[n] for n in _FILES}
FORM_COLOURS: Mapping[str, str] = {n: _STAND_INS[n] for n in ("dense", "structured", "csr")}

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.parse_math": False,  # names are shown as they are; a lone $ would otherwise be a parse error
    "svg.fonttype": "none",
    "text.color": TEXT,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": TEXT,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Two inline SVGs, wide and for a phone, with the text that stands for them and the line below."""

    name: str
    svg: Markup
    narrow_svg: Markup
    alt: str
    caption: str


def draw(
    name: str,
    paint: Callable[[Figure, bool], None],
    *,
    height: float,
    alt: str,
    caption: str,
    narrow_height: float | None = None,
) -> Plot:
    """Call `paint(figure, narrow)` on a wide and a narrow figure, heights in inches; equal input gives equal bytes."""
    return Plot(
        name=name,
        svg=_drawn(name, alt, (_WIDE_INCHES, height), lambda figure: paint(figure, False)),
        narrow_svg=_drawn(
            f"{name}-narrow",
            alt,
            (_NARROW_INCHES, narrow_height or height),
            lambda figure: paint(figure, True),
        ),
        alt=alt,
        caption=caption,
    )


def _drawn(name: str, alt: str, inches: tuple[float, float], paint: Callable[[Figure], None]) -> Markup:
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with rc_context(style), io.StringIO() as buffer:
        figure = Figure(figsize=inches)
        paint(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return _inline(buffer.getvalue(), name, alt)


def _inline(svg: str, name: str, alt: str) -> Markup:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for variable, stand_in in _STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{variable.replace('_', '-')})")
    svg = svg.replace("'DejaVu Sans'", "var(--font)")
    # Several figures share the page: their ids must not meet.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", svg)
    opening = re.match(r"<svg[^>]*>", svg)
    body = svg[opening.end() :] if opening else svg
    box = re.search(r'viewBox="([^"]+)"', svg)
    view_box = box.group(1) if box else "0 0 1 1"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view_box}" role="img" aria-label="{escape(alt)}">'
    )
    return Markup(head + body.replace("xlink:href", "href"))  # noqa: S704  # matplotlib escapes its texts
