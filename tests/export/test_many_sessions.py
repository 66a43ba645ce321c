"""One session for many threads, many sessions one after the other, sessions in forked children: the same bits, and the
memory comes back.
"""

import gc
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from compressed_models import baked_and_converted, padded_batches
from onnx import TensorProto, helper, numpy_helper

from platon_compress.export import export_onnx
from platon_compress.export.operators import OPERATORS
from platon_compress.export.quantize import gap_arrays, quantize_rows
from platon_compress.export.session import open_session
from platon_compress.formats.csr import CsrWeight
from platon_compress.testing import finish

_STATUS = Path("/proc/self/status")


def _arrays(csr, encoding):
    if encoding == "csr":
        return (csr.values, csr.columns, csr.row_starts), {}
    values, columns, starts, scales = quantize_rows(csr.values, csr.columns, csr.row_starts)
    packed, gaps, bits = gap_arrays(values, columns, starts, csr.in_features)
    return (packed, gaps, scales), {"gap_bits": bits}


def _layer(path, encoding, features):
    """A file of one sparse layer [features, features]."""
    dense = np.random.default_rng(1).standard_normal((features, features), np.float32)
    csr = CsrWeight.from_dense(np.where(np.abs(dense) > 0.7, dense, 0))
    operator = OPERATORS[f"PlatonLinear_gelu_{encoding}"]
    arrays, more = _arrays(csr, encoding)
    constants = dict(zip(operator.inputs[1:], (*arrays, np.ones(features, np.float32)), strict=True))
    node = helper.make_node(
        operator.name,
        operator.inputs,
        ["Y"],
        domain="platon",
        in_features=features,
        out_features=features,
        **more,
    )
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "XY"]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("platon", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@pytest.mark.parametrize("encoding", ["csr", "gaps_int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_sixteen_threads_share_a_session(tmp_path, encoding, threads):
    session = open_session(_layer(tmp_path / "m.onnx", encoding, 96), threads=threads)
    rng = np.random.default_rng(2)
    inputs = [
        rng.standard_normal((1, tokens, 96)).astype(np.float32) for tokens in (1, 5, 8, 33, 64, 70, 129)
    ] * 16
    alone = [session.run(None, {"X": x})[0] for x in inputs]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda x: session.run(None, {"X": x})[0], inputs))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


@pytest.fixture(scope="module", params=["float32", "int8"])
def whole(request, tmp_path_factory):
    """A BERT of two blocks, every layer sparse, and padded batches for it."""
    _, compressed, inputs = baked_and_converted("bert", values=request.param)
    path = tmp_path_factory.mktemp("whole") / "m.onnx"
    export_onnx(compressed, path, inputs)
    return path, padded_batches(6, size=5)


@pytest.mark.parametrize("threads", [1, 2])
def test_sixteen_threads_share_a_session_of_a_whole_model(whole, threads):
    path, batches = whole
    session = open_session(path, threads=threads)
    alone = [session.run(None, batch)[0] for batch in batches]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda batch: session.run(None, batch)[0], batches * 32))
    for number, result in enumerate(together):
        assert np.array_equal(result, alone[number % len(batches)])


def _status_of_child(work, seconds=120):
    """0: `work` did well in a forked child; None: it hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tried here
        child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return finish(child, seconds)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_children_go_on_with_a_session(whole):
    """As servers do that load first and fork then. ONNX Runtime's own threads stay with the parent: one thread, or new
    sessions.
    """
    path, batches = whole
    used = open_session(path, threads=1)
    alone = [used.run(None, batch)[0] for batch in batches]

    def check(session):
        for batch, expected in zip(batches, alone, strict=True):
            assert np.array_equal(session.run(None, batch)[0], expected)

    assert _status_of_child(lambda: check(used)) == 0
    assert _status_of_child(lambda: check(open_session(path, threads=2))) == 0
    check(used)


@pytest.mark.parametrize("whole", ["float32"], indirect=True)
@pytest.mark.slow
def test_two_hundred_sessions_of_a_whole_model(whole):
    path, (batch, *_) = whole
    first = open_session(path, threads=2).run(None, batch)[0]
    for _ in range(199):
        session = open_session(path, threads=2)
    assert np.array_equal(session.run(None, batch)[0], first)
    sessions = [open_session(path, threads=1) for _ in range(32)]  # and side by side
    assert all(np.array_equal(held.run(None, batch)[0], first) for held in sessions)


def _resident_bytes():
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) * 1024


@pytest.mark.skipif(not _STATUS.exists(), reason="this system does not tell what a process takes")
def test_memory_of_dropped_sessions_comes_back(tmp_path):
    """Packed, the layer takes more than a megabyte: a quarter of it lost each time would be 45 MB."""
    path = _layer(tmp_path / "m.onnx", "csr", 512)
    x = np.ones((1, 70, 512), np.float32)

    def sessions(count):
        for _ in range(count):
            open_session(path, threads=1).run(None, {"X": x})
        gc.collect()

    sessions(20)  # whatever is made once
    before = _resident_bytes()
    sessions(180)
    assert _resident_bytes() - before < 32 * 2**20
