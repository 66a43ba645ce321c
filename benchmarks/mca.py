"""Cycles of the innermost loops on processors that are not here, as llvm-mca estimates them.

    python benchmarks/mca.py

Needs a C++ compiler for each architecture and llvm-mca; models of Neoverse and Zen 4 of their own came with LLVM 17.
Compiles each loop with 64 tokens side by side and the flags of the library, cuts out the
innermost loop with the most multiply-adds, and asks for its cycles in the steady state: all loads from the first-level
cache, no other work. It is as good as the model that LLVM has of a processor.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from study import add_output, keep, names, run_study, study_parser

from platon_compress.errors import InputError
from platon_compress.measure.environment import describe_environment
from platon_compress.schemas import stamped

__all__ = ["LOOPS", "innermost_loop", "main"]

_SOURCES = Path(__file__).resolve().parents[1] / "export" / "kernels" / "csrc"
_FLAGS = ("-std=c++17", "-O3", "-g0", "-S", "-fno-asynchronous-unwind-tables", f"-I{_SOURCES}")
_LABEL = re.compile(r"^(\.?[\w.$]+):")
_JUMP = re.compile(r"^\s+(?:j\w+|b\.?[a-z]{2}|cbn?z\s+\w+,)\s+(\.?[\w.$]+)\s*$")
_MULTIPLIES = re.compile(r"^\s+(vfmadd\w+|vpmaddubsw|vpdpbusd|fmla|smull2?|smlal2?|sdot)\s")
_CYCLES = re.compile(r"^Total Cycles:\s+(\d+)", re.MULTILINE)
_ITERATIONS = 200


@dataclass(frozen=True)
class _Loop:
    """`source`: what is compiled, by the compiler for `machine`, the triple's first part.

    nonzeros: how many one multiply-add instruction stands for at 64 tokens. processors: those that have its instructions.
    """

    title: str
    source: str
    nonzeros: float
    processors: tuple[str, ...]
    machine: str = "x86_64"


def _source(folder: str, headers: Sequence[str], call: str) -> str:
    own = [f"{folder}/vector.h", *headers]
    if (
        _SOURCES / folder / "begin.h"
    ).exists():  # not of a set that every processor of its architecture can run
        own.insert(0, f"{folder}/begin.h")
    includes = "\n".join(f'#include "{header}"' for header in own)
    return f"""#include <cstring>
