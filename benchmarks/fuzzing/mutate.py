"""Changed copies of good inputs. The same seed and number give the same input.

A text or a binary file is changed byte by byte; a tree (JSON, YAML, the header of a safetensors file, a protobuf message)
also node by node, so that most inputs get past the parser.
"""

import json
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import yaml

__all__ = ["FORMS", "mutated"]

_WILD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e-320, 1e308, float("nan"),
    float("inf"), -float("inf"), "", "x", "nan", "1", "\u2028", "é" * 3, "a" * 3000, "../x", "/etc/passwd", "\0", [], {},
    [[]], [None], [1, "a", None], {"": None}, {"a": {"b": []}}, ["x"] * 50,
)  # fmt: skip
_TOKENS = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\n", b"\r", b"\r\n", b"\t", b",", b'"', b"'",
    b"{", b"}", b"[", b"]", b":", b"-", b"- ", b"#", b"&a ", b"*a", b"!!python/object:os.system", b"null", b"NaN",
    b"1e999", b"-1", b"\xe2\x80\xa8", b"[" * 3000, b'{"a":' * 2000, b"9" * 5000, b"\xff" * 8, b"\x80" * 10,
)  # fmt: skip


def mutated(seeds: Sequence[bytes], form: str, chance: random.Random) -> bytes:
    """One changed copy of one of `seeds`; `form` is a key of FORMS."""
    content = chance.choice(seeds)
    tree = FORMS[form]
    if tree is not None and chance.random() < 0.8:
        content = tree(content, chance)
    else:
        content = _spliced(content, chance.choice(seeds), chance)
    return content


def _spliced(content: bytes, other: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        _change_bytes(data, other, chance)
    return bytes(data)


def _change_bytes(data: bytearray, other: bytes, chance: random.Random) -> None:
    place = chance.randrange(len(data) + 1)
    end = min(len(data), place + chance.choice((1, 1, 2, 8, 64, 1000)))
    kind = chance.randrange(8)
    if kind == 0 and place < len(data):
        data[place] ^= 1 << chance.randrange(8)
    elif kind == 1:
        data[place:place] = chance.choice(_TOKENS)
    elif kind == 2:
        data[place:end] = chance.choice(_TOKENS)
    elif kind == 3:
        del data[place:end]
    elif kind == 4:
        data[place:place] = data[place:end]
    elif kind == 5:
        del data[place:]
    elif kind == 6:
        data[place:end] = chance.randbytes(end - place)
    else:
        start = chance.randrange(len(other) + 1)
        data[place:end] = other[start : start + 200]


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of every node but the first."""
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def _wild(chance: random.Random) -> Any:
    return deepcopy(chance.choice(_WILD))


def _change_tree(tree: Any, chance: random.Random) -> Any:
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        places = list(_places(tree))
        if not places or chance.random() < 0.01:
            return _wild(chance)
        _change_node(*chance.choice(places), places, chance)
    return tree


def _change_node(holder: Any, key: Any, places: Sequence[tuple[Any, Any]], chance: random.Random) -> None:
    kind = chance.randrange(9)
    if kind < 4:
        holder[key] = _wild(chance)
    elif kind == 4:
        del holder[key]
    elif kind == 5:
        other, name = chance.choice(places)
        if name in other if isinstance(other, dict) else name < len(other):
            holder[key] = deepcopy(other[name])  # no tree holds itself
    elif kind == 6:
        holder[key] = chance.choice(([holder[key]], {"a": holder[key]}, str(holder[key])))
    elif isinstance(holder, dict):
        holder[chance.choice(("", "a", "__class__", str(key) + "x"))] = (
            deepcopy(holder[key]) if kind == 7 else _wild(chance)
        )
    else:
        holder.insert(
            chance.randrange(len(holder) + 1), deepcopy(holder[key]) if kind == 7 else _wild(chance)
        )


def _json(content: bytes, chance: random.Random) -> bytes:
    return json.dumps(_change_tree(json.loads(content), chance)).encode()


def _json_lines(content: bytes, chance: random.Random) -> bytes:
    rows = _change_tree([json.loads(line) for line in content.splitlines()], chance)
    return b"\n".join(json.dumps(row).encode() for row in (rows if isinstance(rows, list) else [rows]))


def _yaml(content: bytes, chance: random.Random) -> bytes:
    tree = _change_tree(yaml.safe_load(content), chance)
    return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode("utf-8", "replace")


def _safetensors(content: bytes, chance: random.Random) -> bytes:
    """The header as a tree, or the data as bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + length], content[8 + length :]
    if chance.random() < 0.5 and data:
        return content[: 8 + length] + _spliced(data, data, chance)[: len(data)].ljust(len(data), b"\0")
    changed = _json(header, chance)
    return struct.pack("<Q", len(changed)) + changed + data


def _onnx(content: bytes, chance: random.Random) -> bytes:
    import onnx

    model = onnx.load_from_string(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        _change_message(model, chance)
    return model.SerializeToString()


def _change_message(message: Any, chance: random.Random) -> None:
    """Walk down to some field, and change it."""
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = chance.choice(fields)
        inner = list(value) if field.is_repeated else [value]
        if field.message_type is not None and inner and chance.random() < 0.9:
            message = chance.choice(inner)
            continue
        _change_field(message, field, inner, chance)
        return


def _change_field(message: Any, field: Any, inner: list[Any], chance: random.Random) -> None:
    message.ClearField(field.name)
    kind = chance.randrange(3)
    if field.message_type is not None:  # one of them is gone, or there twice
        if field.is_repeated:
            place = chance.randrange(len(inner))
            getattr(message, field.name).extend(
                inner[:place] + inner[place + (kind > 0) :] + inner[place:][: kind > 1]
            )
        return
    wild = _wild_of(field, chance)
    if not field.is_repeated:
        if kind:
            setattr(message, field.name, wild)
    else:
        inner[chance.randrange(len(inner))] = wild
        getattr(message, field.name).extend(
            [*inner[: len(inner) - (kind == 0)], *([wild] if kind == 1 else [])]
        )


def _wild_of(field: Any, chance: random.Random) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        binary = field.type == field.TYPE_BYTES
        text = chance.choice(
            ("", "x", "Gather", "../x", "a" * 300, "\0", "MatMul", "platon", "PlatonLinear_plain_csr")
        )
        return chance.randbytes(chance.choice((0, 1, 4, 64))) if binary else text
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return chance.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
    if field.enum_type is not None:
        return chance.choice(field.enum_type.values).number
    return chance.choice((0, 1, -1, 2, 3, 7, 16, 99, 2**31 - 1, -(2**31)))


FORMS: dict[str, Callable[[bytes, random.Random], bytes] | None] = {
    "bytes": None,
    "json": _json,
    "json lines": _json_lines,
    "yaml": _yaml,
    "safetensors": _safetensors,
    "onnx": _onnx,
}
"""What an input is as a tree, by form; None: it is none."""
