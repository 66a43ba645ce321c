"""The flags by name, each with its help and its check, as the commands' signatures take them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from platon_compress.cli.options import check_folder
from platon_compress.errors import shown
from platon_compress.limits import LIMITS
from platon_compress.recipe.reference import choices

__all__ = [
    "AsJson",
    "Atol",
    "Batches",
    "CacheFolder",
    "Calibrate",
    "Calibration",
    "Device",
    "Embeddings",
    "Exporter",
    "Force",
    "GroupColumn",
    "Int8Budget",
    "LabelColumn",
    "MaxDrop",
    "MaxLatency",
    "MaxSize",
    "Method",
    "MinSpeedup",
    "NegativeColumn",
    "Opset",
    "Output",
    "Overrides",
    "PairColumn",
    "RemovePadding",
    "Require",
    "Runs",
    "Sensitivity",
    "Sparsity",
    "Task",
    "TextColumn",
    "Threads",
    "Tokens",
    "Trust",
    "Values",
    "limited",
]


def limited(key: str) -> Callable[[float | None], float | None]:
    """The check of a flag against the range of `key`."""

    def check(value: float | None) -> float | None:
        if value is not None and value not in LIMITS[key]:
            raise typer.BadParameter(f"{shown(value)}; give {LIMITS[key]}")
        return value

    return check


def _choice(flag: str, key: str, text: str) -> Any:
    """An option that takes the words of the recipe's `key`."""
    words = choices(key)

    def check(value: str | None) -> str | None:
        if value is not None and value not in words:
            raise typer.BadParameter(f"{shown(value)}; choose one of {', '.join(words)}")
        return value

    return typer.Option(flag, help=text, callback=check)


Output = Annotated[
    Path, typer.Option("-o", "--output", help="Folder of the run; created if missing.", callback=check_folder)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value of the recipe; may be repeated.")
]
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let the model's own Python code run; no file can ask for it."),
]
Require = Annotated[
    str | None,
    typer.Option("--require", help='Exit 1 unless the figures hold: "metric_drop<=1, speedup>=2".'),
]
Task = Annotated[str | None, typer.Option("--task", help="Default: what the checkpoint names.")]
CacheFolder = Annotated[str | None, typer.Option("--cache_dir", help="Where downloads are kept.")]

TextColumn = Annotated[
    str | None, typer.Option("--text", help="Column of the texts, questions, queries or words.")
]
PairColumn = Annotated[
    str | None,
    typer.Option("--text-pair", help="Column of the second texts, contexts, passages or positives."),
]
LabelColumn = Annotated[
    str | None, typer.Option("--label", help="Column of the labels, scores, tags or answers.")
]
NegativeColumn = Annotated[
    str | None, typer.Option("--negative", help="Column of the negatives (sentence-similarity).")
]
GroupColumn = Annotated[
    str | None, typer.Option("--group", help="Column of what belongs together: a query, a document.")
]

Sparsity = Annotated[
    float | None,
    typer.Option(
        "--sparsity",
        help="Prune a dense model so far, without training: 0.5. Takes --calibration.",
        callback=limited("oneshot.sparsity"),
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option("--calibration", help="A few hundred inputs without labels to prune by: texts.txt."),
]
Method = Annotated[
    str | None, _choice("--method", "oneshot.method", "sparsegpt (default), wanda or magnitude.")
]
Tokens = Annotated[
    int | None,
    typer.Option(
        "--sequence_length",
        "--tokens",
        help="Tokens per example to plan and time for.",
        callback=limited("plan.tokens"),
    ),
]
Batches = Annotated[str, typer.Option("--batch_size", "--batch", help="Batch sizes to time: 1,8")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", help="Threads; default: all cores.", callback=limited("plan.threads")),
]
Device = Annotated[str, _choice("--device", "plan.device", "cpu or cuda.")]
Runs = Annotated[
    int, typer.Option("--runs", help="Timed rounds per setting.", callback=limited("bench.runs"))
]
Atol = Annotated[
    float,
    typer.Option("--atol", help="Largest allowed difference of outputs.", callback=limited("verify.atol")),
]
Opset = Annotated[
    int,
    typer.Option("--opset", help="Version of the standard operators.", callback=limited("export.opset")),
]
Exporter = Annotated[str, _choice("--exporter", "export.exporter", "torchscript, or the slower dynamo.")]
RemovePadding = Annotated[
    bool, typer.Option("--remove-padding", help="Compute on the valid tokens of a padded batch only.")
]
Force = Annotated[str | None, _choice("--force", "plan.force", "dense, structured or csr for every layer.")]
MaxLatency = Annotated[
    str | None, typer.Option("--max-latency", help="Budget: median time of one run, such as 10ms.")
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop", help="Budget: points of the metric below dense.", callback=limited("budget.max_drop")
    ),
]
MinSpeedup = Annotated[
    float | None,
    typer.Option(
        "--min-speedup",
        help="Budget: times the speed of dense, such as 3.",
        callback=limited("budget.min_speedup"),
    ),
]
MaxSize = Annotated[str | None, typer.Option("--max-size", help="Budget: the file on disk, such as 50MB.")]
Int8Budget = Annotated[
    float | None,
    typer.Option(
        "--int8-budget",
        help="With 8-bit values: how much they may change the outputs, 0.01 is 1 %; the rest keeps floats.",
        callback=limited("plan.int8_budget"),
    ),
]
Sensitivity = Annotated[
    bool, typer.Option("--sensitivity", help="With 8-bit values: what each operator's cost by themselves.")
]
Values = Annotated[
    str,
    _choice(
        "--values",
        "plan.values",
        "Sparse weights as float32, int8 (8-bit numbers), or auto (int8 where it is faster).",
    ),
]
Attention = Annotated[
    str,
    _choice(
        "--attention",
        "plan.attention",
        "Attention between 8-bit weights in float32, in int8, or auto (int8 from 64 tokens on).",
    ),
]
Embeddings = Annotated[
    str,
    _choice(
        "--embeddings",
        "plan.embeddings",
        "Word embeddings as float32, or int8 (8-bit rows with a scale each).",
    ),
]
Calibrate = Annotated[
    bool, typer.Option("--calibrate/--no-calibrate", help="Measure this model's layer shapes first.")
]
