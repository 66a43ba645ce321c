"""Real files of a model that nobody has trained yet, and their times: dense, dense int8, random masks."""

import copy
import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.budget import Figures
from platon_compress.errors import InputError, first_line
from platon_compress.export.session import open_session
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.timing import compare, measure_interleaved

if TYPE_CHECKING:
    import torch

    from platon_compress.planning import PlanConfig

__all__ = [
    "DENSE",
    "DENSE_INT8",
    "Trial",
    "figures_of",
    "rows_reaching",
    "session_call",
    "time_files",
    "trying",
]

DENSE, DENSE_INT8 = "dense", "dense_int8"
"""Names of the two files that every user has."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A model in eval mode, what its files are made and timed for, and those that there are by name, dense first."""

    model: Any
    inputs: "Mapping[str, torch.Tensor]"
    config: "PlanConfig"
    folder: Path
    files: dict[str, Path]
    notes: tuple[str, ...]

    def calibrate(self, densities: Iterable[float], *, int8: bool, block_rows: int = 1) -> Path:
        """The cost table of the model's own layers, measured now."""
        from platon_compress.measure.calibrate import calibrate, write_cost_table
        from platon_compress.selection import select

        shapes = sorted({(p.shape[0], p.shape[1]) for p in select(self.model).values()})
        place = (self.config.rows,), (self.config.used_threads,)
        table = calibrate(shapes, tuple(densities), *place, block_rows=block_rows, int8=int8)
        return write_cost_table(table, self.folder / f"cost-{block_rows}.json")

    def add(
        self,
        name: str,
        masks: "Mapping[str, torch.Tensor]",
        config: "PlanConfig",
        *,
        attention: str = "auto",
        embeddings: str = "auto",
    ) -> dict[str, int]:
        """Write the file of that name, with the zeros of `masks`, as it would be shipped; layers by form.

        config: what it is planned for; attention, embeddings: as in `plan`.
        """
        self.files[name] = path = self.folder / f"trial-{len(self.files)}.onnx"
        return _masked_file(
            self.model, masks, self.inputs, config, path, attention=attention, embeddings=embeddings
        )

    def time(self, runs: int, *names: str) -> dict[str, tuple[float, ...]]:
        """Seconds of all files in turn, or of those named; see :func:`time_files`."""
        files = {name: self.files[name] for name in names or self.files}
        return time_files(files, self.inputs, self.config.used_threads, runs)

    def facts(self) -> dict[str, Any]:
        """What a result says beside its rows."""
        return {
            "tokens": self.config.tokens,
            "batch": self.config.batch,
            "threads": self.config.used_threads,
            "notes": self.notes,
            "environment": describe_environment(threads=self.config.used_threads),
        }


@contextmanager
def trying(
    model: Any,
    example_inputs: "Mapping[str, torch.Tensor] | None",
    *,
    batch: int,
    tokens: int,
    threads: int | None,
) -> Iterator[Trial]:
    """The dense files of `model`, which is left as it is; everything goes with the block.

    Raises InputError for a model without linear layers to prune, or whose inputs cannot be made up.
    """
    from platon_compress.incoming import evaluating

    inputs = dict(example_inputs or _made_up_inputs(model, batch=batch, tokens=tokens))
    with tempfile.TemporaryDirectory(prefix="platon-trial-") as place, evaluating(model):
        config = _deployment(model, inputs, threads)
        files, notes = _dense_files(model, inputs, Path(place))
        yield Trial(model=model, inputs=inputs, config=config, folder=Path(place), files=files, notes=notes)


