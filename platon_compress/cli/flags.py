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
    "choice",
    "ranged",
]


def ranged(key: str, text: str, *flags: str) -> Any:
    """An option that takes a number in the range of `key`."""

    def check(value: float | None) -> float | None:
        if value is not None and value not in LIMITS[key]:
            raise typer.BadParameter(f"{shown(value)}; give {LIMITS[key]}")
        return value

    return typer.Option(*flags, help=text, callback=check)


def choice(key: str, text: str, flag: str) -> Any:
    """An option that takes the words of the recipe's `key`."""
    words = choices(key)

    def check(value: str | None) -> str | None:
        if value is not None and value not in words:
            raise typer.BadParameter(f"{shown(value)}; choose one of {', '.join(words)}")
        return value

    return typer.Option(flag, help=text, callback=check)


Output = Annotated[
    Path, typer.Option("-o", "--output", help="Run folder; created if missing.", callback=check_folder)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Set section.key=value in the recipe; repeatable.")
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help=f"Settings for any task: {', '.join(PRESETS)}; --set overrides them."),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Allow the model's own Python code to run; no file can enable this."
    ),
]
Require = Annotated[
    str | None,
    typer.Option("--require", help='Exit 1 unless these hold: "metric_drop<=1, speedup>=2".'),
]
Task = Annotated[str | None, typer.Option("--task", help="Task of the model; default: the checkpoint's own.")]
CacheFolder = Annotated[str | None, typer.Option("--cache_dir", help="Where to keep downloads.")]

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
    str | None, typer.Option("--group", help="Column that groups rows: by query, by document.")
]

Sparsity = Annotated[
    float | None,
    ranged(
        "oneshot.sparsity",
        "Prune a dense model to this sparsity without training, such as 0.5; needs --calibration.",
        "--sparsity",
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option("--calibration", help="A few hundred unlabelled inputs to guide the pruning: texts.txt."),
]
Method = Annotated[
    str | None, choice("oneshot.method", "sparsegpt (default), wanda or magnitude.", "--method")
]
Tokens = Annotated[
    int | None,
    ranged("plan.tokens", "Tokens per example, for planning and timing.", "--sequence_length", "--tokens"),
]
Batches = Annotated[str, typer.Option("--batch_size", "--batch", help="Batch sizes to time, such as 1,8.")]
Threads = Annotated[
    int | None,
    ranged("plan.threads", "Threads; default: all cores.", "--threads"),
]
Device = Annotated[str, choice("plan.device", "cpu or cuda.", "--device")]
Runs = Annotated[int, ranged("bench.runs", "Timed rounds per setting.", "--runs")]
Atol = Annotated[
    float,
    ranged("verify.atol", "Largest allowed output difference.", "--atol"),
]
Opset = Annotated[
    int,
    ranged("export.opset", "ONNX opset version.", "--opset"),
]
Exporter = Annotated[str, choice("export.exporter", "torchscript, or the slower dynamo.", "--exporter")]
RemovePadding = Annotated[
    bool, typer.Option("--remove-padding", help="Compute only on the valid tokens of a padded batch.")
]
Force = Annotated[
    str | None,
    choice("plan.force", "One form for every layer that allows it: dense, structured or csr.", "--force"),
]
MaxLatency = Annotated[
    str | None, typer.Option("--max-latency", help="Budget: median time of one run, such as 10ms.")
]
MaxDrop = Annotated[
    float | None,
    ranged("budget.max_drop", "Budget: points the metric may fall below dense.", "--max-drop"),
]
MinSpeedup = Annotated[
    float | None,
    ranged("budget.min_speedup", "Budget: speed as a multiple of dense, such as 3.", "--min-speedup"),
]
MaxSize = Annotated[str | None, typer.Option("--max-size", help="Budget: file size on disk, such as 50MB.")]
Int8Budget = Annotated[
    float | None,
    ranged(
        "plan.int8_budget",
        "With 8-bit values: how much they may change the outputs (0.01 is 1 %); beyond that, floats stay.",
        "--int8-budget",
    ),
]
Sensitivity = Annotated[
    bool,
    typer.Option("--sensitivity", help="With 8-bit values: report what rounding each operator alone costs."),
]
Values = Annotated[
    str,
    choice(
        "plan.values",
        "Sparse weights as float32, int8 (8-bit numbers), or auto (int8 where it is faster).",
        "--values",
    ),
]
Attention = Annotated[
    str,
    choice(
        "plan.attention",
        "Attention between 8-bit weights in float32, int8, or auto (int8 from 64 tokens).",
        "--attention",
    ),
]
Embeddings = Annotated[
    str,
    choice(
        "plan.embeddings",
        "Word embeddings as float32, int8 (8-bit rows with a scale each), or auto (int8 with 8-bit weights).",
        "--embeddings",
    ),
]
Calibrate = Annotated[
    bool, typer.Option("--calibrate/--no-calibrate", help="Time this model's layer shapes first.")
]
