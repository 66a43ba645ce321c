"""A command line that takes no flag twice and no empty value, slips that would pass in silence, and no zero byte."""

from collections import Counter
from typing import Any

from typer import BadParameter
from typer.core import TyperCommand

from platon_compress.errors import shown

__all__ = ["StrictCommand"]


class StrictCommand(TyperCommand):
    """Every command of the tool is one of these."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does, after a look at what was given."""
        values, _, given = self.make_parser(ctx).parse_args(args=list(args))
        parameters: list[Any] = list(given)
        for param, count in Counter(parameters).items():
            if count > 1 and not getattr(param, "multiple", False) and param.name != "help":
                raise BadParameter(f"given {count} times; keep one", ctx=ctx, param=param)
        for param in parameters:
            value = values.get(param.name)
            if isinstance(value, str) and not value.strip():
                raise BadParameter("it is empty; give a value, or leave it out", ctx=ctx, param=param)
            # Some versions of click let the system's own error through.
            if isinstance(value, str) and "\0" in value:
                raise BadParameter(f"{shown(value)} holds a zero byte; leave it out", ctx=ctx, param=param)
        return super().parse_args(ctx, args)
