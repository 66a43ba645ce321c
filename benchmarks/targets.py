"""The engine's targets: encoders of usual sizes with random masks, every linear of the blocks as CSR, in pairs.

    python benchmarks/targets.py
    python benchmarks/targets.py --models bert-base --sparsity 0.9 -o benchmarks/results

Weights are random: dense times do not depend on them, and random masks are what the targets are stated for.
Each cell prints its median speed against dense beside the floor and the goal, and becomes a result file. Other engines:
peers.py.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study import MODELS, add_output, keep, names, run_study, shares, study_parser, watched

from platon_compress.errors import InputError
from platon_compress.measure.bench_report import BenchReport
from platon_compress.measure.config import BenchConfig
from platon_compress.measure.model_bench import run_benchmark

__all__ = [
    "INT8",
    "TARGETS",
    "UNPADDED",
    "TargetModel",
    "add_random",
    "add_targets",
    "cell_stem",
    "chosen_targets",
    "export_int8",
    "export_random",
    "main",
    "random_stem",
    "rounds",
    "target_lines",
    "target_named",
]

UNPADDED = "compressed-unpadded.onnx"
INT8, INT8_SHORT = "compressed-int8.onnx", "compressed-int8-short.onnx"

Floors = dict[float, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class TargetModel:
    """`config` builds the model; `cells` maps (batch, tokens) to sparsity to (floor, goal) against dense."""

    title: str
    config_class: str
    architecture: str
    cells: dict[tuple[int, int | None], Floors]
    config: dict[str, Any] = field(default_factory=dict)


def _floors(*pairs: tuple[float, float]) -> Floors:
    return dict(zip((0.8, 0.9, 0.95), pairs, strict=True))


_SMALL = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}

TARGETS = {
    "minilm-l6": TargetModel(
        title="MiniLM-L6",
        config_class="BertConfig",
        architecture="BertForSequenceClassification",
        config=_SMALL,
        cells={(1, 64): _floors((1.6, 2.2), (2.5, 3.5), (3.2, 4.5))},
    ),
    "bert-base": TargetModel(
        title="BERT-base",
        config_class="BertConfig",
        architecture="BertForSequenceClassification",
        cells={
            (1, 128): _floors((2.3, 3.0), (3.5, 5.0), (4.8, 7.0)),
            (1, 384): _floors((2.2, 2.8), (3.3, 4.5), (4.5, 6.0)),
            (8, 128): _floors((2.2, 2.8), (3.3, 4.5), (4.5, 6.0)),
            (1, 16): _floors((1.8, 2.5), (3.0, 4.0), (4.0, 6.0)),
            (1, 32): _floors((1.8, 2.5), (3.0, 4.0), (4.0, 6.0)),
        },
    ),
    "vit-b16": TargetModel(
        title="ViT-B/16",
        config_class="ViTConfig",
        architecture="ViTForImageClassification",
        cells={(1, None): _floors((2.2, 3.0), (3.3, 5.0), (4.5, 6.5))},
    ),
}


def export_random(
    target: TargetModel,
    sparsity: float,
    folder: Path,
    *,
    threads: int | None = None,
    pruned: bool = False,
    unpadded: bool = False,
) -> Path:
    """dense, dense-int8, compressed and config.json in `folder`, what is there already stays.

    `pruned`: also pruned.onnx, the zeros in a dense graph, which other sparse engines read. `unpadded`: also
    UNPADDED, compressed with padding removed.
    """
    wanted = ["dense.onnx", "dense-int8.onnx", "compressed.onnx"]
    wanted += ["pruned.onnx"] * pruned + [UNPADDED] * unpadded
    if (folder / "config.json").is_file() and all((folder / name).is_file() for name in wanted):
        return folder
    import torch
    import transformers

    from platon_compress import PlanConfig, bake, convert, plan
    from platon_compress.export import export_onnx
    from platon_compress.export.config import ExportConfig
    from platon_compress.export.int8 import quantize_int8
    from platon_compress.planning import Form
    from platon_compress.selection import select

    torch.manual_seed(0)
    config = getattr(transformers, target.config_class)(**target.config)
    config.architectures = [target.architecture]
    config._attn_implementation = "eager"
    model = getattr(transformers, target.architecture)(config).eval()
    inputs = _example_inputs(config)
    folder.mkdir(parents=True, exist_ok=True)
    export_onnx(model, folder / "dense.onnx", inputs)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    quantize_int8(folder / "dense.onnx", folder / "dense-int8.onnx", [arrays])
    baked = bake(model, {name: torch.rand_like(p) >= sparsity for name, p in select(model).items()})
    if pruned:
        # As PyTorch's exporter writes it: other engines know no standard Attention.
        export_onnx(baked.model, folder / "pruned.onnx", inputs, ExportConfig(graph_passes=False))
    forced = plan(baked, PlanConfig(tokens=128, threads=threads, force=Form.CSR))
    converted = convert(baked, forced)
    export_onnx(converted, folder / "compressed.onnx", inputs)
    if unpadded:
        export_onnx(converted, folder / UNPADDED, inputs, ExportConfig(remove_padding=True))
    config.save_pretrained(folder)
    return folder


def export_int8(folder: Path, tokens: int | None = None) -> Path:
    """compressed.onnx of :func:`export_random` with 8-bit values beside it, made for texts of `tokens`; what is there stays.

    Attention is in 8 bits unless texts are short, as `plan.attention: auto` has it.
    """
    from platon_compress.export.quantize import attention_for, quantize_file

    attention = "int8" if tokens is None else attention_for("auto", tokens)
    path = folder / (INT8 if attention == "int8" else INT8_SHORT)
    if not path.is_file():
        quantize_file(folder / "compressed.onnx", path, attention=attention)
    return path


def target_lines(target: TargetModel, sparsity: float, report: BenchReport) -> Iterator[str]:
    """`BERT-base, batch 1, 128 tokens, 90%: 3.61x (3.50-3.70) over dense, floor 3.5x, goal 5.0x: floor reached`."""
    for setting in report.settings:
        ratio = setting.ratio("compressed", report.baseline)
        floors = target.cells.get((setting.batch, setting.tokens), {}).get(sparsity)
        if ratio is None:
            continue
        interval = "" if ratio.low is None else f" ({ratio.low:.2f}-{ratio.high:.2f})"
        line = f"{target.title}, {setting.label}, {sparsity:.0%}: {ratio.median:.2f}x{interval} over dense"
        yield (
            line
            if floors is None
            else f"{line}, floor {floors[0]}x, goal {floors[1]}x: {_says(ratio.median, floors)}"
        )


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, None)
    add_targets(parser)
    return run_study(_measure, parser, arguments)


def add_targets(
    parser: argparse.ArgumentParser, *, models: str = ",".join(TARGETS), sparsity: str = "0.8,0.9,0.95"
) -> None:
    """The flags of a study over target models, with these defaults."""
    parser.add_argument("--models", type=names, default=names(models), help=f"default {models}")
    add_random(parser, sparsity=sparsity)
    parser.add_argument("--runs", type=int, default=50, help="rounds per cell, fewer where inputs are long")


def add_random(parser: argparse.ArgumentParser, *, sparsity: str) -> None:
    """The flags of a study that calls :func:`export_random`: shares of zeros with this default, where models stay."""
    parser.add_argument("--sparsity", type=shares, default=shares(sparsity), help=f"default {sparsity}")
    parser.add_argument(
        "--onnx", type=Path, default=MODELS, help=f"keeps the exported models, default {MODELS}"
    )


def chosen_targets(options: argparse.Namespace) -> list[tuple[str, TargetModel, float]]:
    """(name, target, sparsity) for every combination; InputError for an unknown name."""
    return [(name, target_named(name), s) for name in options.models for s in options.sparsity]


def random_stem(name: str, sparsity: float) -> str:
    """`bert-base-random-90`: how files and folders of a target model with random masks are called."""
    return f"{name}-random-{round(100 * sparsity)}"


def cell_stem(batch: int, tokens: int | None) -> str:
    """`batch1-tokens128`, without tokens for pictures."""
    return f"batch{batch}" + (f"-tokens{tokens}" if tokens else "")


def rounds(runs: int, batch: int, tokens: int | None) -> int:
    """Fewer rounds of long inputs, never below 12: all cells in minutes."""
    return max(12, min(runs, runs * 128 // max(1, batch * (tokens or 1))))


def target_named(name: str) -> TargetModel:
    """The target model called `name`; InputError when there is none."""
    if name not in TARGETS:
        raise InputError(f"no target {name!r}; choose from {', '.join(TARGETS)}")
    return TARGETS[name]


def _measure(options: argparse.Namespace) -> Iterator[str]:
    """A result and its lines per cell."""
    cells = [(*chosen, cell) for chosen in chosen_targets(options) for cell in chosen[1].cells]
    yield f"{len(cells)} cells, into {options.output}; exported models stay in {options.onnx}"
    with watched("targets") as progress:
        for done, (name, target, sparsity, (batch, tokens)) in enumerate(cells):
            stem = random_stem(name, sparsity)
            progress(done, len(cells), f"{stem}, {cell_stem(batch, tokens)}")
            folder = export_random(target, sparsity, options.onnx / stem, threads=options.threads)
            config = BenchConfig(
                batch=(batch,),
                tokens=(tokens or 1,),
                runs=rounds(options.runs, batch, tokens),
                warmup=3,
                cold_runs=0,
                round_seconds=None,
                variants=("dense", "dense_int8", "compressed"),
                threads=options.threads,
            )
            report = run_benchmark(folder, config)
            yield from target_lines(target, sparsity, report)
            content = json.loads(json.dumps(report.to_dict()))
            label = f"{stem}-{cell_stem(batch, tokens)}"
            yield keep(options, content, name=label, title=target.title, sparsity=sparsity)
            progress(done + 1, len(cells))


def _example_inputs(config: Any) -> dict[str, Any]:
    import torch

    if hasattr(config, "vocab_size"):
        ids = torch.randint(5, config.vocab_size, (2, 16))
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "token_type_ids": torch.zeros_like(ids),
        }
    return {"pixel_values": torch.randn(2, config.num_channels, config.image_size, config.image_size)}


def _says(ratio: float, floors: tuple[float, float]) -> str:
    return (
        "below the floor" if ratio < floors[0] else "floor reached" if ratio < floors[1] else "goal reached"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