#include <type_traits>
#include <utility>
#include "core/kernels.h"
{includes}
namespace platon::{folder} {{ {call} }}
"""


def _floats(folder: str, vectors: int) -> str:
    # Runs of any length: what short ones repeat, unrolled, is this loop's body too.
    call = f"""void probe(int length, int count, const uint16_t* f, const uint8_t* o, const float* v, const char* p,
           float* a) {{
  multiply_runs<false, {vectors}, 0>(length, count, f, o, v, p, nullptr, a);
}}"""
    return _source(folder, ["vectors/multiply.h"], call)


def _bytes(folder: str, products: str = "vectors/interleave.h") -> str:
    call = (
        "void probe(const ByteBlock& b, const uint8_t* x, int32_t* a) { multiply_width<kMaxWidth>(b, x, a); }"
    )
    return _source(folder, [products, "vectors/bytes.h"], call)


_WIDE = ("znver4", "icelake-server", "sapphirerapids")
_AVX2 = ("znver3", "skylake", *_WIDE)
_ARM = ("neoverse-n1", "neoverse-v1")
LOOPS = (
    _Loop("float32, AVX2", _floats("avx2", 8), 1 / 8, _AVX2),
    _Loop("8 bits, AVX2", _bytes("avx2"), 4 / 8, _AVX2),
    _Loop("float32, AVX-512", _floats("avx512vnni", 4), 1 / 4, _WIDE),
    _Loop("8 bits, AVX-512 with VNNI", _bytes("avx512vnni"), 4 / 4, _WIDE),
    _Loop("float32, NEON", _floats("neon", 16), 1 / 16, _ARM, machine="aarch64"),
    _Loop("8 bits, NEON", _bytes("neon", "neon/widen.h"), 1 / 8, _ARM, machine="aarch64"),
    _Loop("8 bits, NEON with dot products", _bytes("neondot"), 4 / 16, _ARM, machine="aarch64"),
)
"""A vector of floats holds 4, 8 or 16 tokens, one of bytes four columns of as many; without dot products, 8 tokens."""


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "mca")
    parser.add_argument("--compiler", default="g++", help="for x86-64")
    parser.add_argument("--arm-compiler", default="aarch64-linux-gnu-g++", help="for aarch64")
    parser.add_argument("--llvm-mca", default="llvm-mca")
    parser.add_argument(
        "--processors", type=names, default=None, help="of llvm-mca; default: all that a loop can run on"
    )
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    compilers = {"x86_64": options.compiler, "aarch64": options.arm_compiler}
    wanted = [(loop, [p for p in loop.processors if p in (options.processors or [p])]) for loop in LOOPS]
    wanted = [(loop, processors) for loop, processors in wanted if processors]
    tools = [*dict.fromkeys(compilers[loop.machine] for loop, _ in wanted), options.llvm_mca]
    for tool in tools:
        if shutil.which(tool) is None:
            raise InputError(f"{tool} is not installed; the estimates need a compiler and llvm-mca")
    rows = []
    for loop, processors in wanted:
        body = innermost_loop(_assembly(loop.source, compilers[loop.machine]))
        nonzeros = loop.nonzeros * sum(bool(_MULTIPLIES.match(line)) for line in body)
        for processor in processors:
            flags = [f"-mtriple={loop.machine}-linux-gnu", f"-mcpu={processor}"]
            cycles = _cycles(body, [options.llvm_mca, *flags]) / nonzeros
            rows.append(
                {"kernel": loop.title, "processor": processor, "nonzeros": nonzeros, "cycles": cycles}
            )
            yield f"{loop.title} on {processor}: {cycles:.2f} cycles for a non-zero and 64 tokens"
    content = {
        "environment": describe_environment(),
        "tools": {Path(tool).name: _version(tool) for tool in tools},
        "rows": rows,
    }
    yield keep(options, stamped("mca", content), title="Cycles of the kernels by llvm-mca")


def _assembly(source: str, compiler: str) -> list[str]:
    with TemporaryDirectory(prefix="platon-mca-") as name:
        written, made = Path(name) / "loop.cpp", Path(name) / "loop.s"
        written.write_text(source, encoding="utf-8")
        _call([compiler, *_FLAGS, str(written), "-o", str(made)])
        return made.read_text(encoding="utf-8").splitlines()


def innermost_loop(lines: Sequence[str]) -> list[str]:
    """The loop without a loop inside that holds the most multiply-adds. Raises InputError where there is none."""
    best: list[str] = []
    most = 0
    for end, line in enumerate(lines):
        jump = _JUMP.match(line)
        start = _last_label(lines, jump[1], end) if jump else None
        if start is None:
            continue
        body = [
            entry for entry in lines[start + 1 : end + 1] if not _LABEL.match(entry) and not _is_note(entry)
        ]
        inside = sum(bool(_MULTIPLIES.match(entry)) for entry in body)
        loops = sum(bool(_JUMP.match(entry)) for entry in body)
        if inside > most and loops == 1:
            best, most = body, inside
    if not best:
        raise InputError("the compiler left no loop with multiply-adds; look at the kernel's header")
    return best


def _last_label(lines: Sequence[str], name: str, end: int) -> int | None:
    """Where a jump at `end` goes back to; None for one that goes forward."""
    return next((i for i in range(end - 1, -1, -1) if lines[i].startswith(f"{name}:")), None)


def _is_note(line: str) -> bool:
    text = line.strip()
    return not text or text.startswith((".", "#"))


def _cycles(body: Sequence[str], command: Sequence[str]) -> float:
    """Of one round of the loop, in the steady state."""
    text = "\n".join(body) + "\n"
    few, many = (
        int(_CYCLES.findall(_call([*command, f"-iterations={count}"], text))[0])
        for count in (_ITERATIONS, 2 * _ITERATIONS)
    )
    return (many - few) / _ITERATIONS


def _version(tool: str) -> str:
    lines = _call([tool, "--version"]).splitlines()
    return next(
        (line.strip() for line in lines if "version" in line or re.search(r"\d+\.\d+", line)), "unknown"
    )


def _call(command: Sequence[str], text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # our own words
    if done.returncode:
        raise InputError(f"{command[0]} failed: {(done.stderr.strip() or 'no message').splitlines()[0]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
