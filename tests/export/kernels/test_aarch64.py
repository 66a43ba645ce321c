"""The library compiled for 64-bit ARM, on processors that qemu emulates: the tests of the kernels and of the operators."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.aarch64
CHECKOUT = Path(__file__).resolve().parents[3]
_LACKS_TOOLS = 3
WITH_DOT_PRODUCT, WITHOUT = "neoverse-n1", "cortex-a72"
KERNELS = ("native", "attention", "attention_bytes", "bytes", "special_values")


@pytest.fixture(scope="module")
def emulated():
    """A Python for ARM with the package and its library in it; kept between runs."""
    folder = CHECKOUT / "build" / "aarch64"
    command = [CHECKOUT / ".ci" / "aarch64", folder, sys.executable]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode == _LACKS_TOOLS:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr[-4000:]
    assert ": warning:" not in done.stderr
    return folder / "python"


def _run(python, *arguments, processor, **environment):
    """What it prints; it has to end well."""
    done = subprocess.run(
        [python, *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"EMULATED_CPU": processor} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def _pytest(python, processor, *arguments):
    """The last line of a run: how many passed."""
    options = ("-q", "-x", "-p", "no:cacheprovider")
    return _run(python, "-m", "pytest", *options, *arguments, processor=processor).splitlines()[-1]


@pytest.mark.parametrize(
    ("processor", "kernels"),
    [(WITH_DOT_PRODUCT, ["scalar", "neon", "neondot"]), (WITHOUT, ["scalar", "neon"])],
)
def test_a_processor_takes_the_fastest_set_that_it_can_run(emulated, processor, kernels):
    told = "from platon_compress import library as l; print(*l.supported_kernels(), l.selected_kernel())"
    assert _run(emulated, "-c", told, processor=processor).split() == [*kernels, kernels[-1]]
    forced = "from platon_compress.library import selected_kernel; print(selected_kernel())"
    assert _run(emulated, "-c", forced, processor=processor, PLATON_FORCE_ISA="neon").strip() == "neon"


def test_a_set_that_the_processor_lacks_is_refused(emulated):
    code = (
        "from platon_compress.errors import InputError\n"
        "from platon_compress.library import selected_kernel\n"
        "try: selected_kernel()\n"
        "except InputError as error: print(error)"
    )
    printed = _run(emulated, "-c", code, processor=WITHOUT, PLATON_FORCE_ISA="neondot")
    assert printed.startswith("this processor does not support the 'neondot' kernels")


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_test_passes(emulated, name):
    passed = _pytest(emulated, WITH_DOT_PRODUCT, f"tests/export/kernels/test_{name}.py")
    assert "skipped" not in passed
    assert int(passed.split()[0]) > 0


def test_kernels_without_dot_products_on_a_processor_without(emulated):
    passed = _pytest(emulated, WITHOUT, "tests/export/kernels/test_bytes.py", "-k", "neon or scalar")
    assert " passed" in passed
    assert " skipped" in passed  # those of neondot


def test_doctors_self_test(emulated):
    code = (
        "from platon_compress.measure.selftest import check_kernels\n"
        "for kernel, passed, text in check_kernels(1): print(kernel, passed)"
    )
    printed = _run(emulated, "-c", code, processor=WITH_DOT_PRODUCT)
    assert printed.splitlines() == ["scalar True", "neon True", "neondot True"]


def test_operators_in_onnx_runtime(emulated):
    """Each kind, with and without the library; among them the same file with 8-bit weights and 8-bit attention."""
    chosen = "one_meaning_everywhere and not residual"
    assert " passed" in _pytest(emulated, WITH_DOT_PRODUCT, "tests/export/test_operators.py", "-k", chosen)
