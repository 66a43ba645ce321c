"""What `make wheels` built, in fresh environments: every Python, the oldest and the newest packages, other processors."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported_models import make
from packaging.utils import parse_wheel_filename

pytestmark = pytest.mark.wheels
ROOT = Path(__file__).parents[1]
WHEELS = ROOT / "build" / "wheels"
NEWEST, OLDEST = ROOT / ".ci" / "constraints.txt", ROOT / ".ci" / "lowest.txt"
CONSTRAINTS = [pytest.param(OLDEST, id="oldest"), pytest.param(NEWEST, id="newest")]
PYTHONS = ("3.11", "3.12", "3.13")
# ONNX Runtime's own wheels ask for glibc 2.27 or 2.28: where ours refuses to be installed, theirs does too.
NEWEST_GLIBC = (2, 28)
DEPLOY = """
import json, sys, numpy as np, onnxruntime as ort
from platon_compress.export import open_session
from platon_compress.library import selected_kernel, supported_kernels, taking_kernels
feed = dict(np.load(sys.argv[2]))
answers = [ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"]).run(None, feed)[0]]
for kernels in supported_kernels():
    with taking_kernels(kernels):
        answers.append(open_session(sys.argv[1]).run(None, feed)[0])
np.save(sys.argv[3], np.stack(answers))
assert not {"torch", "transformers", "onnx", "onnx_ir", "scipy", "typer"} & set(sys.modules)
print(json.dumps([ort.__version__, np.__version__, selected_kernel(), supported_kernels()]))
"""


def _wheel(processor):
    found = [*WHEELS.glob(f"*_{processor}.whl")]
    assert len(found) == 1, f"{found}; `make wheels` builds one for {processor}"
    return found[0]


def _run(*command, **environment):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def _fresh_python(version, folder):
    """An environment without pip; skips where this machine has no such Python."""
    name = f"python{version}"
    found = shutil.which(name)
    choice = os.environ | {
        "PYENV_VERSION": version
    }  # pyenv's names on PATH start nothing until one is chosen
    if (
        not found
        or subprocess.run([found, "-c", ""], env=choice, capture_output=True, check=False).returncode
    ):
        pytest.skip(f"this machine has no {name}")
    _run(found, "-m", "venv", "--without-pip", folder, PYENV_VERSION=version)
    return folder / "bin" / "python"


def _install(python, constraints, *packages):
    """By the pip of the tests, which takes only wheels: a package that has none for this Python is a fault here."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    _run(*pip, "install", "-q", "--only-binary=:all:", "-c", constraints, *packages)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An exported file with sparse layers, its inputs, and torch's answers."""
    import torch

    folder = tmp_path_factory.mktemp("exported")
    model, tokenizer, _ = make(folder, "bert", "text")
    feed = tokenizer(["Berlin in March", "long documents"], padding=True, return_tensors="pt")
    np.savez(folder / "feed.npz", **{name: values.numpy() for name, values in feed.items()})
    with torch.inference_mode():
        return folder / "compressed.onnx", folder / "feed.npz", model(**feed).logits.numpy()


def _deploy(python, exported, folder, **environment):
    """(versions of ONNX Runtime and NumPy, kernels chosen): torch's answers without the library, and by each of its sets."""
    model, feed, expected = exported
    printed = _run(python, "-P", "-c", DEPLOY, model, feed, folder / "answers.npy", **environment)
    *versions, chosen, supported = json.loads(printed)
    answers = np.load(folder / "answers.npy")
    assert len(answers) == 1 + len(supported)
    np.testing.assert_allclose(answers, np.broadcast_to(expected, answers.shape), atol=1e-5)
    return tuple(versions), chosen


def _pinned(name, version):
    """The version of a package in the file of the oldest, for a Python."""
    for line in OLDEST.read_text().splitlines():
        if (found := re.fullmatch(rf"{name}==([0-9.]+)(?:; python_version (<|>=) \"3.13\")?", line)) and (
            found[2] is None or (found[2] == "<") == (version != "3.13")
        ):
            return found[1]
    raise AssertionError(f"{OLDEST} does not name {name}")


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
def test_a_wheel_is_for_every_python_and_for_old_systems(processor):
    *_, tags = parse_wheel_filename(_wheel(processor).name)
    glibc = []
    for tag in tags:
        assert (tag.interpreter, tag.abi) == ("py3", "none")
        glibc.append(
            tuple(map(int, re.fullmatch(rf"manylinux_(\d+)_(\d+)_{processor}", tag.platform).groups()))
        )
    assert min(glibc) <= NEWEST_GLIBC


@pytest.mark.parametrize("constraints", CONSTRAINTS)
@pytest.mark.parametrize("version", PYTHONS)
def test_deploying_with_numpy_and_onnxruntime_only(version, constraints, exported, tmp_path):
    python = _fresh_python(version, tmp_path / "venv")
    _install(python, constraints, "numpy", "onnxruntime")
    _install(python, constraints, "--no-deps", _wheel("x86_64"))
    versions, _ = _deploy(python, exported, tmp_path)
    oldest = (_pinned("onnxruntime", version), _pinned("numpy", version))
    assert (versions == oldest) == (constraints == OLDEST)
    assert _deploy(python, exported, tmp_path, PLATON_FORCE_ISA="scalar") == (versions, "scalar")


@pytest.fixture(scope="module", params=CONSTRAINTS)
def without_torch(request, tmp_path_factory):
    """The command line: everything that the wheel asks for, and ONNX Runtime."""
    folder = tmp_path_factory.mktemp("command-line") / "venv"
    python = _fresh_python("3.11" if request.param == OLDEST else "3.13", folder)
    _install(python, request.param, f"platon-compress[cpu] @ {_wheel('x86_64').as_uri()}")
    return folder / "bin"


def test_doctor_finds_nothing_wrong(without_torch):
    assert "ok      a sparse layer in ONNX Runtime" in _run(without_torch / "platon-compress", "doctor")
    assert "Usage:" in _run(without_torch / "platon-compress", "compress", "--help")


def test_a_processor_without_avx_takes_plain_loops(without_torch):
    qemu = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if not qemu:
        pytest.skip("no qemu-x86_64; Debian: apt-get install qemu-user-static")
    # OpenBLAS takes what the real processor could do.
    emulated = (qemu, "-cpu", "Nehalem", without_torch / "python", without_torch / "platon-compress")
    printed = _run(*emulated, "doctor", OPENBLAS_CORETYPE="Nehalem")
    assert "kernels: scalar (nothing else is for this processor)" in printed
    assert "ok      self-test, scalar" in printed
    assert "ok      a sparse layer in ONNX Runtime" in printed


def test_the_wheel_for_arm_on_an_emulated_one(exported, tmp_path):
    folder = ROOT / "build" / "aarch64"
    if not (shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")):
        pytest.skip("no qemu-aarch64; Debian: apt-get install qemu-user-static")
    _run(ROOT / ".ci" / "aarch64", folder, sys.executable, _wheel("aarch64"))
    _, kernels = _deploy(folder / "python", exported, tmp_path)
    assert kernels == "neondot"
