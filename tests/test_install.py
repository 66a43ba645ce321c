"""What is built, and the wheel in environments of its own: numpy and onnxruntime only, and no compiler."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.install
ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
DEPLOY = """
import sys, numpy as np, onnxruntime as ort
assert not {"torch", "onnx", "scipy", "typer"} & set(sys.modules)
from platon_compress.export import library_path, open_session
feed = dict(np.load(sys.argv[2]))
native = open_session(sys.argv[1]).run(None, feed)[0]
stock = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"]).run(None, feed)[0]
np.save(sys.argv[3], np.stack([native, stock]))
"""


def _pip(python, *arguments, **environment):
    command = [python, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the checkout without build leftovers, which setuptools would take for up to date."""
    folder = tmp_path_factory.mktemp("source") / "platon-compress"
    ignore = shutil.ignore_patterns(
        ".venv*", ".git", "build", "runs", "*.egg-info", "*.so", "__pycache__", ".*_cache"
    )
    return shutil.copytree(ROOT, folder, ignore=ignore)


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    done = _pip(sys.executable, "wheel", source, "--no-deps", "-w", folder, "-v", "-c", CONSTRAINTS)
    assert done.returncode == 0, done.stderr
    (folder / "build.log").write_text(done.stdout + done.stderr)
    shutil.rmtree(source / "build", ignore_errors=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory, wheel):
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    assert _pip(python, "install", "-q", "numpy", "onnxruntime", "-c", CONSTRAINTS).returncode == 0
    assert _pip(python, "install", "-q", "--no-deps", wheel).returncode == 0
    return python


def _export(folder):
    """A tiny BERT exported with CSR weights; returns the file, its inputs and torch's answer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from platon_compress import PlanConfig, bake, convert, plan
    from platon_compress.export import export_onnx
    from platon_compress.planning import Form
    from platon_compress.selection import select

    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=64, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96
    )
    model = BertForSequenceClassification(config).eval()
    masks = {name: torch.rand_like(weight) < 0.1 for name, weight in select(model).items()}
    baked = bake(model, masks)
    compressed = convert(baked, plan(baked, PlanConfig(tokens=8, force=Form.CSR)))
    ids = torch.randint(0, 64, (3, 7))
    feed = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    export_onnx(compressed, folder / "m.onnx", feed)
    with torch.inference_mode():
        return folder / "m.onnx", {k: v.numpy() for k, v in feed.items()}, model(**feed).logits.numpy()


def test_a_wheel_is_for_any_python_of_its_platform(wheel):
    assert "-py3-none-" in wheel.name


def test_the_build_prints_no_warnings(wheel):
    log = (wheel.parent / "build.log").read_text()
    assert [line for line in log.splitlines() if "Warning" in line or "absent from" in line] == []


def test_the_wheel_holds_packages_and_one_library(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"platon_compress", f"{_stem(wheel)}.dist-info"}
    others = {Path(name).suffix for name in names if name.startswith("platon_compress/")}
    assert others <= {".py", ".typed", ".json", ".yaml", ".jinja", ".so", ".dylib", ".dll"}
    assert sum(Path(name).suffix in {".so", ".dylib", ".dll"} for name in names) == 1


def test_the_source_distribution_holds_every_source_of_the_kernels(source, tmp_path):
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", build, tmp_path], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    sources = {
        p.relative_to(source).as_posix() for p in (source / "export" / "kernels" / "csrc").rglob("*.*")
    }
    assert sources
    assert sources <= held
    assert not [name for name in held if name.startswith(("tests/", "benchmarks/"))]


def _stem(wheel):
    return "-".join(wheel.name.split("-")[:2])


def test_deploying_with_numpy_and_onnxruntime_only(bare_python, tmp_path):
    model, feed, expected = _export(tmp_path)
    np.savez(tmp_path / "x.npz", **feed)
    done = subprocess.run(
        [bare_python, "-c", DEPLOY, model, tmp_path / "x.npz", tmp_path / "y.npy"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for answer in np.load(tmp_path / "y.npy"):
        assert np.abs(answer - expected).max() < 1e-5


RUN = """
import json, sys
assert not {"torch", "transformers", "onnx", "scipy", "typer"} & set(sys.modules)
from platon_compress.runtime import load
found = load(sys.argv[1]).predict(json.loads(sys.argv[2]))
assert not {"torch", "transformers", "onnx", "scipy", "typer"} & set(sys.modules)
print(json.dumps(found.logits.tolist()))
"""


def _word_tokenizer(folder):
    """tokenizer.json with the words w3 to w63, each the id of its number."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, **{f"w{number}": number for number in range(3, 64)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    tokenizer.save(str(folder / "tokenizer.json"))


def test_running_a_folder_with_tokenizers_beside_them(bare_python, tmp_path):
    import torch

    model, _, _ = _export(tmp_path)
    model.rename(tmp_path / "compressed.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertForSequenceClassification"]}))
    _word_tokenizer(tmp_path)
    assert _pip(bare_python, "install", "-q", "tokenizers", "-c", CONSTRAINTS).returncode == 0
    texts = ["w7 w8", "w60 w5 w5 w9"]
    done = subprocess.run(
        [bare_python, "-c", RUN, tmp_path, json.dumps(texts)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ids = torch.tensor([[1, 7, 8, 2, 0, 0], [1, 60, 5, 5, 9, 2]])
    from platon_compress.export import open_session

    feed = {"input_ids": ids.numpy(), "attention_mask": (ids > 0).long().numpy()}
    expected = open_session(tmp_path / "compressed.onnx").run(None, feed)[0]
    assert np.abs(np.array(json.loads(done.stdout)) - expected).max() < 1e-5


def test_the_machine_script_runs_beside_a_wheel(bare_python, tmp_path):
    """Its parts need torch or not; the kernels need neither it nor a checkout's package."""
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("results"))
    script = [bare_python, tmp_path / "benchmarks" / "machine.py", "--tiny", "--minutes", "1"]
    done = subprocess.run(
        [*script, "--parts", "kernels,pruner", "-o", tmp_path / "m.json"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "m.json").read_text())["parts"]
    assert parts["kernels"]["cells"]
    assert (parts["kernels"]["failed"], parts["kernels"]["left"]) == ({}, [])
    assert parts["pruner"]["unavailable"]


def test_the_command_line_names_what_is_missing(bare_python, tmp_path):
    done = subprocess.run(
        [bare_python, "-c", "from platon_compress import Pruner"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "torch" in done.stderr.splitlines()[-1]


def test_without_a_compiler_the_build_ends_with_one_line(source, tmp_path):
    done = _pip(
        sys.executable, "wheel", source, "--no-deps", "--no-build-isolation", "-w", tmp_path,
        CC="/nonexistent/cc", CXX="/nonexistent/c++",
    )  # fmt: skip
    assert done.returncode != 0
    assert "C++17 compiler" in done.stderr + done.stdout
