"""What mkdocs asks while it builds the site: generated pages, links that hold there, and the files they lead to."""

import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from charts import inlined
from commands import commands_page
from links import rewritten, site_path
from python_page import python_page

ROOT = Path(__file__).parents[2]
_START = PurePosixPath("README.md")
_INTERVAL = re.compile(r"(?<=[ >])\(\d[\d.]*\u2013\d[\d.]*(?=[,)])\)?")


def on_files(files: Files, config: Any) -> Files:
    """Add the start page, the generated pages, and whatever a page links to outside docs/."""
    for name, page in (("commands.md", commands_page), ("python.md", python_page)):
        files.append(File.generated(config, name, content=page()))
    waiting = [_START, *(PurePosixPath("docs", file.src_uri) for file in files if _is_own_page(file))]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        if source.suffix == ".md":
            found: list[PurePosixPath] = []
            _rewritten(source, found.append)
            waiting += [path for path in found if path not in seen]
            seen |= set(found)
        path = str(site_path(source))
        if files.get_file_from_path(path) is None:
            files.append(File.generated(config, path, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links of a page that is a file of the checkout, and put its charts into it."""
    source = _source_of(page.file.src_uri)
    return markdown if source is None else inlined(_rewritten(source, lambda target: None), ROOT / "docs")


def on_page_content(html: str, **_: Any) -> str:
    """Intervals do not break at their dash, as narrow columns of figures would have it."""
    return _INTERVAL.sub(r'<span class="interval">\g<0></span>', html)


def _rewritten(source: PurePosixPath, linked: Any) -> str:
    text = (ROOT / source).read_text(encoding="utf-8")
    try:
        return rewritten(text, source, ROOT, linked)
    except ValueError as error:
        raise PluginError(str(error)) from error


def _source_of(uri: str) -> PurePosixPath | None:
    """The file of the checkout behind a page; None for a generated one."""
    path = PurePosixPath(uri)
    if uri == "index.md":
        return _START
    source = PurePosixPath(*path.parts[1:]) if path.parts[0] == "source" else PurePosixPath("docs", path)
    return source if (ROOT / source).is_file() else None


def _is_own_page(file: File) -> bool:
    return (
        file.src_uri.endswith(".md")
        and _source_of(file.src_uri) is not None
        and not file.inclusion.is_excluded()
    )
