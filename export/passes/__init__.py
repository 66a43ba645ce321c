"""Graph passes: which run, in which order."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import onnx_ir as ir

from platon_compress.export.passes._rule import PassReport, Rule, apply_rule
from platon_compress.export.passes.clean import clean, drop_unused, infer_shapes, tidy
from platon_compress.export.passes.drop_empty import DropEmpty
from platon_compress.export.passes.equalise_inputs import EqualiseInputs
from platon_compress.export.passes.fold_activation import FoldActivation
from platon_compress.export.passes.fold_bias import FoldBias
from platon_compress.export.passes.fold_layer_scale import FoldLayerScale
from platon_compress.export.passes.fold_norm import FoldNorm
from platon_compress.export.passes.fold_residual import FoldResidual
from platon_compress.export.passes.fold_sizes import FoldSizes
from platon_compress.export.passes.fuse_attention import ATTENTION_OPSET, FuseAttention
from platon_compress.export.passes.fuse_gelu import FuseGelu
from platon_compress.export.passes.fuse_norm import FuseNorm, FuseNormOfSums
from platon_compress.export.passes.halve_values import HalveValues
from platon_compress.export.passes.join_blocks import JoinBlocks, JoinPrenormBlocks
from platon_compress.export.passes.pass_sizes import pass_sizes
from platon_compress.export.passes.quantize_tables import QuantizeTables
from platon_compress.export.passes.remove_padding import remove_padding
from platon_compress.export.passes.share_sizes import ShareSizes
from platon_compress.export.passes.spell_gelu import SpellGelu
from platon_compress.export.passes.split_layer_norm import SplitLayerNorm
from platon_compress.export.passes.split_tables import SplitTables
from platon_compress.export.passes.stack_projections import StackProjections
from platon_compress.export.passes.static_reshape import StaticReshape
from platon_compress.export.passes.swap_attention import SwapAttention
from platon_compress.export.passes.swap_last_axes import SwapLastAxes
from platon_compress.export.passes.swap_sparse import SwapSparse

__all__ = [
    "GRAPH_PASSES",
    "EqualiseInputs",
    "PassReport",
    "QuantizeTables",
    "SplitTables",
    "apply_rule",
    "clean",
    "finish",
    "rewrite_graph",
    "swap_sparse_weights",
]

# In order of application. Each entry measured faster or smaller, or made a later one possible.
GRAPH_PASSES: tuple[Callable[[], Rule], ...] = (
    DropEmpty,
    FuseGelu,
    StaticReshape,
    FoldSizes,
    SwapLastAxes,
    FuseAttention,
    SwapAttention,
    FoldLayerScale,
    FoldResidual,
    FuseNorm,
    StackProjections,
    HalveValues,
    JoinPrenormBlocks,
    FuseNormOfSums,
    JoinBlocks,
    FoldNorm,
    SplitLayerNorm,
    ShareSizes,
    SplitTables,
)


# What later passes need to know anew: sizes behind a changed Reshape, constants behind a folded size.
_REFRESH_AFTER: dict[Callable[[], Rule], Callable[[ir.Model], object]] = {
    StaticReshape: infer_shapes,
    FoldSizes: clean,
    FuseAttention: lambda model: pass_sizes(model.graph),
}


def rewrite_graph(
    model: ir.Model, skip: Collection[str] = (), *, unpad: bool = False
) -> tuple[PassReport, ...]:
    """Apply every graph pass whose name is not in `skip`, in place; with `unpad`, remove padding too."""
    reports = []
    if model.opset_imports[""] < ATTENTION_OPSET and SwapAttention.name in skip:
        skip = {*skip, FuseAttention.name}  # whose result only the other could write
    for make in GRAPH_PASSES:
        rule = make()
        if unpad and make is FoldResidual:  # norms are still one node each, attention is already
            reports.append(remove_padding(model))
        if rule.name in skip:
            continue
        report = apply_rule(rule, model.graph)
        reports.append(report)
        if report.applied and make in _REFRESH_AFTER:
            _REFRESH_AFTER[make](model)
    tidy(model)
    return tuple(reports)


def finish(model: ir.Model) -> PassReport:
    """Leave nothing in the graph that only ONNX Runtime knows, in place."""
    report = apply_rule(SpellGelu(), model.graph)
    drop_unused(model)
    return report


def swap_sparse_weights(
    model: ir.Model, csr: Mapping[str, Any], int8: Collection[str] = ()
) -> tuple[dict[str, list[str]], tuple[tuple[str, str], ...], tuple[PassReport, ...]]:
    """Replace every planned weight, in place, and note which become 8-bit numbers.

    Returns parameter name -> nodes, (parameter name, reason) of those left dense, and the passes' reports.
    """
    swap = SwapSparse(csr, int8)
    reports = tuple(
        apply_rule(rule, model.graph) for rule in (swap, FoldBias(), FuseGelu(), FoldActivation())
    )
    drop_unused(model)
    return swap.replaced, swap.missing(), reports
