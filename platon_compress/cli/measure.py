"""Commands that only measure: `bench`, `calibrate`, `doctor`, `estimate`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from platon_compress.cli.estimating import estimate
from platon_compress.cli.flags import (
    AsJson,
    Batches,
    Device,
    Output,
    Runs,
    Threads,
    ranged,
)
from platon_compress.cli.options import check_folder, check_place, check_rows, numbers, reporter, shares
from platon_compress.cli.strict import StrictCommand
from platon_compress.errors import CheckFailedError, InputError, shown
from platon_compress.files import write_json
from platon_compress.limits import LIMITS, MAX_LIST
from platon_compress.pipeline.output import say

__all__ = ["add_measuring_commands", "bench"]

bench = typer.Typer(
    help="Measure a run's ONNX files, or the kernels alone.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_measuring_commands(app: typer.Typer) -> None:
    """Hang `bench`, `calibrate` and `estimate` into the command line."""
    app.add_typer(bench, name="bench")
    app.command(cls=StrictCommand)(calibrate)
    app.command(cls=StrictCommand)(doctor)
    app.command(cls=StrictCommand)(estimate)


@bench.command("model", cls=StrictCommand)
def bench_model(
    output: Output,
    batch: Batches = "1,8",
    tokens: Annotated[str, typer.Option("--sequence_length", "--tokens", help="Tokens per text.")] = "32,128",
    runs: Runs = 50,
    threads: Threads = None,
    device: Device = "cpu",
    peers: Annotated[
        str,
        typer.Option(
            "--peers",
            help="Rivals to measure too, comma-separated: torch, openvino, openvino-int8, deepsparse, "
            "every-second-layer (trained first).",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Measure a run's ONNX files again with other settings; updates benchmark.json and the report."""
    settings: dict[str, Any] = {
        "batch": numbers(batch, "--batch", LIMITS["bench.batch"]),
        "tokens": numbers(tokens, "--tokens", LIMITS["bench.tokens"]),
        "runs": runs,
        "threads": threads,
        "device": device,
    }
    check_rows(max(settings["batch"]), max(settings["tokens"]))
    from platon_compress.measure.peers.result import EVERY_SECOND_LAYER, PEERS, checked_peers
    from platon_compress.pipeline.runner import bench_again

    others = checked_peers([name for name in peers.split(",") if name], (*PEERS, EVERY_SECOND_LAYER))
    results = bench_again(output, settings, reporter(as_json), peers=others)
    if as_json:
        say((output / "benchmark.json").read_text(encoding="utf-8"))
    else:
        say(results["report"]["verdict"])


