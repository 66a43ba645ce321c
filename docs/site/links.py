"""Where a file of the checkout lies in the site, and the links of a page rewritten to that.

Pages link to each other and to sources, results and examples as in a checkout. In the site the pages of docs/ are on top,
README.md is the start page, and what else is linked lies below `source/`, under its own path.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

__all__ = ["rewritten", "site_path"]

# Not in code: neither a fenced block nor a span of it, which are matched first and left as they are.
_LINK = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]*`)|(?P<open>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<to>[^)\s#]*)(?P<rest>[^)]*\))",
    re.M | re.S,
)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def site_path(source: PurePosixPath) -> PurePosixPath:
    """Of a file, both relative: to the checkout and to the site."""
    if source == PurePosixPath("README.md") or source == PurePosixPath("docs/README.md"):
        return PurePosixPath("index.md")
    if source.parts[0] == "docs":
        return PurePosixPath(*source.parts[1:])
    return PurePosixPath("source", source)


def rewritten(text: str, page: PurePosixPath, root: Path, linked: Callable[[PurePosixPath], None]) -> str:
    """The Markdown of `page` (relative to `root`) with the links that hold in the site; `linked` gets every target's path.

    A folder stands for its README.md, or the next one above it. Raises ValueError for a link to nothing.
    """
    here = site_path(page)

    def link(match: "re.Match[str]") -> str:
        to = match["to"]
        if match["code"] is not None or not to or _ELSEWHERE.match(to):
            return match[0]
        target = _target(root, page, to)
        linked(target)
        inside = os.path.relpath(site_path(target), here.parent)
        return f"{match['open']}{PurePosixPath(inside).as_posix()}{match['rest']}"

    return _LINK.sub(link, text)


def _target(root: Path, page: PurePosixPath, to: str) -> PurePosixPath:
    path = (root / page.parent / to).resolve()
    if path.is_dir():
        path = next(
            (folder / "README.md" for folder in (path, *path.parents) if (folder / "README.md").is_file()),
            path,
        )
    if not path.is_file() or not path.is_relative_to(root.resolve()):
        raise ValueError(f"{page} links to {to}, and there is no such file in the checkout; correct the link")
    return PurePosixPath(path.relative_to(root.resolve()).as_posix())
