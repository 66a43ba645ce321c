"""Measures what an attention and a feed-forward cost by the heads and neurons they keep, in stock ONNX Runtime here.

Half a block is what a dense export makes of it: products with biases, `Attention` or GELU, the residual sum and its norm,
all with standard operators and without our library. Its curve has a count of 0 (the residual sum and the norm alone), all
units, and counts between; one that cannot lose single heads (see `formats.attention`) has the two ends only. Two half
blocks with different weights follow one another in a session. All counts and the rest of the model are called
in turn; seconds are the fastest, as in `calibrate`. A curve holds what units add to the residual path, so that nothing
counts the start of a run; the rest is the model exported without any unit. Nothing that is timed runs long, so that a busy
machine disturbs all alike.
"""

import copy
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from platon_compress.measure.calibrate import settled_samples
from platon_compress.measure.trial_files import rows_reaching, session_call
from platon_compress.progress import Progress, Steps
from platon_compress.pruning.unit_costs import UnitCosts, curve_name_in

if TYPE_CHECKING:
    import torch

    from platon_compress.structure import Coupling

__all__ = [
    "COPIES",
    "HalfBlock",
    "counts_to_measure",
    "half_block_call",
    "measure_half_blocks",
    "write_half_block",
]

COPIES = 2
"""Half blocks with different weights, one after the other, in a file."""

_REST = "rest"
_RUNS = 7
_STEPS = 20  # of a curve of neurons; heads are measured one by one up to as many
_MULTIPLE = 8  # see planning.coupling: other counts of neurons are slower


@dataclass(frozen=True, kw_only=True)
class HalfBlock:
    """What of a coupling decides its cost; kind: "heads" or "neurons"; gates: 2 for gated neurons, else 1."""

    kind: str
    width: int
    unit_size: int
    gates: int
    batch: int
    tokens: int


def measure_half_blocks(
    model: "torch.nn.Module",
    inputs: "Mapping[str, torch.Tensor]",
    couplings: "Sequence[Coupling]",
    *,
    threads: int,
    runs: int = _RUNS,
    progress: Progress | None = None,
) -> UnitCosts:
    """The curves of `couplings`, and as rest whatever else one run of `model` on `inputs` takes.

    `inputs` are of the deployment's batch and tokens. It takes half a minute on an idle machine.
    Raises CheckFailedError or InputError where the model cannot be exported.
    """
    shape = _rows_of(model, inputs, couplings[0])
    named = {curve_name_in(model, coupling): coupling for coupling in couplings}
    counts = {name: counts_to_measure(model, coupling) for name, coupling in named.items()}
    steps = Steps(len(named) + 2, progress)
    with tempfile.TemporaryDirectory(prefix="platon-half-blocks-") as scratch:
        folder = Path(scratch)
        sides = {_REST: _rest_runner(model, inputs, couplings, folder, threads)}
        steps.advance("the rest of the model is exported")
        for name, coupling in named.items():
            half = _half(model, coupling, shape)
            for count in counts[name]:
                sides[f"{count} of {name}"] = half_block_call(
                    write_half_block(folder, half, count), half, threads
                )
            steps.advance(f"{name} are built")
        samples, _ = settled_samples(sides, runs)
        steps.advance("all are timed in turn")
    fastest = {name: min(times) for name, times in samples.items()}
    curves = {name: tuple((count, _added(fastest, name, count)) for count in counts[name]) for name in named}
    return UnitCosts(rest_seconds=fastest[_REST], curves=curves)


def _added(fastest: Mapping[str, float], name: str, count: int) -> float:
    """Seconds that `count` units of half a block add to none."""
    return max(fastest[f"{count} of {name}"] - fastest[f"0 of {name}"], 0.0) / COPIES


def counts_to_measure(model: "torch.nn.Module", coupling: "Coupling") -> tuple[int, ...]:
    """Rising, 0 and all units included; only the two where single units cannot go from the model."""
    from platon_compress.formats.attention import head_refusal
    from platon_compress.planning.coupling import attention_of

    units = coupling.units
    if coupling.kind == "heads" and head_refusal(attention_of(model, coupling), units) is not None:
        return 0, units
    multiple = _MULTIPLE if coupling.kind == "neurons" else 1
    between = {round(units * step / _STEPS / multiple) * multiple for step in range(1, _STEPS)}
    return tuple(sorted({0, units, *(count for count in between if 0 < count < units)}))