@bench.command("kernel", cls=StrictCommand)
def bench_kernel(
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="Folder for kernel.json and roofline.svg.", callback=check_folder
        ),
    ],
    models: Annotated[
        str, typer.Option("--models", help="bert-base or shape files, comma-separated.")
    ] = "bert-base",
    densities: Annotated[str, typer.Option("--densities", help="Fractions of non-zeros.")] = "0.2,0.1,0.05",
    tokens: Annotated[str, typer.Option("--tokens", help="Numbers of activation rows.")] = "16,128",
    threads: Annotated[str, typer.Option("--threads", help="Thread counts.")] = "1,2",
    blocks: Annotated[str, typer.Option("--blocks", help="Rows that share a mask: 1, or 4 (4x1).")] = "1",
    runs: Runs = 20,
    pause: Annotated[
        float,
        ranged("kernel.pause", "Pause in seconds before each call; 0 keeps caches warm.", "--pause"),
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Measure the sparse kernels alone against this machine's arithmetic and load ceilings."""
    from platon_compress.measure.kernel_bench import KernelBenchConfig, run_kernel_bench
    from platon_compress.report.roofline import write_roofline

    config = KernelBenchConfig(
        models=tuple(models.split(",")),
        densities=shares(densities, "--densities", LIMITS["density"]),
        rows=numbers(tokens, "--tokens", LIMITS["calibrate.rows"]),
        threads=numbers(threads, "--threads", LIMITS["plan.threads"]),
        blocks=numbers(blocks, "--blocks", LIMITS["kernel.blocks"]),
        runs=runs,
        pause_seconds=pause,
    )
    talk = reporter(as_json)
    with talk.progress("kernels") as progress:
        report = run_kernel_bench(config, progress=progress)
    result = report.to_dict()
    write_json(output / "kernel.json", result)
    write_roofline(result, output / "roofline.svg")
    lines = [*report.block_lines(), f"{output / 'kernel.json'} {output / 'roofline.svg'}"]
    say(json.dumps(result) if as_json else "\n".join(lines))


def doctor(as_json: AsJson = False) -> None:
    """Show what this machine has, which kernels it uses and whether they work; exit 1 if a check fails."""
    from platon_compress.measure.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            say(f"{_MARKS[finding.passed]} {finding.topic}: {finding.text}")
    if as_json:
        say(json.dumps([finding.to_dict() for finding in findings]))
    if failed := [finding.topic for finding in findings if finding.passed is False]:
        raise CheckFailedError(f"{len(failed)} checks failed: {', '.join(failed)}")


_MARKS = {True: "ok     ", False: "FAILED ", None: "       "}


def calibrate(
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The cost table to write, a .json file.", callback=check_place),
    ],
    shapes: Annotated[
        str | None, typer.Option("--shapes", help="OUTxIN,...; default: those of common encoders.")
    ] = None,
    tokens: Annotated[
        str, typer.Option("--tokens", help="Rows of a linear's input (tokens x batch).")
    ] = "128",
    densities: Annotated[
        str, typer.Option("--densities", help="Fractions of non-zeros.")
    ] = "0.05,0.1,0.2,0.3,0.5,0.7,1",
    threads: Annotated[str, typer.Option("--threads", help="Thread counts.")] = "1,2",
    as_json: AsJson = False,
) -> None:
    """Measure dense against CSR on this machine and write a cost table for `plan.cost_table`."""
    if output.suffix != ".json" or output.is_dir():
        raise InputError(f"--output is {str(output)!r}; name a .json file for the cost table")
    if output.exists():
        _check_cost_table(output)
    wanted = None if shapes is None else _shapes(shapes)
    settings = (
        shares(densities, "--densities", LIMITS["density"]),
        numbers(tokens, "--tokens", LIMITS["calibrate.rows"]),
        numbers(threads, "--threads", LIMITS["plan.threads"]),
    )
    from platon_compress.measure import calibrate as room

    talk = reporter(as_json)
    with talk.progress("calibrating") as progress:
        table = room.calibrate(wanted or room.DEFAULT_SHAPES, *settings, progress=progress)
    room.write_cost_table(table, output)
    if as_json:
        say(json.dumps(table))
        return
    talk.table(
        f"Cost table in {output}",
        ("[out x in]", "rows", "threads", "density", "CSR vs dense", "with 8-bit values"),
        [_cost_line(row) for row in table["rows"]],
    )


def _cost_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['out']}x{row['in']}",
        f"{row['rows']}",
        f"{row['threads']}",
        f"{row['density']:.0%}",
        f"{row['dense_seconds'] / row['csr_seconds']:.2f}x",
        f"{row['dense_seconds'] / row['csr_int8_seconds']:.2f}x",
    )


def _shapes(text: str) -> list[tuple[int, int]]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MAX_LIST or len(set(parts)) < len(parts):
        raise InputError(f"--shapes holds {len(parts)} shapes; give at most {MAX_LIST}, each once")
    shapes = []
    for part in parts:
        sides = part.lower().split("x")
        if len(sides) != 2 or not all(side.isascii() and side.isdecimal() for side in sides):
            raise InputError(f"--shapes holds {shown(part)}; write OUTxIN, for example 3072x768,768x3072")
        rows, columns = (LIMITS["calibrate.shape"].check("--shapes", int(side[:20])) for side in sides)
        shapes.append((rows, columns))
    return shapes


def _check_cost_table(path: Path) -> None:
    """An older cost table may be written over, nothing else."""
    from platon_compress.planning.cost import CostTable

    try:
        CostTable.load(path)
    except InputError as error:
        raise InputError(f"{path} exists and is no cost table; give another file with -o") from error
