"""The kernels under the address, undefined-behaviour and thread sanitizers, on valid and on crafted weights."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
SOURCES = CHECKOUT / "export" / "kernels" / "csrc"
ADAPTERS = SOURCES / "ort"  # they need ONNX Runtime; tests/export runs them inside it
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


@pytest.mark.sanitizer
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_kernels_are_clean(tmp_path, sanitizers):
    sources = sorted(path for path in SOURCES.rglob("*.cpp") if path.parent != ADAPTERS)
    sources += sorted(Path(__file__).with_name("sanitizers").glob("*.cpp"))
    driver = tmp_path / "driver"
    flags = ["-std=c++17", "-O1", "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-pthread"]
    flags.append(f"-I{SOURCES}")
    built = subprocess.run(
        [COMPILER, *flags, *map(str, sources), "-o", str(driver)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(driver)], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("clean:")


@pytest.mark.sanitizer
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.skipif(
    "ORT_INCLUDE_DIR" not in os.environ, reason="ORT_INCLUDE_DIR names no official header; see .ci/ort-header"
)
def test_our_header_equals_the_official_one():
    command = [
        COMPILER,
        "-std=c++17",
        "-fsyntax-only",
        "-I",
        os.environ["ORT_INCLUDE_DIR"],
        "-I",
        SOURCES,
        SOURCES / "ort" / "abi_check.cpp",
    ]
    checked = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
