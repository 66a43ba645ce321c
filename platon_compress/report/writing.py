"""Writes a run's report: a model card in Markdown and one self-contained HTML page."""

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from platon_compress.files import write_text
from platon_compress.report.run_data import read_run
from platon_compress.report.verdict import judge
from platon_compress.report.view import build_view
from platon_compress.report.words import POINTS

__all__ = ["ReportResult", "escape_markdown", "render", "write_report"]


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """Paths written and the verdict: `verdict` is the line that begins with "Verdict: "."""

    markdown: Path
    html: Path
    verdict: str
    answer: str
    sentence: str
    points: tuple[str, ...]
    against: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "markdown": str(self.markdown),
            "html": str(self.html),
            "verdict": self.verdict,
            "answer": self.answer,
            "sentence": self.sentence,
            "points": dict(zip(POINTS, self.points, strict=True)),
            "against": list(self.against),
        }


def write_report(run_dir: str | Path) -> ReportResult:
    """Write report.md and report.html into `run_dir` from the files that lie there.

    plan.json and benchmark.json are needed; recipe.yaml, state.json and parity.json add to it. Each file is written
    under a temporary name and renamed. Raises InputError for a missing or broken file.
    """
    run = read_run(run_dir)
    verdict = judge(run)
    view = build_view(run, verdict)
    result = ReportResult(
        markdown=run.folder / "report.md",
        html=run.folder / "report.html",
        verdict=verdict.line,
        answer=verdict.answer,
        sentence=verdict.sentence,
        points=verdict.points,
        against=verdict.against,
    )
    write_text(result.markdown, render("report.md.jinja", view))
    write_text(result.html, render("report.html.jinja", view))
    return result


def render(template: str, view: Any) -> str:
    """Fill a template; every value is escaped, for HTML or for Markdown."""
    environment = Environment(
        loader=PackageLoader("platon_compress.report", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = escape_markdown
    environment.filters["breakable"] = _breakable
    return environment.get_template(template).render(view=view)


def escape_markdown(text: object) -> Markup:
    """Text for a Markdown table cell or line: on one line, no markup of its own."""
    line = " ".join(str(text).split())
    escaped = re.sub(r"([\\`*_\[\]|#])", r"\\\1", html.escape(line, quote=False))
    return Markup(escaped)  # noqa: S704  # escaped just above


def _breakable(text: object) -> Markup:
    """Lets a browser break a dotted name after a dot, before it breaks inside a word."""
    return Markup(html.escape(str(text)).replace(".", ".<wbr>"))  # noqa: S704  # escaped here
