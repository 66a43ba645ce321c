"""Finds the repeated transformer blocks of a model, and the dimensions inside them that must shrink together.

Everything is found from modules and shapes. Module paths are never assumed: they differ between model
families, and between transformers 4.57 and 5.x for the same family.
"""

import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from platon_compress.errors import InputError, shown

__all__ = [
    "Coupling",
    "check_depth",
    "clean_name",
    "common_prefix",
    "find_blocks",
    "find_couplings",
    "keep_every_second_layer",
    "lacks_only_a_pooler",
    "unwrap_model",
]

_MOST_LAYERS = 1_000
_QUERY = ("query", "q_lin", "q_proj", "query_proj", "q")
_KEY = ("key", "k_lin", "k_proj", "key_proj", "k")
_VALUE = ("value", "v_lin", "v_proj", "value_proj", "v")
_POSITION = ("pos_key_proj", "pos_query_proj")  # DeBERTa: per-head projections of the relative positions
# Fused linears whose rows are whole projections one after the other; elsewhere the heads may be interleaved.
_FUSED_QKV = "Wqkv"  # ModernBERT
_FUSED_GATES = ("Wi", "weights_in")  # ModernBERT; DINOv2 with SwiGLU in transformers 4.57
_HEAD_COUNT = ("num_attention_heads", "n_heads", "num_heads")
_WRAPPERS = ("module", "_orig_mod")  # DistributedDataParallel, torch.compile
_SENTENCE_LIBRARY, _ENCODER_BASE = "sentence_transformers", "PreTrainedModel"
# torch.compile, FSDP and activation checkpointing put these anywhere into names.
_INSIDE_NAMES = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


@dataclass(frozen=True)
class Coupling:
    """Units (attention heads or FFN neurons) whose rows and columns live or die together.

    `producers` are paths of linear modules whose output rows belong to the units, `consumer` the path of the
    one whose input columns do. Unit `u` owns the slice `[u * unit_size, (u + 1) * unit_size)` of each. A unit
    whose producer rows and consumer columns are all zero can be removed without changing the model's output.

    A fused producer stacks several projections, each with all units: `stacks` is 3 for query, key and value in
    one linear, 2 for gate and up in one; unit `u` then owns that slice of every stack.
    """

    kind: Literal["heads", "neurons"]
    block: str
    producers: tuple[str, ...]
    consumer: str
    units: int
    unit_size: int
    stacks: int = 1

    @property
    def name(self) -> str:
        """A label unique within the model, for example `bert.encoder.layer.0.output.dense:neurons`."""
        return f"{self.consumer}:{self.kind}"


def clean_name(name: str) -> str:
    """Strips what DistributedDataParallel (`module.`), torch.compile (`_orig_mod.`) and FSDP put into names."""
    parts = [part for part in name.split(".") if part not in _INSIDE_NAMES]
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        parts = parts[1:]
    return ".".join(parts)


def common_prefix(names: Sequence[str]) -> str:
    """The dotted path that all names share, with its last dot; never a whole name."""
    shared = []
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join([*shared, ""])


