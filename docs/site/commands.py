"""The page of commands, out of the command line itself."""

from collections.abc import Iterator
from typing import Any

__all__ = ["commands_page"]


def commands_page() -> str:
    """Markdown: every command with its arguments and options."""
    import typer

    from platon_compress.cli.app import app

    group = typer.main.get_command(app)
    context: Any = group.make_context("platon-compress", [], resilient_parsing=True)
    lines = [
        "# Commands",
        "",
        "`platon-compress COMMAND --help` says the same.",
        "",
        '<div class="options" markdown>',
        "",
    ]
    for name, command in _commands(group, context):
        lines += _command(f"platon-compress {name}", command)
    return "\n".join([*lines, "", "</div>", ""])


def _commands(group: Any, context: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        if hasattr(command, "list_commands"):
            yield from _commands(command, context, f"{before}{name} ")
        else:
            yield before + name, command


def _command(name: str, command: Any) -> Iterator[str]:
    yield from (f"## `{name}`", "", _plain(command.help or ""), "")
    rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    if rows:
        yield from ("| | | default |", "|---|---|---|", *rows, "")


def _row(parameter: Any) -> str:
    written = (
        parameter.opts + parameter.secondary_opts
        if parameter.param_type_name == "option"
        else [parameter.name.upper()]
    )
    default = parameter.default
    shown = "" if default is None or default is False or callable(default) else f"`{default}`"
    needed = "required" if parameter.required else shown
    return f"| {', '.join(f'`{word}`' for word in written)} | {_plain(getattr(parameter, 'help', None) or '')} | {needed} |"


def _plain(text: str) -> str:
    """In one line, and with no sign that a table reads."""
    return " ".join(text.replace("\b", "").split()).replace("|", "\\|")
