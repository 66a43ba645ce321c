"""The flags by name, each with its help and its check, as the commands' signatures take them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from platon_compress.cli.options import check_folder
from platon_compress.errors import shown
from platon_compress.limits import LIMITS
from platon_compress.recipe.loading import PRESETS
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
    "Preset",
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
    "ranged",
]


def ranged(key: str, text: str, *flags: str) -> Any:
    """An option that takes a number in the range of `key`."""

    def check(value: float | None) -> float | None:
        if value is not None and value not in LIMITS[key]:
            raise typer.BadParameter(f"{shown(value)}; give {LIMITS[key]}")
        return value

    return typer.Option(*flags, help=text, callback=check)


def _choice(key: str, text: str, flag: str) -> Any:
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
Preset = Annotated[
    str | None,
    typer.Option("--preset", help=f"Settings for any task: {', '.join(PRESETS)}; --set refines them."),
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
    ranged(
        "oneshot.sparsity",
        "Prune a dense model so far, without training: 0.5. Takes --calibration.",
        "--sparsity",
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option("--calibration", help="A few hundred inputs without labels to prune by: texts.txt."),
]
Method = Annotated[
    str | None, _choice("oneshot.method", "sparsegpt (default), wanda or magnitude.", "--method")
]
Tokens = Annotated[
    int | None,
    ranged("plan.tokens", "Tokens per example to plan and time for.", "--sequence_length", "--tokens"),
]
Batches = Annotated[str, typer.Option("--batch_size", "--batch", help="Batch sizes to time: 1,8")]
Threads = Annotated[
    int | None,
    ranged("plan.threads", "Threads; default: all cores.", "--threads"),
]
Device = Annotated[str, _choice("plan.device", "cpu or cuda.", "--device")]
Runs = Annotated[int, ranged("bench.runs", "Timed rounds per setting.", "--runs")]
Atol = Annotated[
    float,
    ranged("verify.atol", "Largest allowed difference of outputs.", "--atol"),
]
Opset = Annotated[
    int,
    ranged("export.opset", "Version of the standard operators.", "--opset"),
]
Exporter = Annotated[str, _choice("export.exporter", "torchscript, or the slower dynamo.", "--exporter")]
RemovePadding = Annotated[
    bool, typer.Option("--remove-padding", help="Compute on the valid tokens of a padded batch only.")
]
Force = Annotated[str | None, _choice("plan.force", "dense, structured or csr for every layer.", "--force")]
MaxLatency = Annotated[
    str | None, typer.Option("--max-latency", help="Budget: median time of one run, such as 10ms.")
]
MaxDrop = Annotated[
    float | None,
    ranged("budget.max_drop", "Budget: points of the metric below dense.", "--max-drop"),
]
MinSpeedup = Annotated[
    float | None,
    ranged("budget.min_speedup", "Budget: times the speed of dense, such as 3.", "--min-speedup"),
]
MaxSize = Annotated[str | None, typer.Option("--max-size", help="Budget: the file on disk, such as 50MB.")]
Int8Budget = Annotated[
    float | None,
    ranged(
        "plan.int8_budget",
        "With 8-bit values: how much they may change the outputs, 0.01 is 1 %; the rest keeps floats.",
        "--int8-budget",
    ),
]
Sensitivity = Annotated[
    bool, typer.Option("--sensitivity", help="With 8-bit values: what each operator's cost by themselves.")
]
Values = Annotated[
    str,
    _choice(
        "plan.values",
        "Sparse weights as float32, int8 (8-bit numbers), or auto (int8 where it is faster).",
        "--values",
    ),
]
Attention = Annotated[
    str,
    _choice(
        "plan.attention",
        "Attention between 8-bit weights in float32, in int8, or auto (int8 from 64 tokens on).",
        "--attention",
    ),
]
Embeddings = Annotated[
    str,
    _choice(
        "plan.embeddings",
        "Word embeddings as float32, int8 (8-bit rows with a scale each), or auto (int8 beside 8-bit weights).",
        "--embeddings",
    ),
]
Calibrate = Annotated[
    bool, typer.Option("--calibrate/--no-calibrate", help="Measure this model's layer shapes first.")
]
