"""The pages hold what they promise: links, names, rooms, flags, recipes. What runs is in test_blocks.py."""

import dataclasses
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "README.md",
        ROOT / "benchmarks" / "README.md", ROOT / "export" / "kernels" / "csrc" / "README.md",
    ]
)  # fmt: skip
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
_FENCE = re.compile(r"^```(?P<kind>\w*)[^\n`]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_INLINE = re.compile(r"(?<!`)`(platon-compress [^`]+)`(?!`)")


def _text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def _prose(name):
    return _FENCE.sub("", _text(name))


def _anchors(path):
    """What a forge makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return set(plain)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name):
    missing = []
    for target in (match["target"] for match in _LINK.finditer(_prose(name))):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        path = ((ROOT / name).parent / file).resolve() if file else ROOT / name
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            missing.append(target)
    assert missing == []


def test_the_front_page_is_one_screen():
    assert len(_text("README.md").splitlines()) <= 100


def test_the_index_names_every_page():
    index = "".join(_text(f"docs/{name}.md") for name in ("README", "guide", "reference", "tasks"))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} - {
        "README.md"
    }
    assert {page for page in pages if f"({page})" not in index} == set()


@pytest.mark.parametrize("package", ["", ".export", ".measure", ".report", ".runtime"])
def test_every_public_name_is_in_the_reference(package):
    module = importlib.import_module(f"platon_compress{package}")
    text = _text("docs/reference.md")
    assert [name for name in module.__all__ if not re.search(rf"`{name}\b", text)] == []


@pytest.mark.parametrize(
    ("module", "name"), [("pruning", "PruneConfig"), ("pruning", "StepReport"), ("planning", "PlanConfig")]
)
def test_every_field_is_in_the_reference(module, name):
    config = getattr(importlib.import_module(f"platon_compress.{module}"), name)
    text = _text("docs/reference.md")
    assert [field.name for field in dataclasses.fields(config) if f"`{field.name}`" not in text] == []


def test_every_figure_of_a_requirement_is_in_the_guide():
    from platon_compress.report.requirements import FIGURES

    assert [name for name in FIGURES if f"`{name}`" not in _text("docs/guide.md")] == []


def test_every_room_is_in_the_architecture():
    text = _text("docs/architecture.md")
    source = (ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8")
    rooms = re.findall(r'"platon_compress\.(\w+)",', source.split("ROOMS = (")[1].split(")")[0])
    assert rooms
    assert [room for room in rooms if f"`{room}`" not in text] == []


def _commands(name):
    """Words of every platon-compress command of a page, in blocks and in prose."""
    blocks = [m["body"] for m in _FENCE.finditer(_text(name)) if m["kind"] == "sh"]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines += [match[1] for match in _INLINE.finditer(_prose(name))]
    return [
        shlex.split(line, comments=True)[1:]
        for line in lines
        if line.startswith("platon-compress") and "..." not in line
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_flag_exists(name):
    from platon_compress.cli.app import app

    for words in _commands(name):
        command, rest = typer.main.get_command(app), list(words)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        known.add("--help")
        used = {word.split("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)}
        assert used <= known, f"{name}: platon-compress {' '.join(words)}"
        if hasattr(command, "commands"):
            assert not rest or rest[0].startswith("--") or rest[0].isupper(), f"{name}: no command {rest[0]}"


def test_every_recipe_of_a_page_is_whole():
    from platon_compress.recipe import parse_recipe

    found = [
        (name, match["body"])
        for name in NAMES
        for match in _FENCE.finditer(_text(name))
        if match["kind"] == "yaml"
    ]
    assert found
    for name, body in found:
        parse_recipe(yaml.safe_load(body), source=name)


def test_every_target_of_make_exists():
    targets = set(re.findall(r"^([\w-]+):", _text("Makefile"), re.MULTILINE))
    for name in NAMES:
        for block in (m["body"] for m in _FENCE.finditer(_text(name)) if m["kind"] == "sh"):
            used = re.findall(r"^make (?:\S+=\S+ )*([\w-]+)", block, re.MULTILINE)
            assert set(used) <= targets, name


def test_nothing_is_named_that_only_one_machine_has():
    for name in NAMES:
        assert not re.search(r"(?<![\w.])/(home|root|work|tmp)/", _text(name)), name
