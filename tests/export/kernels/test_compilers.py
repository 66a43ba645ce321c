"""The library as each compiler here builds it: without a warning, portable, and with the results of the installed one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.install
CHECKOUT = Path(__file__).resolve().parents[3]
COMPILERS = {"clang++": "clang", "g++": "gcc"}
TESTS = (
    "test_native.py",
    "test_choice.py",
    "test_attention.py",
    "test_special_values.py",
    "test_portability.py",
)


@pytest.fixture(params=COMPILERS)
def built(request, tmp_path):
    """(library, what the build printed) of setup.py with this compiler."""
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} here")
    compilers = {"CXX": request.param, "CC": COMPILERS[request.param]}
    folders = ["--build-lib", tmp_path / "lib", "--build-temp", tmp_path / "temp"]
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--force", *map(str, folders)],
        cwd=CHECKOUT,
        env=os.environ | compilers,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (library,) = (tmp_path / "lib").rglob("*platon_ops*")
    return library, done.stdout + done.stderr


def test_every_kernel_test_passes_on_the_build(built):
    library, printed = built
    assert "warning:" not in printed
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *TESTS],
        cwd=Path(__file__).parent,
        env=os.environ | {"PLATON_TEST_LIBRARY": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
