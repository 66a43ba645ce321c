"""A file means the same in every supported ONNX Runtime, in onnx's reference evaluator and after the usual tools.

The right answer comes from torch.
"""

import json
import re
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from packed_layers import exact_answer, packed_layer, random_bytes, rows_of
from thinned import thinned

from platon_compress.export import export_onnx, library_path, open_session
from platon_compress.export.config import ExportConfig
from platon_compress.export.operators import OPERATORS
from platon_compress.formats.csr import CsrWeight
from platon_compress.structure import find_blocks
from platon_compress.testing import tiny_transformer

_PROGRAM = Path(__file__).parent / "_everywhere.py"
_EXACT, _QUANTIZED = 2e-6, 0.1
# The oldest that pyproject admits, and one of each that handles functions in another way.
_RUNTIMES = ("1.23.2", "1.26.0", "1.32.0")
_FILES = {
    "bert": {},
    "bert-mixed": {"mixed": True},
    "bert-unpadded": {"config": ExportConfig(remove_padding=True)},
    "deberta-v3": {},
    "vit": {},
    "vit-mixed": {"mixed": True},
    "modernbert": {},
}


def _write(folder, name, *, mixed=False, config=None):
    """A sparse model, every third layer dense when `mixed`, with inputs and torch's answer."""
    model, inputs = tiny_transformer(name.partition("-mixed")[0].partition("-unpadded")[0])
    csr = {}
    for number, (layer, module) in enumerate(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and layer.startswith(find_blocks(model)):
            module.weight.data *= torch.rand(module.weight.shape) < 0.3
            if not mixed or number % 3:
                csr[f"{layer}.weight"] = CsrWeight.from_dense(module.weight.detach().numpy())
    compressed = SimpleNamespace(model=model, csr=csr, plan=None)
    export_onnx(compressed, folder / f"{name}.onnx", inputs, config)
    with torch.no_grad():
        wanted = model(**inputs).logits.numpy()
    np.savez(folder / f"{name}.npz", wanted=wanted, **{key: value.numpy() for key, value in inputs.items()})


_PACKED = {"packed-mask": 1, "packed-gaps": 5}


def _write_packed(folder, name, bits):
    """One layer of 8-bit weights: between two of them a last bit may move a rounding."""
    dense = random_bytes(70, 301, 0.1)
    onnx.save(packed_layer(dense, bits), folder / f"{name}.onnx")
    x = rows_of(301)
    np.savez(folder / f"{name}.npz", X=x, wanted=exact_answer(x, dense))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, settings in _FILES.items():
        _write(folder, name, **settings)
    for name, bits in _PACKED.items():
        _write_packed(folder, name, bits)
    return sorted(folder.glob("*.onnx"))


def _found(python, way, files):
    command = [str(python), str(_PROGRAM), str(library_path()), way, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=files[0].parent)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "way", thinned(["as_it_is", "extracted", "optimized", "prefixed", "prefixed_and_restored"], every=2)
)
def test_one_answer(way, files):
    found = _found(sys.executable, way, files)["found"]
    assert found.keys() == _FILES.keys() | _PACKED.keys()
    assert all(max(found[name]) == 0 for name in _PACKED), found
    assert max(max(differences) for differences in found.values()) < _EXACT, found


def test_quantize_dynamic_writes_a_file_that_runs(files):
    found = _found(sys.executable, "quantized", files)["found"]
    assert max(max(differences) for differences in found.values()) < _QUANTIZED, found


def test_two_files_can_be_merged(files, tmp_path):
    """Bodies run then; after the lines of docs/operator.md, our kernels."""
    by_name = {path.stem: path for path in files}
    one, other = (onnx.load(by_name[name]) for name in ("bert", "vit"))
    stored = {
        side: dict(np.load(by_name[name].with_suffix(".npz"))) for side, name in (("a", "bert"), ("b", "vit"))
    }
    model = onnx.compose.merge_models(one, other, io_map=[], prefix1="a_", prefix2="b_")
    onnx.save(model, tmp_path / "merged.onnx")
    page = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()
    exec(re.search(r"```python\n(def own.*?)```", page, re.DOTALL)[1], {"model": model})
    onnx.save(model, tmp_path / "restored.onnx")
    for name in ("merged", "restored"):
        path = tmp_path / f"{name}.onnx"
        onnx.checker.check_model(path, full_check=True)
        ours = [node.op_type in OPERATORS for node in onnx.load(path).graph.node if node.domain == "platon"]
        assert (len(ours), all(ours)) == (8, name == "restored")
        for use_library in (True, False):
            session = open_session(path, use_library=use_library)
            sides = {value.name: value.name.split("_", 1) for value in session.get_inputs()}
            feed = {name: stored[side][own] for name, (side, own) in sides.items()}
            results = session.run(["a_logits", "b_logits"], feed)
            for got, side in zip(results, "ab", strict=True):
                np.testing.assert_allclose(got, stored[side]["wanted"], atol=_EXACT)


@pytest.fixture(scope="module")
def python_with(tmp_path_factory):
    """Makes an environment with the given packages, once each."""
    made = {}

    def make(*packages):
        if packages not in made:
            folder = tmp_path_factory.mktemp("venv")
            venv.create(folder, with_pip=True)
            pip = [
                folder / "bin" / "python",
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "numpy",
                "onnx",
            ]
            done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
            made[packages] = folder / "bin" / "python"
        return made[packages]

    return make


@pytest.mark.install
@pytest.mark.parametrize("version", _RUNTIMES)
def test_every_runtime_gives_one_answer(version, files, python_with):
    result = _found(python_with(f"onnxruntime=={version}"), "as_it_is", files)
    assert result["onnxruntime"] == version
    assert max(max(differences) for differences in result["found"].values()) < _EXACT, result


@pytest.mark.install
@pytest.mark.parametrize("way", ["slimmed", "through_graphsurgeon"])
def test_other_tools_keep_the_answer(way, files, python_with):
    python = python_with("onnxruntime", "onnxslim", "onnx-graphsurgeon")
    found = _found(python, way, files)["found"]
    assert max(max(differences) for differences in found.values()) < _EXACT, found