def unwrap_model(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel and torch.compile wrappers; the model itself without them.

    Of sentence-transformers' SentenceTransformer, CrossEncoder and SparseEncoder: the transformers model inside, so
    that names and files do not depend on how that library nests it. One with several models (a Router) stays whole.
    """
    while True:
        inner = _only_child(model)
        if inner is None and (inner := _only_encoder(model)) is None:
            return model
        model = inner


def find_blocks(model: nn.Module) -> tuple[str, ...]:
    """Paths of the repeated blocks: elements of the outermost lists of like modules that hold >= 2 linears.

    Lists of one element count only when the model has no longer list, so that a one-layer encoder still has
    its block. Empty when the model has none.
    """
    lists = list(_block_lists(unwrap_model(model), ""))
    repeated = [blocks for blocks in lists if len(blocks) > 1]
    return tuple(clean_name(path) for blocks in repeated or _outermost(lists) for path in blocks)


def check_depth(config: Any, name: str) -> None:
    """Raise InputError for more layers than any encoder has: building them one by one would take hours."""
    layers = getattr(config, "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > _MOST_LAYERS:
        raise InputError(
            f"the config of {name} names {shown(layers)} layers, and no encoder has more than {_MOST_LAYERS:,}; fix it"
        )


def lacks_only_a_pooler(kind: type, missing: Collection[str]) -> bool:
    """Whether weights of `missing` are those of a pooler that `kind` need not have: nobody used it, so nobody saved it."""
    takes = "add_pooling_layer" in inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    return bool(missing) and takes and all(name.startswith("pooler.") for name in missing)


def find_couplings(model: nn.Module) -> tuple[Coupling, ...]:
    """Heads and neurons of every block, in model order; heads first within a block.

    Not reported, because no equal slice of rows belongs to a unit: fused linears of unknown layout,
    grouped-query attention, and blocks in which the pairing of linears is ambiguous.
    """
    root = unwrap_model(model)
    found: list[Coupling] = []
    for block in find_blocks(root):
        linears = _linears(root.get_submodule(block), block)
        heads = list(_head_couplings(root, block, linears))
        taken = {path for coupling in heads for path in (*coupling.producers, coupling.consumer)}
        attention = (*_QUERY, *_KEY, *_VALUE, *_POSITION, _FUSED_QKV)
        taken |= {path for path in linears if path.rpartition(".")[2] in attention}
        rest = {path: linear for path, linear in linears.items() if path not in taken}
        gated = list(_gated_couplings(block, rest))
        taken = {path for coupling in gated for path in (*coupling.producers, coupling.consumer)}
        rest = {path: linear for path, linear in rest.items() if path not in taken}
        found += [*heads, *gated, *_neuron_couplings(block, rest)]
    return tuple(found)


def keep_every_second_layer(model: Any) -> None:
    """Take every second of the repeated blocks out of a transformers model, the first stays; in place."""
    paths, config = find_blocks(model), model.config
    for parent in {path.rpartition(".")[0] for path in paths}:
        blocks = model.get_submodule(parent)
        model.set_submodule(parent, type(blocks)(list(blocks)[::2]))
    depth = config.num_hidden_layers
    # What a config says of each layer, such as its kind of attention.
    for name, value in config.to_dict().items():
        if isinstance(value, list | tuple) and len(value) == depth and hasattr(config, name):
            setattr(config, name, list(value)[::2])
    config.num_hidden_layers = -(-depth // 2)


def _only_child(model: nn.Module) -> nn.Module | None:
    children = list(model.named_children())
    wraps = len(children) == 1 and children[0][0] in _WRAPPERS and not any(model.parameters(recurse=False))
    return children[0][1] if wraps else None


def _only_encoder(model: nn.Module) -> nn.Module | None:
    """The transformers model inside one of sentence-transformers', recognised by their classes' names alone."""
    if not any(base.__module__.split(".")[0] == _SENTENCE_LIBRARY for base in type(model).__mro__):
        return None
    found = list(_encoders(model))
    return found[0] if len(found) == 1 else None


def _encoders(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost transformers models below `model`."""
    for child in model.children():
        if any(base.__name__ == _ENCODER_BASE for base in type(child).__mro__):
            yield child
        else:
            yield from _encoders(child)


def _block_lists(module: nn.Module, path: str) -> Iterator[list[str]]:
    """Outer lists first; nothing inside a repeated block is searched again (experts are part of their block)."""
    prefix = f"{path}." if path else ""
    children = [(f"{prefix}{name}", child) for name, child in module.named_children()]
    if _is_block_list(module):
        yield [name for name, _ in children]
        if len(children) > 1:
            return
    for name, child in children:
        yield from _block_lists(child, name)


def _outermost(lists: list[list[str]]) -> list[list[str]]:
    """Lists of one block each, without those inside another's block."""
    blocks = [path for one in lists for path in one]
    return [one for one in lists if not any(one[0].startswith(f"{block}.") for block in blocks)]


def _is_block_list(module: nn.Module) -> bool:
    if not isinstance(module, nn.ModuleList | nn.Sequential):
        return False
    children = [unwrap_model(child) for child in module]
    alike = len({type(child) for child in children}) == 1
    return alike and all(len(_linears(child, "")) > 1 for child in children)


def _linears(module: nn.Module, path: str) -> dict[str, nn.Linear]:
    prefix = f"{path}." if path else ""
    return {
        clean_name(prefix + name): child
        for name, child in module.named_modules()
        if name and isinstance(child, nn.Linear)
    }


def _head_couplings(root: nn.Module, block: str, linears: dict[str, nn.Linear]) -> Iterator[Coupling]:
    for parent in dict.fromkeys(path.rpartition(".")[0] for path in linears):
        inner = {path.rpartition(".")[2]: path for path in linears if path.rpartition(".")[0] == parent}
        projections = [_first(inner, names) for names in (_QUERY, _KEY, _VALUE)]
        heads = _head_count(root, parent)
        if heads is not None and _FUSED_QKV in inner:
            yield from _fused_heads(block, linears, inner[_FUSED_QKV], heads)
        if None in projections or heads is None:
            continue
        producers = tuple(p for p in projections if p) + tuple(inner[n] for n in _POSITION if n in inner)
        widths = {linears[path].out_features for path in producers}
        consumer = _consumer(parent, block, linears, producers)
        if consumer is None or len(widths) != 1 or min(widths) % heads:
            continue
        yield Coupling("heads", block, producers, consumer, heads, min(widths) // heads)


def _fused_heads(block: str, linears: dict[str, nn.Linear], fused: str, heads: int) -> Iterator[Coupling]:
    width, odd = divmod(linears[fused].out_features, 3)
    near = [p for p in linears if p.rpartition(".")[0] == fused.rpartition(".")[0] and p != fused]
    consumers = [path for path in near if linears[path].in_features == width]
    if not odd and len(consumers) == 1 and width % heads == 0:
        yield Coupling("heads", block, (fused,), consumers[0], heads, width // heads, stacks=3)


def _gated_couplings(block: str, linears: dict[str, nn.Linear]) -> Iterator[Coupling]:
    """Gate and up in one linear of twice the width, with the only linear beside it that reads half of it."""
    for path, linear in linears.items():
        if path.rpartition(".")[2] not in _FUSED_GATES:
            continue
        near = [p for p in linears if p.rpartition(".")[0] == path.rpartition(".")[0] and p != path]
        consumers = [
            p
            for p in near
            if 2 * linears[p].in_features == linear.out_features
            and linears[p].out_features == linear.in_features
        ]
        if len(consumers) == 1:
            units = linear.out_features // 2
            yield Coupling("neurons", block, (path,), consumers[0], units, 1, stacks=2)


def _first(inner: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((inner[name] for name in names if name in inner), None)


def _head_count(root: nn.Module, attention: str) -> int | None:
    """The attention module's own attribute; the model's config where the module keeps none."""
    for holder in (root.get_submodule(attention), getattr(root, "config", None)):
        for name in _HEAD_COUNT:
            if isinstance(heads := getattr(holder, name, None), int) and heads > 0:
                return heads
    return None


def _consumer(
    parent: str, block: str, linears: dict[str, nn.Linear], producers: tuple[str, ...]
) -> str | None:
    """The only other linear of that input width in the smallest module around the projections."""
    width = linears[producers[0]].out_features
    for ancestor in _ancestors(parent, block):
        near = [
            path
            for path, linear in linears.items()
            if path.startswith(f"{ancestor}.") and path not in producers and linear.in_features == width
        ]
        if near:
            return near[0] if len(near) == 1 else None
    return None


def _neuron_couplings(block: str, linears: dict[str, nn.Linear]) -> Iterator[Coupling]:
    """Pairs (in, out) of opposite shape, or gated triples (gate, up, out), producers registered first."""
    taken: set[str] = set()
    for path, linear in linears.items():
        for ancestor in _ancestors(path.rpartition(".")[0], block):
            near = [p for p in linears if p.startswith(f"{ancestor}.") and p not in taken]
            before = near[: near.index(path)] if path in near else []
            producers = tuple(p for p in before if _opposite(linears[p], linear))
            if producers:
                break
        else:
            continue
        # When inner and outer width agree, a chain and a gated triple look alike: only a lone pair is safe.
        square = linear.in_features == linear.out_features
        alike = sum(_opposite(linears[p], linear) for p in near) if square else 2
        if alike > 2 or len(producers) > 2:
            continue
        taken |= {path, *producers}
        yield Coupling("neurons", block, producers, path, linear.in_features, 1)


def _opposite(producer: nn.Linear, consumer: nn.Linear) -> bool:
    return (producer.in_features, producer.out_features) == (consumer.out_features, consumer.in_features)


def _ancestors(path: str, block: str) -> Iterator[str]:
    """`path`, its parent, and so on up to `block`."""
    while path.startswith(block):
        yield path
        if path == block:
            return
        path = path.rpartition(".")[0]
