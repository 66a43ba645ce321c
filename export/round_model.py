"""The last step of an export: weights and tables that were asked for become 8-bit numbers, the graph before them is kept."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from platon_compress.errors import InputError
from platon_compress.export.config import ExportConfig
from platon_compress.export.functions import is_ours
from platon_compress.export.int8_budget import over_budget
from platon_compress.export.model_file import unique_node_names, write_model
from platon_compress.export.operators import OPERATORS
from platon_compress.export.passes import QuantizeTables, SplitTables, apply_rule
from platon_compress.export.passes.clean import tidy
from platon_compress.export.passes.quantize_tables import LEAST_ROWS
from platon_compress.export.quantize import ENCODING, quantize_weights, quantized_form
from platon_compress.export.value_types import becomes_int8
from platon_compress.scoring import Batch

__all__ = ["Rounded", "quantize_tables", "round_model"]

_NO_TABLE = f"no lookup table has more than {LEAST_ROWS} rows, so none is rounded to 8 bits"


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """tables: names of those rounded. stayed: (node or setting, why nothing of it was). unrounded_bytes: of the file."""

    tables: tuple[str, ...] = ()
    stayed: tuple[tuple[str, str], ...] = ()
    unrounded_bytes: int | None = None


def round_model(
    model: ir.Model, unrounded: str | Path | None, config: ExportConfig, examples: Sequence[Batch] = ()
) -> Rounded:
    """Round in place what was noted, and large tables where the settings say so.

    examples: what `config.int8_budget` is measured on. unrounded: where the graph goes as it was before, if anything is
    rounded. `split_tables` has run only where `config.embeddings` is "float32".
    """
    nodes = {node for node in model.graph if is_ours(node) and becomes_int8(node)}
    floats = _kept(model, nodes, config, examples)
    nodes -= {node for node in nodes if node.name in floats}
    kept = tuple(floats.items())
    rounds_tables = _has_tables(model) and (
        config.embeddings == "int8" or (config.embeddings == "auto" and nodes)
    )
    size = None
    if unrounded is not None and (nodes or rounds_tables):
        size = write_model(model, Path(unrounded), check=config.check)
    if nodes:
        quantize_weights(model, nodes.__contains__, attention=config.attention)
    asked = config.embeddings == "int8"  # then it is said of every table why it stayed
    tables, stayed = quantize_tables(model) if rounds_tables or asked else ((), ())
    if config.embeddings != "float32" and config.graph_passes and SplitTables.name not in config.skip_passes:
        apply_rule(SplitTables(), model.graph)
        tidy(model)
    return Rounded(tables=tables, stayed=(*kept, *stayed), unrounded_bytes=size)


def _kept(
    model: ir.Model, nodes: Collection[ir.Node], config: ExportConfig, examples: Sequence[Batch]
) -> dict[str, str]:
    """Operators that keep floats, with the reasons."""
    if config.int8_budget is None or not nodes:
        return {}
    if not examples:
        raise InputError("int8_budget is measured on examples; give export_onnx some as calibration")
    unique_node_names(model.graph)
    becoming = {
        str(node.name): quantized_form(OPERATORS[node.op_type], ENCODING, config.attention) for node in nodes
    }
    return over_budget(model, becoming, config.int8_budget, examples)


def quantize_tables(model: ir.Model) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Round large lookup tables, in place: their names, and (node or "embeddings", reason) of what stayed."""
    rule = QuantizeTables()
    report = apply_rule(rule, model.graph)
    tidy(model)
    tables = tuple(rule.tables)
    return tables, report.refusals if tables or report.refusals else (("embeddings", _NO_TABLE),)


def _has_tables(model: ir.Model) -> bool:
    rule = QuantizeTables()
    lookups = (node for node in model.graph if node.op_type in rule.anchors)
    return any(isinstance(rule.check(node), np.ndarray) for node in lookups)
