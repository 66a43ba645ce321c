"""Chooses the parameters that are ranked and pruned."""

import re
from collections.abc import Iterable, Iterator

from torch import nn

from platon_compress.errors import InputError
from platon_compress.structure import clean_name, find_blocks, unwrap_model

__all__ = ["names_matching", "select"]

Targets = str | Iterable[str] | None


def select(
    model: nn.Module,
    *,
    targets: Targets = None,
    ignore: Targets = (),
    include_biases: bool = False,
) -> dict[str, nn.Parameter]:
    """Prunable parameters by full name, in the order in which `model` registers them.

    Names carry no `module.` or `_orig_mod.`; a tied parameter appears once, under its first name.

    An entry of `targets` or `ignore` is one of:
      1. an exact module path: the weight of that module, or of every linear layer below it;
      2. an exact parameter name: that parameter, biases too;
      3. `re:PATTERN`, which must match the whole of a linear's module path or of its weight's name.
    `include_biases` adds the biases that belong to the chosen weights. Without `targets`: the linear layers
    inside the repeated transformer blocks.

    Raises InputError when nothing is left, or an entry names nothing in this model.
    """
    root = unwrap_model(model)
    parameters = {clean_name(name): parameter for name, parameter in root.named_parameters()}
    linears = {clean_name(n): m for n, m in root.named_modules() if isinstance(m, nn.Linear)}
    chosen = set(_default(root, linears)) if targets is None else _expand(root, linears, targets, "targets")
    if include_biases:
        chosen |= {_bias_of(name) for name in chosen if name.endswith(".weight")}
    ignored = _expand(root, linears, ignore, "ignore", strict=False)
    ignored |= {_bias_of(name) for name in ignored if name.endswith(".weight")}
    selected = {name: p for name, p in parameters.items() if name in chosen - ignored}
    if not selected:
        raise InputError(
            f"no parameter to prune is left after targets={targets!r} and ignore={ignore!r}; "
            "name linear modules of this model, or drop `ignore`"
        )
    return selected


def names_matching(model: nn.Module, entry: str, field: str) -> set[str]:
    """Names of the parameters that one entry of `targets` stands for (rules 1 to 3 of `select`); `field` is for messages.

    Raises InputError when it names nothing in this model.
    """
    root = unwrap_model(model)
    linears = {clean_name(n): m for n, m in root.named_modules() if isinstance(m, nn.Linear)}
    return _expand(root, linears, entry, field)


def _default(root: nn.Module, linears: dict[str, nn.Linear]) -> Iterator[str]:
    blocks = find_blocks(root)
    if not blocks:
        raise InputError(
            f"no repeated transformer block with linear layers found in {type(root).__name__}; "
            "name the layers to prune with `targets`"
        )
    for path in linears:
        if any(path.startswith(f"{block}.") for block in blocks):
            yield f"{path}.weight"


def _expand(
    root: nn.Module, linears: dict[str, nn.Linear], entries: Targets, field: str, *, strict: bool = True
) -> set[str]:
    """Parameter names that the entries stand for. A pattern in `ignore` (not strict) may match nothing."""
    found: set[str] = set()
    for entry in [entries] if isinstance(entries, str) else entries or ():
        is_pattern = entry.startswith("re:")
        names = _by_pattern(linears, entry) if is_pattern else _by_name(root, linears, clean_name(entry))
        if not names and (strict or not is_pattern):
            raise InputError(
                f"{field} entry {entry!r} matches nothing in {type(root).__name__}; give a module path, a "
                f"parameter name or re:PATTERN, for example {next(iter(linears), 'none: no linear layers')!r}"
            )
        found |= names
    return found


def _by_pattern(linears: dict[str, nn.Linear], entry: str) -> set[str]:
    try:
        pattern = re.compile(entry.removeprefix("re:"))
    except re.error as error:
        raise InputError(f"{entry!r} is not a valid pattern ({error}); correct the expression") from error
    return {f"{p}.weight" for p in linears if pattern.fullmatch(p) or pattern.fullmatch(f"{p}.weight")}


def _by_name(root: nn.Module, linears: dict[str, nn.Linear], entry: str) -> set[str]:
    tied = dict(root.named_parameters(remove_duplicate=False))
    owner = {id(p): clean_name(name) for name, p in root.named_parameters()}
    names = {clean_name(name): owner[id(p)] for name, p in tied.items()}
    if entry in names:
        return {names[entry]}
    if f"{entry}.weight" in names:
        return {names[f"{entry}.weight"]}
    return {names[f"{path}.weight"] for path in linears if path.startswith(f"{entry}.")}


def _bias_of(weight: str) -> str:
    return weight.removesuffix("weight") + "bias"
