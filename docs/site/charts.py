"""Charts of a page that are files of their own in a checkout, put into the page in the site.

There they take its colours whatever the system's are, and their text can be selected and found.
"""

import re
from pathlib import Path

__all__ = ["inlined"]

_CHART = re.compile(r"^!\[[^\]]*\]\((?P<file>[\w-]+\.svg)\)$", re.MULTILINE)


def inlined(text: str, folder: Path) -> str:
    """The Markdown with every SVG of `folder` that stands in a line of its own in its place."""
    return _CHART.sub(
        lambda match: (
            f'<div class="chart">\n{(folder / match["file"]).read_text(encoding="utf-8").strip()}\n</div>'
        ),
        text,
    )
