"""Reads YAML that anybody may have written: no bombs, no key twice, one line for what is wrong."""

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from platon_compress.errors import InputError, first_line, shown

__all__ = ["parse_yaml", "read_yaml"]

_MAX_BYTES = 1_000_000
_MAX_NODES = 20_000
_MAX_DEPTH = 50


_START = "`platon-compress init` writes one to start from"


def read_yaml(path: Path, what: str = "recipe", start: str = _START) -> dict[str, Any]:
    """The mapping in the file `path`. Raises InputError in one line.

    what: the file is, and start: how one comes by another, for that line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read the {what} {shown(str(path))}: {_reason(error)}; check the path"
        ) from error
    if len(content) > _MAX_BYTES:
        raise InputError(f"the {what} {path} is larger than {_MAX_BYTES:,} bytes; give a {what}, not data")
    value = parse_yaml(text, f"the {what} {path}")
    if not isinstance(value, dict):
        found = "nothing" if value is None else f"a {type(value).__name__}"
        raise InputError(f"the {what} {path} holds {found}, not sections; {start}")
    return value


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text. `source` begins every message.

    Raises InputError for invalid YAML, a key that stands twice, and for what would grow beyond all measure.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)  # refuses control characters at once
        node = loader.get_single_node()
        if node is None:
            return None
        _Guard(source).check(node)
        return loader.construct_document(node)
    except InputError:
        raise
    except yaml.YAMLError as error:
        raise InputError(
            f"{source} is no valid YAML{_place(error)}: {_problem(error)}; fix that line"
        ) from error
    except RecursionError as error:
        raise InputError(f"{source} is nested too deeply; a recipe has sections and keys, no more") from error
    except (ValueError, TypeError, OverflowError) as error:  # a date or a number that does not exist
        raise InputError(
            f"{source} holds a value that cannot be read: {first_line(error)}; quote it"
        ) from error
    finally:
        if loader is not None:
            loader.dispose()


class _Guard:
    """Walks the parsed tree before anything is built of it; what an alias names counts each time it is named."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def check(self, node: Node, depth: int = 0) -> int:
        """Nodes that `node` grows to."""
        if isinstance(node, ScalarNode):
            return 1
        if id(node) in self._open:
            raise InputError(f"{self._source} holds an alias of itself{_line(node)}; write the values out")
        if id(node) not in self._sizes:
            if depth > _MAX_DEPTH:
                raise InputError(
                    f"{self._source} is nested deeper than {_MAX_DEPTH} levels{_line(node)}; flatten it"
                )
            self._open.add(id(node))
            self._sizes[id(node)] = 1 + sum(self.check(child, depth + 1) for child in self._children(node))
            self._open.discard(id(node))
        size = self._sizes[id(node)]
        if size > _MAX_NODES:
            raise InputError(
                f"{self._source} grows to more than {_MAX_NODES:,} values{_line(node)}; write it without aliases, "
                "and data into files of their own"
            )
        return size

    def _children(self, node: Node) -> list[Node]:
        if isinstance(node, SequenceNode):
            return list(node.value)
        if not isinstance(node, MappingNode):
            return []
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if (key.tag, key.value) in seen:
                    raise InputError(
                        f"{self._source} has the key {shown(key.value)} twice{_line(key)}; keep one"
                    )
                seen.add((key.tag, key.value))
        return [child for pair in node.value for child in pair]


def _line(node: Node) -> str:
    return f" at line {node.start_mark.line + 1}"


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" at line {mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or first_line(error))


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is no UTF-8 text"
    return getattr(error, "strerror", None) or first_line(error)
