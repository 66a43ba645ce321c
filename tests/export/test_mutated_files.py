"""Whatever a file says, opening and running it ends in numbers or in an error, never in a crash of the process."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

from platon_compress import PlanConfig, bake, convert, plan
from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.planning import Form
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer

DRIVER = Path(__file__).with_name("mutations.py")


@pytest.fixture(scope="module", params=["float32", "int8"])
def exported(request, tmp_path_factory):
    model = tiny_transformer("bert")[0].eval()
    masks = {name: torch.rand_like(weight) < 0.3 for name, weight in select(model).items()}
    baked = bake(model, masks)
    path = tmp_path_factory.mktemp("mutated") / "model.onnx"
    ids = torch.ones(2, 7, dtype=torch.int64)
    feed = {"input_ids": ids, "attention_mask": ids}
    compressed = convert(baked, plan(baked, PlanConfig(tokens=8, force=Form.CSR)))
    export_onnx(compressed, path, feed, ExportConfig(values=request.param))
    assert any(node.domain == "platon" for node in onnx.load(path).graph.node)
    return path


@pytest.mark.multiprocess
def test_mutated_operators_never_crash(exported):
    command = [sys.executable, "-P", str(DRIVER), str(exported), "150"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    refused, ran = (int(part.split()[1]) for part in done.stdout.strip().split(", "))
    assert refused + ran == 150
    assert refused > 50
    assert ran > 3
