"""examples/deploy.cpp, compiled against ONNX Runtime's own C++ header and run with the wheel's shared library."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from platon_compress.export import library_path

SOURCE = Path(__file__).parents[2] / "examples" / "deploy.cpp"
COMPILER = next((found for name in ("g++", "clang++") if (found := shutil.which(name))), None)

pytestmark = [
    pytest.mark.install,
    pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler (g++ or clang++)"),
    pytest.mark.skipif(
        "ORT_INCLUDE_DIR" not in os.environ,
        reason="ORT_INCLUDE_DIR names no official header; see .ci/ort-header",
    ),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cpp")
    shared = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not shared:
        pytest.skip("this onnxruntime wheel holds no libonnxruntime.so")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # what linker and loader ask for
        (folder / name).symlink_to(shared[0])
    command = [
        COMPILER, "-std=c++17", "-Wall", "-isystem", os.environ["ORT_INCLUDE_DIR"], str(SOURCE), f"-L{folder}",
        "-lonnxruntime", f"-Wl,-rpath,{folder}", "-o", str(folder / "deploy"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "deploy"


def _run(program, *arguments):
    return subprocess.run(
        [str(program), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )


def test_the_numbers_of_torch_with_our_library_and_without(program, exported):
    model, _, folder = exported("bert", "text")
    ids = [2, 17, 9, 40, 3]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    for file, library in (
        ("needs_library.onnx", library_path()),
        ("compressed.onnx", library_path()),
        ("compressed.onnx", "-"),
    ):
        done = _run(program, folder / file, library, *ids)
        assert done.returncode == 0, done.stderr
        assert np.abs(np.array(done.stdout.split(), np.float32) - expected).max() < 1e-5


def test_failures_are_one_line(program, exported, tmp_path):
    folder = exported("bert", "text")[2]
    done = _run(program, folder / "needs_library.onnx", "-", 2, 3)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Platon" in done.stderr
    done = _run(program, folder / "compressed.onnx", tmp_path / "nothing.so", 2, 3)
    assert done.returncode == 1
    assert "nothing.so" in done.stderr
    assert _run(program, "model.onnx").returncode == 2
