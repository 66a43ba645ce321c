"""Whether the layers of a compressed file ran in our kernels: all of them, or the file is said to run without."""

import onnx
import pytest
import torch

from platon_compress import PlanConfig, bake, convert, plan
from platon_compress.export import export_onnx
from platon_compress.measure import run_benchmark
from platon_compress.measure.config import BenchConfig
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model, inputs = tiny_transformer("bert")
    generator = torch.Generator().manual_seed(0)
    baked = bake(model, {n: torch.rand(w.shape, generator=generator) < 0.3 for n, w in select(model).items()})
    compressed = convert(baked, plan(baked, PlanConfig(tokens=8, force="csr", values="int8")))
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(baked.model, folder / "pruned.onnx", inputs)
    (folder / "dense-int8.onnx").write_bytes((folder / "pruned.onnx").read_bytes())  # a rival, whichever
    path = folder / "compressed.onnx"
    (folder / "config.json").write_text('{"vocab_size": 80}')
    export_onnx(compressed, path, inputs, unrounded=folder / "compressed-float32.onnx")
    return folder


def _measured(folder):
    config = BenchConfig(batch=(1,), tokens=(8,), runs=5, warmup=1, cold_runs=0, threads=1)
    return run_benchmark(folder, config).variants


def test_all_layers_ran(folder):
    variants = _measured(folder)
    assert variants["compressed"].native_kernel is True
    assert variants["compressed_float32"].native_kernel is True
    assert variants["pruned"].native_kernel is None


def test_one_layer_that_the_library_lacks_is_enough_for_a_no(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = onnx.load(folder / "compressed.onnx")
    known = next(node.op_type for node in model.graph.node if "FeedForward" in node.op_type)
    for part in (*model.graph.node, *model.functions):
        field = "op_type" if isinstance(part, onnx.NodeProto) else "name"
        if getattr(part, field) == known:
            setattr(part, field, f"{known}_of_tomorrow")
    onnx.save(model, tmp_path / "compressed.onnx")
    variants = _measured(tmp_path)
    assert variants["compressed"].native_kernel is False
    assert variants["compressed_float32"].native_kernel is True
