"""The site: where files of a checkout lie in it, links that hold there, and pages made out of the code."""

import sys
from pathlib import Path, PurePosixPath

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))
from commands import commands_page  # noqa: E402 - scripts of the site are no package
from links import rewritten, site_path  # noqa: E402


@pytest.fixture
def checkout(tmp_path):
    for name in (
        "README.md",
        "docs/README.md",
        "docs/a.md",
        "docs/b.md",
        "examples/README.md",
        "examples/x.py",
        "runs/x.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("README.md", "index.md"),
        ("docs/README.md", "index.md"),
        ("docs/a.md", "a.md"),
        ("docs/more/c.md", "more/c.md"),
        ("examples/x.py", "source/examples/x.py"),
    ],
)
def test_pages_are_on_top_and_sources_below(source, there):
    assert site_path(PurePosixPath(source)) == PurePosixPath(there)


@pytest.mark.parametrize(
    ("page", "written", "there"),
    [
        ("README.md", "[a](docs/a.md#part)", "[a](a.md#part)"),
        ("README.md", "![p](runs/x.json)", "![p](source/runs/x.json)"),
        ("docs/a.md", "[b](b.md) [x](../examples/x.py)", "[b](b.md) [x](source/examples/x.py)"),
        ("docs/a.md", "[all](README.md)", "[all](index.md)"),
        ("docs/a.md", "[e](../examples)", "[e](source/examples/README.md)"),
        ("docs/a.md", "[e](../runs)", "[e](index.md)"),
        ("examples/README.md", "[x](x.py) [a](../docs/a.md)", "[x](x.py) [a](../../a.md)"),
        ("docs/a.md", "[web](https://x.org/a) [here](#part)", "[web](https://x.org/a) [here](#part)"),
        ("docs/a.md", "`[b](none.md)`\n```\n[c](none.md)\n```", "`[b](none.md)`\n```\n[c](none.md)\n```"),
    ],
)
def test_links_lead_to_the_same_file(page, written, there, checkout):
    linked = []
    assert rewritten(written, PurePosixPath(page), checkout, linked.append) == there
    assert all((checkout / path).is_file() for path in linked)


@pytest.mark.parametrize("to", ["none.md", "../../outside.md"])
def test_a_link_to_nothing_is_refused(to, checkout):
    (checkout.parent / "outside.md").write_text("")
    with pytest.raises(ValueError, match=r"docs/a.md links to .*no such file in the checkout"):
        rewritten(f"[a]({to})", PurePosixPath("docs/a.md"), checkout, lambda target: None)


def test_every_page_has_a_place_in_the_site():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(text)["nav"]
    placed = [page for entry in nav for value in entry.values() for page in _pages(value)]
    own = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} - {
        "README.md"
    }
    assert sorted(placed) == sorted(own | {"index.md", "commands.md", "python.md"})


def _pages(value):
    if isinstance(value, str):
        return [value]
    return [page for entry in value for inner in entry.values() for page in _pages(inner)]


def test_the_page_of_commands_names_every_option():
    page = commands_page()
    assert "## `platon-compress bench model`" in page
    assert "| `--runs` | Timed rounds per setting. | `50` |" in page
    assert "| `-o`, `--output` | Run folder; created if missing. | required |" in page


def test_every_option_says_what_it_is_for():
    rows = [line for line in commands_page().splitlines() if line.startswith("| `--")]
    assert rows
    assert not [row for row in rows if row.split(" | ")[1].strip() == ""]


def test_the_page_of_names_has_every_public_one():
    from python_page import python_page

    import platon_compress.runtime

    page = python_page()
    names = (*platon_compress.__all__, *platon_compress.export.__all__, *platon_compress.runtime.__all__)
    assert [name for name in names if f"### `{name}`" not in page] == []
    assert "#### `Pruner.step`" in page
    assert ":func:" not in page
