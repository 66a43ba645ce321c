"""Commands to start from: `init` writes a recipe, `schema` says what one may hold."""

from pathlib import Path
from typing import Annotated

import typer

from platon_compress.cli.options import check_place
from platon_compress.cli.strict import StrictCommand
from platon_compress.errors import InputError
from platon_compress.files import write_text
from platon_compress.pipeline.output import say
from platon_compress.recipe import TRAINABLE_TASKS
from platon_compress.recipe.reference import json_schema, markdown
from platon_compress.recipe.starter import starter

__all__ = ["add_starting_commands"]


def add_starting_commands(app: typer.Typer) -> None:
    """Hang `init` and `schema` into the command line."""
    app.command(cls=StrictCommand)(init)
    app.command(cls=StrictCommand)(schema)


def init(
    task: Annotated[str, typer.Argument(help=f"One of: {', '.join(TRAINABLE_TASKS)}.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The file to write.", callback=check_place)
    ] = Path("recipe.yaml"),
) -> None:
    """Write a recipe for TASK with every key, its default and its meaning."""
    text = starter(task)
    if output.exists():
        raise InputError(f"{output} exists already; give another file with -o")
    if output.suffix not in (".yaml", ".yml"):
        raise InputError(f"--output is {str(output)!r}; name a .yaml file")
    write_text(output, text)
    say(f"{output}: fill in the data, then run: platon-compress run {output} -o runs/mine --dry-run")


def schema(
    markdown_: Annotated[
        bool, typer.Option("--markdown", help="Print the Markdown reference instead.")
    ] = False,
) -> None:
    """Print the JSON schema of recipes, for editors and validation, or their reference as Markdown."""
    say(markdown() if markdown_ else json_schema())
