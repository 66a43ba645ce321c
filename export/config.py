"""What `export_onnx` may be told."""

from dataclasses import dataclass

from platon_compress.errors import InputError

__all__ = ["ExportConfig"]

_VALUES = ("float32", "int8")
_EXPORTERS = ("torchscript", "dynamo")
# 18: the first opset with ScatterElements(add), which the operator's fallback needs. 25: the last one tried.
_OPSETS = range(18, 26)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of one export.

    opset: version of the standard operators written into the file, 18 to 25. Attention is one node beside sparse layers
        at any of them, in a file without sparse layers from 23 on.
    exporter: "torchscript" is PyTorch's tracing exporter (seconds), "dynamo" its successor (tens of seconds).
    graph_passes: rewrite the graph around the linears with the passes of `passes.GRAPH_PASSES`.
    skip_passes: names of graph passes to leave out.
    values: "float32", or "int8": sparse weights as 8-bit numbers with a scale per row, activations rounded to 8 bits where
        such a weight multiplies them; None: each weight as the model's plan says. With 8-bit numbers the file computes
        something near to the model; `verify` says how near.
    int8_budget: relative error of the outputs (length of the difference over theirs) that 8-bit weights may cause: operators
        whose rounding costs most keep floats until the rest is within it; None: all that are planned are rounded.
    attention: "float32", or "int8": where the weights of a whole self-attention are 8-bit numbers, so are its queries,
        keys, values and probabilities when they are multiplied.
    embeddings: "float32", or "int8": lookup tables of more than 1,000 rows as 8-bit numbers with a scale per row; "auto":
        that in a file with 8-bit weights.
    remove_padding: compute linears and LayerNorm on the valid tokens of a padded batch only.
    check: run onnx.checker with full shape inference on what is written.
    """

    opset: int = 18
    exporter: str = "torchscript"
    graph_passes: bool = True
    skip_passes: tuple[str, ...] = ()
    values: str | None = None
    int8_budget: float | None = None
    attention: str = "float32"
    embeddings: str = "float32"
    remove_padding: bool = False
    check: bool = True

    def __post_init__(self) -> None:
        """Refuse what no exporter could do."""
        if self.opset not in _OPSETS:
            raise InputError(f"opset must be 18 to 25, got {self.opset}; 18 runs on every supported runtime")
        if self.exporter not in _EXPORTERS:
            raise InputError(
                f"exporter must be torchscript or dynamo, got {self.exporter!r}; use torchscript"
            )
        if self.values is not None and self.values not in _VALUES:
            raise InputError(f"values must be float32 or int8, got {self.values!r}; float32 rounds nothing")
        budget = self.int8_budget
        if budget is not None and (not isinstance(budget, int | float) or not 0 < budget <= 1):
            raise InputError(f"int8_budget must be above 0 and at most 1, got {budget!r}; 0.01 allows 1 %")
        if self.attention not in _VALUES:
            raise InputError(
                f"attention must be float32 or int8, got {self.attention!r}; float32 rounds nothing"
            )
        if self.embeddings not in (*_VALUES, "auto"):
            raise InputError(
                f"embeddings must be float32, int8 or auto, got {self.embeddings!r}; float32 rounds nothing"
            )
