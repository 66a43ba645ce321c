"""The native targets: built with libFuzzer and sanitizers, run, and their coverage.

Rules: every kernel set is compiled in; a report of a sanitizer, a wrong result and a leak all end a run with the input that
did it; lines count as covered when any input of the run executed them.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzzing.seeds import write_seeds

from platon_compress.errors import CheckFailedError, InputError

__all__ = ["NATIVE", "NativeTarget", "build", "fuzz_native", "has_libfuzzer"]

_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = _ROOT / "export" / "kernels" / "csrc"
_HARNESS = Path(__file__).with_name("native")
_NOT_HERE = "abi_check.cpp"  # needs the official header
_PROFILE = ("-fprofile-instr-generate", "-fcoverage-mapping")
# ONNX Runtime's table holds functions of other types than ours call: -fno-sanitize=function.
_FLAGS = (
    "-std=c++17", "-O1", "-g", "-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=all",
    "-fno-sanitize=function", *_PROFILE, f"-I{_SOURCES}",
)  # fmt: skip
_LINK = ("-fsanitize=fuzzer,address,undefined", "-fprofile-instr-generate", "-pthread")
_LONGEST_BYTES, _SLOWEST_SECONDS = 8192, 60


@dataclass(frozen=True)
class NativeTarget:
    """title: what is fuzzed. files: those below csrc/ whose lines it is to cover."""

    name: str
    title: str
    files: tuple[str, ...]


_PACKING = ("csr", "gaps", "weights", "chunks", "runs", "pack", "pack_bytes", "linear", "ready", "panels")
_OPERATORS = (
    "kernel",
    "weights",
    "linear",
    "feed_forward",
    "self_attention",
    "heads",
    "attention",
    "operators",
)
NATIVE = {
    target.name: target
    for target in (
        NativeTarget(
            "packing",
            "CSR, 8-bit and gap-coded weights: check, unpack, pack, multiply",
            tuple(f"core/{name}.cpp" for name in _PACKING),
        ),
        NativeTarget(
            "creation",
            "every operator, made and run from attributes and inputs",
            (*(f"ort/{name}.cpp" for name in (*_OPERATORS, "register")), "ort/kernel.h", "core/blocks.cpp", "core/half.h"),
        ),
        NativeTarget(
            "attention",
            "attention in floats and in 8 bits",
            ("core/attention.cpp", "core/attention_bytes.cpp", "core/heads.cpp", "core/heads.h", "scalar/attention.cpp",
             "scalar/attention_bytes.cpp", "vectors/attention.h", "vectors/attention_bytes.h"),
        ),
    )
}  # fmt: skip


def build(folder: Path, compiler: str) -> dict[str, Path]:
    """The programs of all targets by name. What lies in `folder` and is newer than every source is taken as it is.

    InputError without a clang that has libFuzzer, CheckFailedError where something does not compile.
    """
    if not has_libfuzzer(compiler):
        raise InputError(
            f"{compiler} is missing or has no libFuzzer; install clang with its runtime (Debian: libclang-rt-NN-dev), or "
            "name another with --compiler"
        )
    folder.mkdir(parents=True, exist_ok=True)
    changed, own_changed = (_newest(place) for place in (_SOURCES, _HARNESS))
    sources = [path for path in sorted(_SOURCES.rglob("*.cpp")) if path.name != _NOT_HERE]
    shared = [_object(folder, path, compiler, changed) for path in sources]
    changed = max(changed, own_changed)
    shared.append(_object(folder, _HARNESS / "runtime.cpp", compiler, changed))
    programs = {}
    for name in NATIVE:
        own = _object(folder, _HARNESS / f"{name}.cpp", compiler, changed)
        programs[name] = folder / name
        _compile([compiler, *_LINK, *map(str, (own, *shared)), "-o", str(programs[name])])
    return programs


def has_libfuzzer(compiler: str) -> bool:
    """Whether it is there and links a fuzz target: on Debian, clang may come without its runtime."""
    if shutil.which(compiler) is None:
        return False
    target = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
    command = [compiler, *_LINK, "-x", "c++", "-", "-o", os.devnull]
    return not subprocess.run(command, input=target, text=True, capture_output=True, check=False).returncode


def _newest(folder: Path) -> float:
    return max(path.stat().st_mtime for path in folder.rglob("*.*"))


def _object(folder: Path, source: Path, compiler: str, changed: float) -> Path:
    place = folder / f"{source.parent.name}-{source.stem}.o"
    if not place.exists() or place.stat().st_mtime < changed:
        _compile([compiler, *_FLAGS, "-c", str(source), "-o", str(place)])
    return place


def _compile(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckFailedError(f"{command[0]} refuses {command[-3]}: {done.stderr.strip()[:2000]}")


def fuzz_native(program: Path, target: NativeTarget, inputs: int, seconds: int, seed: int) -> dict[str, Any]:
    """Run at least `inputs` inputs, or `seconds`; how they ended, and the lines that they covered.

    Raises CheckFailedError, naming the input, at the first report.
    """
    place = program.with_name(f"{target.name}-run")
    shutil.rmtree(place, ignore_errors=True)
    (place / "corpus").mkdir(parents=True)
    write_seeds(target.name, place / "seeds")
    done = subprocess.run(
        [str(program), f"-runs={inputs}", f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={_LONGEST_BYTES}",
         f"-timeout={_SLOWEST_SECONDS}", "-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={place}/",
         str(place / "corpus"), str(place / "seeds")],
        capture_output=True, text=True, check=False, errors="replace",
        env={**os.environ, "LLVM_PROFILE_FILE": str(place / "profile"), "PLATON_FUZZ_COUNTS": str(place / "counts")},
    )  # fmt: skip
    executed = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    if done.returncode or executed is None:
        raise CheckFailedError(
            f"target {target.name}: {_report(done.stderr)}; the input is one of {_artifacts(place)}"
        )
    counts = json.loads((place / "counts").read_text())
    return {"inputs": int(executed[1]), **counts, "faults": 0, "coverage": _coverage(program, target, place)}


def _report(text: str) -> str:
    """The line of a sanitizer or of a target that says what is wrong."""
    lines = [line for line in text.splitlines() if line.strip()]
    return next(
        (line for line in lines if "ERROR" in line or "runtime error" in line),
        lines[0] if lines else "no word",
    )


def _artifacts(place: Path) -> str:
    return ", ".join(str(path) for path in sorted(place.glob("*-*"))) or "none"


def _coverage(program: Path, target: NativeTarget, place: Path) -> dict[str, Any] | None:
    """Lines of the target's files, all together and file by file; None without LLVM's tools."""
    tools = [_tool(name) for name in ("llvm-profdata", "llvm-cov")]
    if None in tools:
        return None
    merge, cov = map(str, tools)
    merged = place / "merged"
    subprocess.run([merge, "merge", "-sparse", str(place / "profile"), "-o", str(merged)], check=True)
    command = [cov, "export", "-summary-only", f"-instr-profile={merged}", str(program)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    lines = dict(_lines(found["data"][0]["files"], target))
    covered, total = (sum(entry[i] for entry in lines.values()) for i in (0, 1))
    return {"covered": covered, "lines": total, "share": covered / total, "files": lines}


def _lines(files: list[dict[str, Any]], target: NativeTarget) -> Iterator[tuple[str, tuple[int, int]]]:
    for file in files:
        name = Path(file["filename"])
        if name.is_relative_to(_SOURCES) and name.relative_to(_SOURCES).as_posix() in target.files:
            summary = file["summary"]["lines"]
            yield name.relative_to(_SOURCES).as_posix(), (summary["covered"], summary["count"])


def _tool(name: str) -> str | None:
    """LLVM's tools may carry its version in their names."""
    return next((found for version in ("", "-14", "-19") if (found := shutil.which(name + version))), None)
