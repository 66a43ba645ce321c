"""The examples run as their first lines say, in processes of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


_NO_TRAINING_PACKAGES = """
import runpy, sys
for name in ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "scipy", "pydantic", "typer"):
    sys.modules[name] = None  # importing it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _run(command, folder):
    pytest.importorskip("sklearn")
    # Like a user's shell: the package comes from the environment, never from the checkout's folder.
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d+(?:e-?\d+)?", text)]


@pytest.mark.train
def test_the_raw_loop(tmp_path):
    lines = (
        _run([sys.executable, str(EXAMPLES / "raw_loop.py"), "--output", "out"], tmp_path)
        .strip()
        .splitlines()
    )
    sparsity, accuracy = _numbers(lines[0])
    assert sparsity == pytest.approx(0.8, abs=1e-3)
    assert accuracy > 0.8
    assert float(lines[1].split()[-1]) < 1e-4
    assert (tmp_path / "out" / "compressed.onnx").is_file()


@pytest.mark.multiprocess
@pytest.mark.parametrize("processes", [1, 2])
def test_the_accelerate_loop(tmp_path, processes):
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_machines", "1", "--mixed_precision", "no",
        "--dynamo_backend", "no", "--num_processes", str(processes), "--num_cpu_threads_per_process", "1",
        "--main_process_port", "0",
    ]  # fmt: skip
    arguments = [str(EXAMPLES / "accelerate_loop.py"), "--steps", "60", "--output", "out"]
    lines = _run([*launch, *arguments], tmp_path).strip().splitlines()
    assert [line.startswith("sparsity 0.800, last loss") for line in lines] == [True]
    from safetensors.numpy import load_file

    weights = load_file(tmp_path / "out" / "model.safetensors")
    pruned = [
        w for name, w in weights.items() if "encoder.layer" in name or ".layers." in name if w.ndim == 2
    ]
    zeros = sum(int(np.count_nonzero(w == 0)) for w in pruned)
    assert zeros == int(0.8 * sum(w.size for w in pruned))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "vit"
    assert (tmp_path / "out" / "pruner.safetensors").is_file()


@pytest.mark.train
def test_the_trainer_and_its_resumption(tmp_path):
    command = [sys.executable, str(EXAMPLES / "trainer.py"), "--output", "out"]
    whole = _run(command, tmp_path).strip().splitlines()[-1]
    sparsity, accuracy = _numbers(whole)
    assert sparsity == pytest.approx(0.8, abs=1e-3)
    assert accuracy > 0.8
    last = max((tmp_path / "out").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    shutil.rmtree(last)  # as if the run had been killed in its last quarter
    assert _run([*command, "--resume"], tmp_path).strip().splitlines()[-1] == whole


@pytest.mark.train
def test_the_trainer_of_sentence_transformers(tmp_path):
    pytest.importorskip("sentence_transformers")
    command = [sys.executable, str(EXAMPLES / "sentence_transformers_trainer.py"), "--output", "out"]
    sparsity, accuracy, difference = _numbers(_run(command, tmp_path).strip().splitlines()[-1])
    assert sparsity == pytest.approx(0.8, abs=1e-3)
    assert accuracy > 0.8
    assert difference < 1e-5
    assert (tmp_path / "out" / "model" / "modules.json").is_file()


@pytest.mark.slow
def test_a_sparse_checkpoint_is_compressed_and_deployed_without_torch(tmp_path):
    lines = _run(
        [sys.executable, str(EXAMPLES / "sparse_checkpoint.py"), "--output", "out"], tmp_path
    ).splitlines()
    assert lines[0].startswith("sparsity 0.900; forms: ")
    dense, compressed = _numbers(lines[1])
    assert compressed < dense / 2
    assert float(lines[2].split()[-1]) < 1e-5
    deploy = [sys.executable, "-c", _NO_TRAINING_PACKAGES, str(EXAMPLES / "deploy.py"), "out/compressed.onnx"]
    ours, stock, difference = _run(deploy, tmp_path).splitlines()
    assert re.findall(r"\[.*\]", ours) == re.findall(r"\[.*\]", stock)
    assert float(difference.split()[-1]) < 1e-5


def test_every_example_is_listed_and_tested():
    index = (EXAMPLES / "README.md").read_text()
    tests = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f"({path.name})" in index
        assert f'"{path.name}"' in tests