def _rows_of(
    model: "torch.nn.Module", inputs: "Mapping[str, torch.Tensor]", coupling: "Coupling"
) -> tuple[int, int]:
    """Batch and tokens of the hidden states: an image model makes its own tokens."""
    *batch, tokens = rows_reaching(model, coupling.producers[0], inputs)
    return math.prod(batch), tokens


def _half(model: "torch.nn.Module", coupling: "Coupling", shape: tuple[int, int]) -> HalfBlock:
    return HalfBlock(
        kind=coupling.kind,
        width=len(model.get_parameter(f"{coupling.consumer}.weight")),
        unit_size=coupling.unit_size,
        gates=len(coupling.producers) * coupling.stacks,
        batch=shape[0],
        tokens=shape[1],
    )


def _rest_runner(
    model: "torch.nn.Module",
    inputs: "Mapping[str, torch.Tensor]",
    couplings: "Sequence[Coupling]",
    folder: Path,
    threads: int,
) -> Callable[[], object]:
    """The model with nothing in `couplings` but their residual paths."""
    from platon_compress.export.config import ExportConfig
    from platon_compress.export.passes.fuse_attention import ATTENTION_OPSET
    from platon_compress.export.torch_export import export_onnx

    bare = copy.deepcopy(model)
    for coupling in couplings:
        bare.get_parameter(f"{coupling.consumer}.weight").data.zero_()
    path = folder / "rest.onnx"
    export_onnx(bare, path, inputs, ExportConfig(opset=ATTENTION_OPSET, check=False))
    feed = {name: value.numpy() for name, value in inputs.items()}
    return session_call(path, feed, threads, use_library=False)


def half_block_call(path: Path, half: HalfBlock, threads: int) -> Callable[[], object]:
    """One run of such a file in stock ONNX Runtime, on random hidden states."""
    x = np.random.default_rng(0).standard_normal((half.batch, half.tokens, half.width), dtype=np.float32)
    return session_call(path, {"x": x}, threads, use_library=False)


def write_half_block(folder: Path, half: HalfBlock, units: int) -> Path:
    """The file of `COPIES` half blocks of so many units; 0: the residual sum and the norm alone."""
    path = folder / f"{half.kind}-{half.width}-{units}.onnx"
    onnx.save(_model(half, units), path)
    return path


def _model(half: HalfBlock, units: int) -> onnx.ModelProto:
    """`COPIES` half blocks one after the other on x [batch, tokens, width]."""
    build = _Builder(np.random.default_rng(1))
    value = "x"
    for _ in range(COPIES):
        inner = (
            _attention(build, half, units, value)
            if half.kind == "heads"
            else _neurons(build, half, units, value)
        )
        bias = build.constant(half.width)
        summed = build.node("Add", value, bias if inner is None else build.node("Add", inner, bias))
        value = build.node(
            "LayerNormalization", summed, build.constant(half.width), build.constant(half.width)
        )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", half.width])
    y = helper.make_tensor_value_info(value, TensorProto.FLOAT, ["batch", "tokens", half.width])
    graph = helper.make_graph(build.nodes, "half_blocks", [x], [y], build.initializers)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 23)])


def _attention(build: "_Builder", half: HalfBlock, heads: int, value: str) -> str | None:
    """Without its last bias; None without heads."""
    if not heads:
        return None
    inner = heads * half.unit_size
    projected = [build.linear(value, half.width, inner) for _ in range(3)]
    scale = half.unit_size**-0.5
    mixed = build.node("Attention", *projected, q_num_heads=heads, kv_num_heads=heads, scale=scale)
    return build.node("MatMul", mixed, build.constant(inner, half.width))


def _neurons(build: "_Builder", half: HalfBlock, neurons: int, value: str) -> str | None:
    """Without its last bias; None without neurons."""
    if not neurons:
        return None
    inner = build.node("Gelu", build.linear(value, half.width, neurons))
    if half.gates > 1:
        inner = build.node("Mul", inner, build.linear(value, half.width, neurons))
    return build.node("MatMul", inner, build.constant(neurons, half.width))


class _Builder:
    """Nodes and random constants of a graph under construction."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, *shape: int) -> str:
        array = self._generator.standard_normal(shape, dtype=np.float32) * np.float32(shape[0] ** -0.5)
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def linear(self, value: str, inputs: int, outputs: int) -> str:
        return self.node(
            "Add", self.node("MatMul", value, self.constant(inputs, outputs)), self.constant(outputs)
        )
