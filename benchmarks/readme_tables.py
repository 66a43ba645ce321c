"""Keeps the tables and figures of README and docs equal to the committed results.

    python benchmarks/readme_tables.py            # writes README.md and the pages of docs/ that show results
    python benchmarks/readme_tables.py --check    # writes nothing; exit 1 when they are out of date

What lies between `<!-- results:NAME -->` and `<!-- /results:NAME -->` is replaced; NAME is one of the parts below,
`verdict-RESULT`, the verdict of that result, or `task-TASK`, what was measured of a task.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from study import RESULTS, run_study, study_parser
from tables.attention import attention_tables
from tables.fuzz import fuzz_table
from tables.int8 import layer_tables, model_tables, summary_table
from tables.machines import machine_tables, processor
from tables.markdown import Table, machine
from tables.mca import mca_tables
from tables.models import model_table
from tables.oneshot import oneshot_table, oneshot_times
from tables.others import PADDING_NOTE, block_sentence, padding_table, pruning_sentences, result_sentences
from tables.pauses import pause_tables
from tables.quality import QUALITY_NOTE, TASK_NOTE, quality_tables, task_table
from tables.repeated import repeated_tables
from tables.rounded import rounded_tables
from tables.serving import SERVING_NOTE, serving_table
from tables.sizes import size_tables
from tables.speed import CONDITIONS, missing_peers, speed_rows, speed_table
from tables.threads import threads_tables
from tables.torture import torture_tables
from tables.trained import rows_of_task, trained_table

from platon_compress.errors import CheckFailedError, InputError
from platon_compress.files import write_text
from platon_compress.measure.result_files import read_results
from platon_compress.report.writing import escape_markdown

__all__ = ["DOCUMENTS", "PARTS", "main", "refreshed"]

Results = Mapping[str, Mapping[str, Any]]
_ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    _ROOT / "README.md",
    *(_ROOT / "docs" / f"{name}.md" for name in ("results", "kernels", "eight-bit-weights", "stability")),
    *sorted((_ROOT / "docs" / "tasks").glob("*.md")),
)
_REGION = re.compile(
    r"<!-- results:(?P<name>[\w.-]+) -->\n(?P<body>.*?)<!-- /results:(?P=name) -->", re.DOTALL
)
_VERDICT, _TASK = "verdict-", "task-"
_NONE_YET = "Not measured yet.\n"


def refreshed(text: str, results: Results, source: str) -> str:
    """`text` with every marked part made anew.

    Raises InputError for a text without marks, an unknown part, or a part whose result is gone.
    """
    if not _REGION.search(text):
        raise InputError(f"{source} holds no <!-- results:NAME --> part; mark where the tables belong")

    def part(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- results:{name} -->\n{_body(name, results, source)}<!-- /results:{name} -->"

    return _REGION.sub(part, text)


def _body(name: str, results: Results, source: str) -> str:
    if name.startswith(_VERDICT):
        verdict = results.get(name.removeprefix(_VERDICT), {}).get("verdict")
        if not verdict:
            raise InputError(f"{source} quotes the verdict of {name!r}, which no result holds; fix the mark")
        return f"> {escape_markdown(verdict)}\n"
    if name.startswith(_TASK):
        return "\n" + "\n".join(_task(results, name.removeprefix(_TASK))) + "\n"
    if name not in PARTS:
        raise InputError(
            f"{source} asks for the part {name!r}; there are {', '.join(PARTS)}, {_VERDICT}RESULT, {_TASK}TASK"
        )
    return "\n" + "\n".join(PARTS[name](results)) + "\n"


def _trained(results: Results) -> Iterator[str]:
    yield str(trained_table(results))


def _models(results: Results) -> Iterator[str]:
    yield str(model_table(speed_rows(results)))


def _speed(results: Results) -> Iterator[str]:
    rows = [row for row in speed_rows(results) if not row.entry.get("accuracy")]
    yield str(speed_table(rows))
    yield "".join(f"- *{name}*: {meaning}.\n" for name, meaning in CONDITIONS.items())
    if missing := missing_peers(results):
        yield "".join(f"- {escape_markdown(line)}\n" for line in missing)
    yield _where(row.entry for row in rows)


def _padding(results: Results) -> Iterator[str]:
    yield str(padding_table(results))
    yield f"{PADDING_NOTE}\n"


def _sentences(results: Results) -> Iterator[str]:
    folder = "../benchmarks/results"
    parts = (
        *result_sentences(results, folder),
        *block_sentence(results, folder),
        *pruning_sentences(results, folder),
    )
    yield "".join(f"- {sentence}\n" for sentence in parts)


def _measured(
    found: Callable[[Results], Iterator[tuple[Mapping[str, Any], Table]]], results: Results
) -> Iterator[str]:
    """Each table of `found`, with the processor below it."""
    for entry, table in found(results):
        yield str(table)
        yield f"Measured on {escape_markdown(processor(entry))}.\n"


def _sizes(results: Results) -> Iterator[str]:
    yield from map(str, size_tables(results))


def _fuzz(results: Results) -> Iterator[str]:
    yield str(fuzz_table(results))


def _torture(results: Results) -> Iterator[str]:
    yield from map(str, torture_tables(results))


def _threads(results: Results) -> Iterator[str]:
    if not (entries := _of_kind(results, "threads")):
        yield _NONE_YET
        return
    yield from map(str, threads_tables(results))
    yield _where(entries)


def _mca(results: Results) -> Iterator[str]:
    yield from map(str, mca_tables(results))


def _quality(results: Results) -> Iterator[str]:
    if not (entries := _of_kind(results, "quality")):
        yield _NONE_YET
        return
    for title, table in (*quality_tables(results), *repeated_tables(results)):
        yield f"### {title}\n\n{table}"
    yield f"{QUALITY_NOTE}\n"
    yield _where(entries)


def _serving(results: Results) -> Iterator[str]:
    entries = _of_kind(results, "serving")
    table = serving_table(entries)
    if table is None:
        yield _NONE_YET
        return
    yield f"{table}\n{SERVING_NOTE}\n"
    yield _where(entries)


def _task(results: Results, task: str) -> Iterator[str]:
    found = rows_of_task(results, task)
    yield str(task_table(found))
    yield f"{TASK_NOTE}\n"
    yield _where(entry for entry, _ in found)


def _int8_summary(results: Results) -> Iterator[str]:
    yield str(summary_table(results))


def _oneshot(results: Results) -> Iterator[str]:
    if not (entries := _of_kind(results, "oneshot")):
        yield _NONE_YET
        return
    yield str(oneshot_table(results))
    yield from (f"{said}\n" for said in oneshot_times(results))
    yield _where(entries)


def _of_kind(results: Results, kind: str) -> list[Mapping[str, Any]]:
    return [entry for entry in results.values() if entry["kind"] == kind]


def _where(entries: Iterable[Mapping[str, Any]]) -> str:
    """The line below a table: every machine once."""
    return f"Measured on {escape_markdown('; '.join(dict.fromkeys(map(machine, entries))))}.\n"


PARTS: Mapping[str, Callable[[Results], Iterator[str]]] = {
    "trained": _trained,
    "models": _models,
    "speed": _speed,
    "machines": partial(_measured, machine_tables),
    "int8-layers": partial(_measured, layer_tables),
    "int8-summary": _int8_summary,
    "int8-models": partial(_measured, model_tables),
    "attention": partial(_measured, attention_tables),
    "fuzz": _fuzz,
    "mca": _mca,
    "pauses": partial(_measured, pause_tables),
    "quality": _quality,
    "serving": _serving,
    "oneshot": _oneshot,
    "rounded": partial(_measured, rounded_tables),
    "sizes": _sizes,
    "padding": _padding,
    "threads": _threads,
    "torture": _torture,
    "sentences": _sentences,
}


def main(arguments: Sequence[str]) -> int:
    """The command line above; exit 1 when a checked document is out of date, 2 on bad input."""
    parser = study_parser(__doc__, threads=False)
    parser.add_argument(
        "documents", nargs="*", type=Path, help="default: README.md and the pages of docs/ that show results"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: benchmarks/results")
    parser.add_argument("--check", action="store_true", help="write nothing")
    return run_study(_update, parser, arguments)


def _update(options: argparse.Namespace) -> Iterator[str]:
    results = read_results(options.results)
    stale = []
    for path in options.documents or DOCUMENTS:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); give a Markdown file") from error
        fresh = refreshed(text, results, str(path))
        if fresh == text:
            continue
        stale.append(str(path))
        if not options.check:
            write_text(path, fresh)
            yield f"written: {path}"
    if stale and options.check:
        raise CheckFailedError(f"{', '.join(stale)} does not show the results; run this without --check")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
