"""Keeps the README's tables equal to the committed results.

    python benchmarks/readme_tables.py README.md benchmarks/results [--check]

replaces what lies between `<!-- table:results -->` and `<!-- /table:results -->`, and between
`<!-- verdict:NAME -->` and `<!-- /verdict:NAME -->` the verdict of the result NAME. With `--check` nothing is
written, and the exit status is 1 when the README is out of date.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tables.engines import engine_rows
from tables.others import (
    PADDING_HEAD,
    PADDING_NOTE,
    padding_rows,
    result_sentences,
)
from tables.peers import PEER_NOTE, missing_peers, peer_rows

from platon_compress.errors import InputError, PlatonError
from platon_compress.files import write_text
from platon_compress.measure.bench_report import BenchReport
from platon_compress.measure.result_files import read_results
from platon_compress.report.tables import format_milliseconds, format_ratio
from platon_compress.report.writing import escape_markdown

__all__ = ["BEGIN", "END", "main", "results_markdown", "update_readme"]

BEGIN, END = "<!-- table:results -->", "<!-- /table:results -->"

_MODEL_HEAD = (
    "model",
    "masks",
    "sparsity",
    "setting",
    "dense, ms",
    "compressed, ms",
    "vs dense",
    "vs dense int8",
    "file vs dense",
    "accuracy dense",
    "accuracy compressed",
)
_RESULTS_FOLDER = "benchmarks/results"

_ENGINE_NOTE = (
    "Every linear layer of the blocks as CSR; each cell: against dense / against dense int8. Random masks and weights "
    "say nothing about accuracy."
)


def update_readme(readme: str | Path, results: str | Path, *, check: bool = False) -> bool:
    """Whether the README changed (or, with `check`, would change).

    Raises InputError when the markers are missing or a result cannot be read.
    """
    path = Path(readme)
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"{path} must hold {BEGIN} and then {END}, once each; add the two lines")
    found = read_results(results)
    head, rest = text.split(BEGIN)
    fresh = _with_verdicts(f"{head}{BEGIN}\n{results_markdown(found)}{END}{rest.split(END)[1]}", found)
    if fresh != text and not check:
        write_text(path, fresh)
    return fresh != text


def results_markdown(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables of all results, and a sentence for each of memory and kernels; training and cost have none here."""
    measured = [entry for entry in results.values() if entry["kind"] == "benchmark"]
    models = [entry for entry in measured if entry.get("masks") != "random"]
    engine = [entry for entry in measured if entry.get("masks") == "random"]
    peers = [entry for entry in results.values() if entry["kind"] == "peers"]
    parts = []
    if models:
        parts.append(_table(_MODEL_HEAD, 4, [row for e in models for row in _model_rows(e)]))
    if engine:
        head, rows = engine_rows(engine)
        parts += [_table(head, 2, rows), f"{_ENGINE_NOTE}\n"]
    if peers:
        head, rows = peer_rows(peers)
        parts += [_table(head, 3, rows), f"{PEER_NOTE}\n"]
        parts += [f"- {escape_markdown(line)}\n" for line in missing_peers(peers)]
    padding = padding_rows(results)
    if padding:
        parts += [_table(PADDING_HEAD, 3, padding), f"{PADDING_NOTE}\n"]
    parts += [f"{sentence}\n" for sentence in result_sentences(results, _RESULTS_FOLDER)]
    machines = dict.fromkeys(_machine(entry) for entry in (*measured, *peers))
    if not parts:
        return "\nNo results yet.\n\n"
    notes = "Above 1 compressed is faster; in brackets the 95 % interval of the median of the pairs."
    where = f"Measured on {escape_markdown('; '.join(machines))}. {notes}\n"
    return "\n" + "\n".join([*parts, *([where] if machines else [])]) + "\n"


def main(arguments: Sequence[str]) -> int:
    """The command line above; exit 2 on bad input."""
    paths = [argument for argument in arguments if argument != "--check"]
    if len(paths) != 2:
        sys.stderr.write("usage: readme_table README.md RESULTS_FOLDER [--check]\n")
        return 2
    check = "--check" in arguments
    try:
        changed = update_readme(*paths, check=check)
    except (PlatonError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if changed and check:
        sys.stderr.write(f"{paths[0]} does not show the results of {paths[1]}; run this without --check\n")
    return int(changed and check)


def _with_verdicts(text: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    for name, entry in results.items():
        begin, end = f"<!-- verdict:{name} -->", f"<!-- /verdict:{name} -->"
        if entry.get("verdict") and begin in text and end in text:
            head, rest = text.split(begin, 1)
            text = f"{head}{begin}\n> {escape_markdown(entry['verdict'])}\n{end}{rest.split(end, 1)[1]}"
    return text


def _model_rows(entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    report = BenchReport.from_dict(entry)
    for setting in report.settings:
        times = (setting.samples[name].median_seconds for name in (report.baseline, "compressed"))
        ratios = (setting.ratio("compressed", name) for name in (report.baseline, "dense_int8"))
        yield (
            str(entry.get("title", "")),
            str(entry.get("masks", "")),
            _percent(entry),
            setting.label,
            *(format_milliseconds(seconds) for seconds in times),
            *(format_ratio(ratio) for ratio in ratios),
            _size_ratio(report),
            *(_accuracy(entry, name) for name in ("dense", "compressed")),
        )


def _size_ratio(report: BenchReport) -> str:
    sizes = [
        report.variants[name].size for name in ("compressed", report.baseline) if name in report.variants
    ]
    ours, dense = sizes if len(sizes) == 2 else (None, None)
    return f"{ours.disk_bytes / dense.disk_bytes:.2f}x" if ours and dense else "-"


def _accuracy(entry: Mapping[str, Any], name: str) -> str:
    """In percent with its standard error."""
    metric = entry.get("accuracy", {}).get(name)
    return f"{metric['accuracy']:.1%} ± {metric['standard_error']:.1%}" if metric else "not measured"


def _machine(entry: Mapping[str, Any]) -> str:
    env = entry["environment"]
    packages = env.get("packages", {})
    runtime = packages.get("onnxruntime") or packages.get("onnxruntime-gpu")
    return f"{env.get('cpu_model')}, {env.get('threads')} threads, {env.get('isa')}, ONNX Runtime {runtime}"


def _percent(entry: Mapping[str, Any]) -> str:
    sparsity = entry.get("sparsity")
    return "" if sparsity is None else f"{sparsity:.0%}"


def _table(head: Sequence[str], text_columns: int, rows: Sequence[Sequence[str]]) -> str:
    rule = [":---" if index < text_columns else "---:" for index in range(len(head))]
    lines = [head, rule, *([str(escape_markdown(cell)) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
