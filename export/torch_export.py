"""A torch model -> one ONNX file that ONNX Runtime runs, with sparse layers where a plan says so."""

import contextlib
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from platon_compress.errors import CheckFailedError, InputError, first_line
from platon_compress.export import model_file
from platon_compress.export.config import ExportConfig
from platon_compress.export.deberta import constant_projections, disentangled_attention_for_export
from platon_compress.export.equalise import layer_inputs
from platon_compress.export.functions import attach_functions, is_ours
from platon_compress.export.model_file import name_axes, write_model
from platon_compress.export.operators import OPERATORS
from platon_compress.export.passes import (
    EqualiseInputs,
    PassReport,
    SplitTables,
    apply_rule,
    clean,
    finish,
    rewrite_graph,
    swap_sparse_weights,
)
from platon_compress.export.passes.equalise_inputs import Equalised
from platon_compress.export.quantize import rounded_operators
from platon_compress.export.round_model import round_model
from platon_compress.export.rounding import sampled_places
from platon_compress.export.value_types import planned_int8
from platon_compress.scoring import Batch

if TYPE_CHECKING:
    import torch

__all__ = ["ExportResult", "export_onnx"]

_DYNAMO_OPSET = 22  # at most, see _trace_dynamo
# Inputs whose second axis is not a sequence.
_BATCH_ONLY = frozenset({"pixel_values"})
_FOLDED = "it multiplies position embeddings only, and the file holds the products as constants"


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written.

    sparse_nodes: names of the nodes with sparse weights. skipped: (parameter or input name, why it is not there).
    passes: (pass name, number of places it changed). refusals: (pass name, node name, why it stayed).
    equalised: norms whose features got factors for the 8-bit layers behind them.
    int8_nodes: names of the sparse nodes with 8-bit weights; int8_attention: with 8-bit attention; int8_tables: of such
    tables. unrounded_bytes: size of the same file before rounding, None where none was asked for or nothing was rounded.
    """

    path: Path
    size_bytes: int
    sparse_nodes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    seconds: float
    exporter: str
    opset: int
    passes: tuple[tuple[str, int], ...]
    refusals: tuple[tuple[str, str, str], ...]
    equalised: tuple[Equalised, ...] = ()
    int8_nodes: tuple[str, ...] = ()
    int8_attention: tuple[str, ...] = ()
    int8_tables: tuple[str, ...] = ()
    unrounded_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self) | {"path": str(self.path)}


def export_onnx(
    model: Any,
    path: str | Path,
    example_inputs: "Mapping[str, torch.Tensor]",
    config: ExportConfig | None = None,
    *,
    unrounded: str | Path | None = None,
    calibration: Sequence[Batch] = (),
) -> ExportResult:
    """Write `model` to `path`: a plain dense graph for an `nn.Module`, sparse layers for a `CompressedModel`.

    example_inputs: the model's keyword arguments, [batch, sequence] (or [batch, ...] for pixel_values); the
    file takes any batch and sequence length. The model runs in eval mode and float32, and is left as it was. The
    file appears under its name only when it is complete and checked.
    unrounded: where the same graph goes as it is before weights become 8-bit numbers; nothing goes there where none does.
    calibration: inputs of the model by name, each [batch, ...], of which up to 64 examples tell how features in front of
    8-bit weights are scaled best, see `equalise`; without any none is.
    Raises InputError for inputs that the model does not take, CheckFailedError when the written graph is bad.
    """
    config = config or ExportConfig()
    started = time.perf_counter()
    module, csr = _split(model)
    int8 = planned_int8(model, csr, config)
    traced = _trace(module, _checked_inputs(example_inputs), config)
    folded = constant_projections(module) if config.graph_passes and csr else frozenset()
    examples = [calibration[place] for place in sampled_places(calibration)] if calibration else []
    with _exportable(module):
        equalise = EqualiseInputs(layer_inputs(module, int8, examples))
    reports, skipped = _rewrite(traced, csr, int8, equalise, config)
    skipped = tuple((name, _FOLDED if name in folded else reason) for name, reason in skipped)
    unused = [name for name in example_inputs if name not in {value.name for value in traced.graph.inputs}]
    rounded = round_model(traced, unrounded, config, examples)
    operators = rounded_operators(traced)
    size_bytes = write_model(traced, Path(path), check=config.check)
    return ExportResult(
        path=Path(path),
        size_bytes=size_bytes,
        sparse_nodes=tuple(
            str(node.name) for node in traced.graph if is_ours(node) and OPERATORS[node.op_type].weights
        ),
        equalised=tuple(equalise.done),
        int8_nodes=tuple(operators),
        int8_attention=tuple(name for name, operator in operators.items() if operator.int8_attention),
        int8_tables=rounded.tables,
        unrounded_bytes=rounded.unrounded_bytes,
        skipped=(
            *skipped,
            *rounded.stayed,
            *((name, "the model does not read this input") for name in unused),
        ),
        inputs=tuple(str(value.name) for value in traced.graph.inputs),
        outputs=tuple(str(value.name) for value in traced.graph.outputs),
        seconds=time.perf_counter() - started,
        exporter=config.exporter,
        opset=traced.opset_imports[""],
        passes=tuple((report.name, report.applied) for report in reports),
        refusals=tuple((report.name, *refusal) for report in reports for refusal in report.refusals),
    )


def _split(model: Any) -> "tuple[torch.nn.Module, Mapping[str, Any]]":
    """The module to trace and the planned CSR weights (none for a plain module)."""
    import torch

    from platon_compress.incoming import plain_copy

    if isinstance(model, torch.nn.Module):
        return plain_copy(model), {}
    if isinstance(getattr(model, "model", None), torch.nn.Module) and hasattr(model, "csr"):
        csr = model.refreshed().csr if hasattr(model, "refreshed") else model.csr
        return plain_copy(model.model), csr
    kind = type(model).__name__
    raise InputError(
        f"export_onnx takes a torch module or the result of convert(), got {kind}; convert it first"
    )


def _checked_inputs(example_inputs: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """At least two examples: with a batch of one, tracing would fix broadcasts to it."""
    import torch

    bad = [name for name, value in example_inputs.items() if not isinstance(value, torch.Tensor)]
    if bad or not example_inputs:
        raise InputError(
            f"example_inputs must map names to tensors, got {bad or 'nothing'}; "
            "a tokenizer returns them with return_tensors='pt'"
        )
    if "labels" in example_inputs:
        raise InputError(
            "example_inputs holds labels, got a loss instead of a deployed model; leave them out"
        )
    return {name: torch.cat([v, v]) if len(v) == 1 else v for name, v in example_inputs.items()}


def _rewrite(
    model: ir.Model,
    csr: Mapping[str, Any],
    int8: Collection[str],
    equalise: EqualiseInputs,
    config: ExportConfig,
) -> tuple[list[PassReport], tuple[tuple[str, str], ...]]:
    """Clean the traced graph, swap the sparse weights in, run the graph passes; all in place."""
    clean(model)
    skip = {*config.skip_passes, *({SplitTables.name} if config.embeddings != "float32" else ())}
    _, skipped, reports = swap_sparse_weights(model, csr, int8) if csr else ({}, (), ())
    if int8 and equalise.name not in skip:
        reports = (*reports, apply_rule(equalise, model.graph))
    graph_reports = rewrite_graph(model, skip, unpad=config.remove_padding) if config.graph_passes else ()
    spelled = finish(model)
    attach_functions(model)
    return [*reports, *graph_reports, spelled], skipped


def _trace(module: "torch.nn.Module", inputs: "dict[str, torch.Tensor]", config: ExportConfig) -> ir.Model:
    """Run PyTorch's exporter quietly, with eager attention, and name what it left unnamed."""
    import torch

    with _exportable(module), torch.no_grad(), contextlib.ExitStack() as stack:
        if config.graph_passes:
            stack.enter_context(disentangled_attention_for_export(module))
        outputs, axes = _probe(module, inputs)
        wrapper = _flat_outputs(module, tuple(inputs), outputs)
        export = _trace_dynamo if config.exporter == "dynamo" else _trace_torchscript
        try:
            traced = export(wrapper, inputs, outputs, axes, config.opset)
        except InputError:
            raise
        except Exception as error:
            cause = first_line(error)
            raise CheckFailedError(
                f"PyTorch's {config.exporter} exporter failed on {type(module).__name__}: {cause}; "
                f"try exporter={'torchscript' if config.exporter == 'dynamo' else 'dynamo'}"
            ) from error
    _strip_wrapper(traced)
    name_axes(traced, axes)
    return traced


