"""What the built library asks of the system it is loaded into."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from platon_compress.library import library_path

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ELF libraries only"),
    pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf; install binutils"),
]


def _readelf(flag, path):
    command = ["readelf", "-W", flag, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _needed_versions(path):
    """The newest version of each system library's symbols that the file asks for: {"GLIBC": (2, 28), ...}."""
    newest = {}
    for name, number in re.findall(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_([0-9.]+)", _readelf("-V", path)):
        version = tuple(int(part) for part in number.split("."))
        newest[name] = max(newest.get(name, ()), version)
    return newest


def test_it_asks_for_nothing_that_onnx_runtime_does_not_ask_for():
    ours = _needed_versions(library_path())
    theirs = {}
    for path in Path(onnxruntime.__file__).parent.joinpath("capi").glob("*.so*"):
        for name, version in _needed_versions(path).items():
            theirs[name] = max(theirs.get(name, ()), version)
    newer = {name: version for name, version in ours.items() if version > theirs.get(name, ())}
    assert newer == {}
    assert "GLIBCXX" not in ours  # the C++ runtime is inside


def test_it_shows_its_entry_points_and_nothing_else():
    table = _readelf("--dyn-syms", library_path())
    shown = [
        row.split()[7] for row in table.splitlines() if re.search(r"(GLOBAL|WEAK|UNIQUE)\s+DEFAULT\s+\d", row)
    ]
    assert "RegisterCustomOps" in shown
    assert [name for name in shown if name != "RegisterCustomOps" and not name.startswith("platon_")] == []
