"""The template for a new kernel set: put into the list as its first lines say, it builds and passes every kernel test."""

import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.install,
    pytest.mark.skipif(
        platform.machine() != "x86_64", reason="the template's instructions are those of x86-64"
    ),
]
CHECKOUT = Path(__file__).resolve().parents[3]
TEMPLATE = CHECKOUT / "docs" / "template"
TESTS = (
    "test_native.py",
    "test_choice.py",
    "test_bytes.py",
    "test_attention.py",
    "test_attention_bytes.py",
    "test_special_values.py",
)
_FLAGS = (
    "-std=c++17",
    "-O1",
    "-ffp-contract=off",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Werror",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """(sources with the set `mine` in their list, the objects of all files but the template's)."""
    folder = tmp_path_factory.mktemp("template")
    sources = Path(shutil.copytree(CHECKOUT / "export" / "kernels" / "csrc", folder / "csrc"))
    listed = (sources / "core" / "kernels.h").read_text(encoding="utf-8")
    assert listed.count("X(avx2) X(avx512vnni)\n") == 1
    listed = listed.replace("X(avx2) X(avx512vnni)\n", "X(avx2) X(avx512vnni) X(mine)\n")
    (sources / "core" / "kernels.h").write_text(listed, encoding="utf-8")
    files = [path for path in sorted(sources.rglob("*.cpp")) if path.name != "abi_check.cpp"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda file: _compiled("g++", file, sources, folder), files))
    return sources, objects


@pytest.fixture(scope="module", params=["g++", "clang++"])
def library(request, checkout):
    """The library with the template as this compiler builds it."""
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} here")
    sources, objects = checkout
    (sources / "mine").mkdir(exist_ok=True)
    source = shutil.copy(TEMPLATE / "kernel.cpp", sources / "mine" / "kernel.cpp")
    folder = sources.parent / request.param
    folder.mkdir()
    own = _compiled(request.param, Path(source), sources, folder)
    _call(["g++", "-shared", "-pthread", *objects, own, "-o", folder / "libplaton_ops.so"])
    return folder / "libplaton_ops.so"


def _compiled(compiler, file, sources, folder):
    target = folder / f"{file.parent.name}-{file.stem}.o"
    _call([compiler, *_FLAGS, f"-I{sources}", "-c", file, "-o", target])
    return target


def _call(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def test_every_kernel_test_passes_on_the_template(library):
    _pass(library, Path(__file__).parent, *TESTS)


def test_its_own_test_passes(library):
    """As somebody would have it who copied it."""
    folder = library.parent
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    shutil.copy(TEMPLATE / "test_kernel.py", folder / "test_mine.py")
    _pass(library, folder, "test_mine.py")


def _pass(library, folder, *files):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "mine", *files],
        cwd=folder,
        env=os.environ | {"PLATON_TEST_LIBRARY": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