@contextlib.contextmanager
def _exportable(module: "torch.nn.Module") -> Iterator[None]:
    """Eval mode, eager attention and silence; everything back to what it was afterwards."""
    from platon_compress.incoming import evaluating

    implementation = getattr(getattr(module, "config", None), "_attn_implementation", None)
    loggers = [
        logging.getLogger(name) for name in ("transformers", "torch.onnx", "torch.export", "onnxscript")
    ]
    levels = [logger.level for logger in loggers]
    with evaluating(module), warnings.catch_warnings(), _no_printed_graph():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            _set_attention(module, "eager")
            yield
        finally:
            _set_attention(module, implementation)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _no_printed_graph() -> Iterator[None]:
    """PyTorch prints its whole graph, hundreds of lines, where the tracing exporter lacks an operator."""
    import torch

    private: Any = torch._C
    printer = getattr(private, "_jit_onnx_log", None)
    if printer is None:
        yield
        return
    private._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        private._jit_onnx_log = printer


def _set_attention(module: "torch.nn.Module", implementation: str | None) -> None:
    """Models that cannot switch after construction are exported as they are; the passes know both forms."""
    switch = getattr(module, "set_attn_implementation", None)
    if switch is not None and implementation is not None:
        with contextlib.suppress(ValueError, ImportError, NotImplementedError):
            switch(implementation)


