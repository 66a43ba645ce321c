"""The one table of this package's operators: names, inputs, outputs and attributes, encoding by encoding.

Bodies (`bodies`), the C++ registration (`kernels/csrc/ort/operators.inc`, written by running this module) and
docs/operator.md follow from it; tests hold them together. A name has one meaning for ever: it says which inputs there
are and what is computed, no input is optional, and what changes gets a new name. Names are unlike standard operators',
because tools look operators up by type without domain.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = [
    "DOMAIN",
    "ENCODINGS",
    "INT8",
    "OPERATORS",
    "VERSION",
    "Operator",
    "StoredWeight",
    "registration",
    "specification",
]

DOMAIN = "platon"
VERSION = 1

ACTIVATIONS = ("relu", "gelu", "gelu_tanh")
MASKS = ("full", "mask", "lengths")
INT8 = "int8"  # behind the masking: the attention's own products are of 8-bit numbers

# The arrays that store one weight, by encoding.
ENCODINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "csr": ("values", "columns", "row_starts"),
        "csr_int8": ("values", "columns", "row_starts", "row_scales"),
        "gaps_int8": ("values", "gaps", "row_scales"),
    }
)
# What has to be known beside them, whole numbers.
_ENCODING_ATTRIBUTES = {"gaps_int8": ("gap_bits",)}

_TAILS = ((), ("residual",), ("residual", "norm"), ("residual", "norm", "sum"))
_BLOCK_TAILS = (*_TAILS, ("prenorm",), ("prenorm", "norm"))
_NORM_TAILS = (("norm",), ("norm", "sum"))


@dataclass(frozen=True)
class StoredWeight:
    """A weight of a node. rows and columns: (factor, attribute) whose product is the number of either."""

    prefix: str
    rows: tuple[int, str]
    columns: tuple[int, str]

    def arrays(self, encoding: str) -> tuple[str, ...]:
        """Names of its inputs, without the bias."""
        return tuple(self.prefix + array for array in ENCODINGS[encoding])

    def attributes(self, encoding: str) -> tuple[str, ...]:
        """Names of the attributes that its arrays need beside the sizes; their values are whole numbers."""
        return tuple(self.prefix + name for name in _ENCODING_ATTRIBUTES.get(encoding, ()))

    def elements(self, attributes: Mapping[str, int]) -> int:
        """Number of elements of the matrix, zeros included, of a node with these attributes."""
        (rows, rows_of), (columns, columns_of) = self.rows, self.columns
        return rows * attributes[rows_of] * columns * attributes[columns_of]


@dataclass(frozen=True)
class Operator:
    """One operator, which is one body. parts: what it does, in the order of its name.

    kind: "Linear", "FeedForward", "SelfAttention" or "Heads". encoding: how weights are stored, "" without weights.
    """

    kind: str
    parts: tuple[str, ...]
    encoding: str = ""

    @property
    def name(self) -> str:
        """The operator type in the file."""
        return "_".join((f"Platon{self.kind}", *(self.parts or ("plain",)), *filter(None, (self.encoding,))))

    @property
    def weights(self) -> tuple[StoredWeight, ...]:
        """In the order in which they multiply."""
        return _WEIGHTS[self.kind]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Activations first, then what must be constant."""
        stored = [(*w.arrays(self.encoding), f"{w.prefix}bias") for w in self.weights]
        vectors = [(f"{prefix}scale", f"{prefix}shift") for prefix in self.norms]
        return (*self.activations, *(name for names in (*stored, *vectors) for name in names))

    @property
    def norms(self) -> tuple[str, ...]:
        """Prefixes of the norms: of the one in front of the first product and of the one behind the last sum."""
        return tuple(prefix for prefix, part in (("prenorm_", "prenorm"), ("", "norm")) if part in self.parts)

    @property
    def activations(self) -> tuple[str, ...]:
        """The inputs that are computed at run time."""
        first = ("Q", "K", "V") if "separate" in self.parts else ("QKV",) if self.kind == "Heads" else ("X",)
        return (*first, *(name for name in ("residual", "mask", "lengths") if name in self.parts))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Y, and the sum in front of the norm where it is read too."""
        return ("Y", "S") if "sum" in self.parts else ("Y",)

    @property
    def attributes(self) -> tuple[tuple[str, str], ...]:
        """(name, "int" or "float"); none has a default."""
        stored = (name for weight in self.weights for name in weight.attributes(self.encoding))
        epsilons = ((f"{prefix}epsilon", "float") for prefix in self.norms)
        return (*_ATTRIBUTES[self.kind], *((name, "int") for name in stored), *epsilons)

    @property
    def int8_attention(self) -> bool:
        """Whether its attention multiplies 8-bit numbers."""
        return INT8 in self.parts

    @property
    def quantized(self) -> bool:
        """Whether its weights are 8-bit numbers, which changes what is computed."""
        return self.encoding.endswith("int8")


_IN, _INNER, _OUT = ((1, f"{side}_features") for side in ("in", "inner", "out"))
_WEIGHTS = {
    "Linear": (StoredWeight("", _OUT, _IN),),
    "FeedForward": (StoredWeight("inner_", _INNER, _IN), StoredWeight("", _OUT, _INNER)),
    "SelfAttention": (StoredWeight("qkv_", (3, _INNER[1]), _IN), StoredWeight("", _OUT, _INNER)),
    "Heads": (),
}
_SIZES = (("in_features", "int"), ("inner_features", "int"), ("out_features", "int"))
_SCORES = (("num_heads", "int"), ("score_scale", "float"))
_ATTRIBUTES = {
    "Linear": (_SIZES[0], _SIZES[2]),
    "FeedForward": _SIZES,
    "SelfAttention": (*_SIZES, *_SCORES),
    "Heads": _SCORES,
}


def _operators() -> Iterator[Operator]:
    for encoding in ENCODINGS:
        for parts in (*_TAILS, *_NORM_TAILS, *((name,) for name in ACTIVATIONS)):
            yield Operator("Linear", parts, encoding)
        for tail in _BLOCK_TAILS:
            yield from (Operator("FeedForward", (name, *tail), encoding) for name in ACTIVATIONS)
            yield from (Operator("SelfAttention", (name, *tail), encoding) for name in MASKS)
            if encoding == "gaps_int8":
                yield from (Operator("SelfAttention", (name, INT8, *tail), encoding) for name in MASKS)
    for operands in ("stacked", "separate"):
        yield from (Operator("Heads", (operands, name)) for name in MASKS)


OPERATORS: Mapping[str, Operator] = MappingProxyType({operator.name: operator for operator in _operators()})


def registration() -> str:
    """What the library registers, as C++: one line for each name."""
    lines = [
        "// Written by `python -m platon_compress.export.operators`, which holds the table; a test compares them.",
        "// PLATON_OPERATOR(name, kind, encoding, activation, masking, int8, stacked, residual, prenorm, norm, sum)",
        *(_line(operator) for operator in OPERATORS.values()),
    ]
    return "\n".join(lines) + "\n"


def specification() -> str:
    """The table of docs/operator.md: a row for each name."""
    rows = [
        f"| `{operator.name}` | {', '.join(operator.inputs)} | {', '.join(operator.outputs)} | "
        f"{', '.join(name for name, _ in operator.attributes)} |"
        for operator in OPERATORS.values()
    ]
    return "\n".join(["| name | inputs | outputs | attributes |", "|---|---|---|---|", *rows]) + "\n"


def _line(operator: Operator) -> str:
    def constant(name: str) -> str:
        return "k" + "".join(word.title() for word in name.split("_"))

    def one_of(choices: tuple[str, ...], default: str) -> str:
        return constant(next((part for part in operator.parts if part in choices), default))

    flags = (
        str(part in operator.parts).lower()
        for part in (INT8, "stacked", "residual", "prenorm", "norm", "sum")
    )
    enums = (
        f"k{operator.kind}",
        constant(operator.encoding or "none"),
        one_of(ACTIVATIONS, "none"),
        one_of(MASKS, "full"),
    )
    return f"PLATON_OPERATOR({', '.join((operator.name, *enums, *flags))})"


if __name__ == "__main__":
    print(specification() if "--markdown" in sys.argv else registration(), end="")  # noqa: T201