def _made_up_inputs(model: Any, *, batch: int, tokens: int) -> "dict[str, torch.Tensor]":
    """Random ids or pixels of the size that the model's config states."""
    import torch

    generator = torch.Generator().manual_seed(0)
    config: Any = getattr(model, "config", None)
    main = getattr(model, "main_input_name", None)
    if main == "pixel_values" and hasattr(config, "image_size"):
        side = config.image_size
        height, width = (side, side) if isinstance(side, int) else side
        shape = (batch, getattr(config, "num_channels", 3), height, width)
        return {"pixel_values": torch.randn(shape, generator=generator)}
    if main == "input_ids" and hasattr(config, "vocab_size"):
        low = min(5, config.vocab_size - 1)  # above the usual special tokens
        ids = torch.randint(low, config.vocab_size, (batch, tokens), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    raise InputError(f"cannot make up inputs for {type(model).__name__}; give example_inputs")


def _deployment(model: Any, inputs: "Mapping[str, torch.Tensor]", threads: int | None) -> "PlanConfig":
    """The rows that really reach the first prunable linear layer: image models have their own token count."""
    from platon_compress.planning import PlanConfig
    from platon_compress.selection import select

    path = next(iter(select(model))).removesuffix(".weight")
    batch, rows = len(next(iter(inputs.values()))), math.prod(rows_reaching(model, path, inputs))
    return PlanConfig(tokens=rows // batch, batch=batch, threads=threads)


def rows_reaching(model: Any, path: str, inputs: "Mapping[str, torch.Tensor]") -> tuple[int, ...]:
    """The shape of what the layer at `path` sees of `inputs`, without its features: (batch, tokens), or their product."""
    import torch

    from platon_compress.incoming import evaluating

    seen: list[tuple[int, ...]] = []
    handle = model.get_submodule(path).register_forward_pre_hook(
        lambda module, args: seen.append(tuple(args[0].shape[:-1]))
    )
    try:
        with evaluating(model), torch.no_grad():
            model(**inputs)
    finally:
        handle.remove()
    return seen[0]


def _dense_files(
    model: Any, inputs: "Mapping[str, torch.Tensor]", folder: Path
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """dense at its best, attention in one node, and its dynamic int8 version: the cheap alternative that every user has."""
    from platon_compress.export.config import ExportConfig
    from platon_compress.export.int8 import quantize_int8
    from platon_compress.export.passes.fuse_attention import ATTENTION_OPSET
    from platon_compress.export.torch_export import export_onnx

    dense, int8 = folder / f"{DENSE}.onnx", folder / f"{DENSE_INT8}.onnx"
    export_onnx(model, dense, inputs, ExportConfig(opset=ATTENTION_OPSET))
    try:
        choice = quantize_int8(dense, int8, [{name: value.numpy() for name, value in inputs.items()}])
    except InputError as error:
        return {DENSE: dense}, (first_line(error),)
    return {DENSE: dense, DENSE_INT8: int8}, (f"dense int8: {choice.setting}, by {choice.chosen_by}",)


def _masked_file(
    model: Any,
    masks: "Mapping[str, torch.Tensor]",
    inputs: "Mapping[str, torch.Tensor]",
    config: "PlanConfig",
    path: Path,
    *,
    attention: str,
    embeddings: str,
) -> dict[str, int]:
    """Of `Trial.add`; `model` is left as it is."""
    from platon_compress.baking import bake
    from platon_compress.conversion import convert
    from platon_compress.export.config import ExportConfig
    from platon_compress.export.passes.fuse_attention import ATTENTION_OPSET
    from platon_compress.export.quantize import attention_for
    from platon_compress.export.torch_export import export_onnx
    from platon_compress.planning import plan

    baked = bake(copy.deepcopy(model), masks)
    made = plan(baked, config)
    converted = convert(baked, made)
    settings = ExportConfig(attention=attention_for(attention, config.tokens), embeddings=embeddings)
    if not converted.csr:
        settings = replace(settings, opset=ATTENTION_OPSET)
    export_onnx(converted, path, inputs, settings)
    return made.spoken_counts()


def time_files(
    files: Mapping[str, Path], inputs: "Mapping[str, torch.Tensor]", threads: int, runs: int
) -> dict[str, tuple[float, ...]]:
    """Seconds of `runs` interleaved rounds by name, see :func:`platon_compress.measure.timing.compare`."""
    feed = {name: value.numpy() for name, value in inputs.items()}
    sides = {name: session_call(path, feed, threads) for name, path in files.items()}
    return measure_interleaved(sides, runs=runs, warmup=3)


def figures_of(files: Mapping[str, Path], samples: Mapping[str, Sequence[float]]) -> dict[str, Figures]:
    """By name, from the seconds of rounds in which DENSE took part."""
    return {
        name: Figures(
            latency_seconds=statistics.median(seconds),
            speedup=1.0 if name == DENSE else compare(samples, baseline=DENSE, candidate=name).median,
            size_bytes=files[name].stat().st_size,
        )
        for name, seconds in samples.items()
    }


def session_call(
    path: Path, feed: Mapping[str, Any], threads: int, *, use_library: bool = True
) -> Callable[[], object]:
    """One run of a session on those of `feed` that the file takes, for measuring side by side with others."""
    session = open_session(path, threads=threads, use_library=use_library, stop_spinning=True)
    taken = {value.name: feed[value.name] for value in session.get_inputs()}
    return lambda: session.run(None, taken)