def _probe(
    module: "torch.nn.Module", inputs: "dict[str, torch.Tensor]"
) -> tuple[tuple[str, ...], dict[str, dict[int, str]]]:
    """Names of the tensor outputs and, per input and output, the axes that follow batch or sequence.

    The model runs a second time on inputs one token shorter: an axis that shrinks with them is a sequence.
    """
    import torch

    from platon_compress.incoming import steady

    with steady(module):
        first = _run(module, inputs)
    names = tuple(name for name, value in first.items() if isinstance(value, torch.Tensor))
    sequences = [name for name, value in inputs.items() if name not in _BATCH_ONLY and value.dim() > 1]
    axes: dict[str, dict[int, str]] = {name: {0: "batch_size"} for name in (*inputs, *names)}
    if not sequences:
        return names, axes
    shorter = {n: v[:, :-1] if n in sequences else v for n, v in inputs.items()}
    second = _run(module, shorter)
    for name in sequences:
        axes[name][1] = "sequence_length"
    for name in names:
        for axis, (a, b) in enumerate(zip(first[name].shape, second[name].shape, strict=True)):
            if a != b:
                axes[name][axis] = "sequence_length"
    return names, axes


def _run(module: "torch.nn.Module", inputs: "dict[str, torch.Tensor]") -> Any:
    """The model's output mapping for one batch."""
    try:
        return module(**inputs, return_dict=True)
    except (TypeError, ValueError) as error:  # ValueError: transformers 5 misses its own inputs first
        raise InputError(
            f"{type(module).__name__} does not take the inputs {sorted(inputs)}: {error}; pass its own input names"
        ) from error


def _flat_outputs(
    module: "torch.nn.Module", inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> "torch.nn.Module":
    """A module with positional inputs and a tuple of tensors as output, in eval mode like its content."""
    import torch

    class FlatOutputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, *args: torch.Tensor) -> tuple[torch.Tensor, ...]:
            result = self.model(**dict(zip(inputs, args, strict=True)), return_dict=True)
            return tuple(result[name] for name in outputs)

    return FlatOutputs().eval()


def _trace_torchscript(
    wrapper: "torch.nn.Module",
    inputs: "dict[str, torch.Tensor]",
    outputs: tuple[str, ...],
    axes: dict[str, dict[int, str]],
    opset: int,
) -> ir.Model:
    import onnx
    import torch

    def export(target: Any) -> None:
        torch.onnx.export(
            wrapper,
            tuple(inputs.values()),
            target,
            dynamo=False,
            opset_version=opset,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )

    if sum(p.numel() * p.element_size() for p in wrapper.parameters()) <= model_file.INLINE_LIMIT_BYTES:
        buffer = io.BytesIO()
        export(buffer)
        return ir.from_proto(onnx.load_from_string(buffer.getvalue()))
    with tempfile.TemporaryDirectory() as folder:  # the exporter writes more than 2 GiB into several files
        path = Path(folder) / "traced.onnx"
        export(str(path))
        return ir.external_data.load_to_model(ir.load(path))


def _trace_dynamo(
    wrapper: "torch.nn.Module",
    inputs: "dict[str, torch.Tensor]",
    outputs: tuple[str, ...],
    axes: dict[str, dict[int, str]],
    opset: int,
) -> ir.Model:
    import torch

    dynamic = torch.export.Dim.DYNAMIC
    # From 23 on the exporter writes RotaryEmbedding with caches of one batch, which ONNX Runtime 1.32 refuses for two.
    # What it writes for 22 means the same in every later version.
    program = torch.onnx.export(
        wrapper,
        tuple(inputs.values()),
        dynamo=True,
        verbose=False,
        opset_version=min(opset, _DYNAMO_OPSET),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=(tuple(dict.fromkeys(axes[name], dynamic) for name in inputs),),
    )
    if program is None:
        raise CheckFailedError("the dynamo exporter returned nothing; try exporter=torchscript")
    program.model.opset_imports[""] = opset
    return program.model


def _strip_wrapper(model: ir.Model) -> None:
    """Drop the wrapper's own name from nodes, metadata and parameters: `model.bert.x` -> `bert.x`."""
    for node in model.graph:
        if node.name and node.name.startswith("/model/"):
            node.name = node.name.removeprefix("/model")
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        if scopes:
            node.metadata_props["pkg.torch.onnx.name_scopes"] = scopes.replace("'model.", "'")
    for name, value in list(model.graph.initializers.items()):
        if name.startswith("model.") and name.removeprefix("model.") not in model.graph.initializers:
            value.name = name.removeprefix("model.")
