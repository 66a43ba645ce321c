"""Sessions on small models: the operator runs, with and without the library; crafted models give clear errors."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy import sparse, special

from platon_compress.errors import InputError
from platon_compress.export.operators import OPERATORS
from platon_compress.export.session import library_path, open_session, session_options

rng = np.random.default_rng(7)


def make_model(
    path, *, dense, bias=None, what="plain", drop=(), replace=None, attributes=None, graph_inputs=()
):
    """Writes one PlatonLinear; `replace` swaps single arrays, `graph_inputs` names those fed at run time."""
    csr = sparse.csr_matrix(dense)
    csr.sort_indices()
    out_features, in_features = dense.shape
    arrays = {
        "values": csr.data.astype(np.float32),
        "columns": csr.indices.astype(np.uint16 if in_features <= 65536 else np.int32),
        "row_starts": csr.indptr.astype(np.int32),
    }
    arrays["bias"] = np.zeros(out_features, np.float32) if bias is None else bias
    arrays.update(replace or {})
    settings = {
        "in_features": in_features,
        "out_features": out_features,
    } | (attributes or {})
    settings = {name: value for name, value in settings.items() if name not in drop}
    operator = OPERATORS[f"PlatonLinear_{what}_csr"]
    node = helper.make_node(operator.name, operator.inputs, ["Y"], domain="platon", **settings)
    fed = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(arrays[name].dtype), list(arrays[name].shape)
        )
        for name in graph_inputs
    ]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, None), *fed],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items() if name not in graph_inputs],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("platon", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def sparse_matrix(out_features, in_features, density=0.2):
    dense = rng.standard_normal((out_features, in_features)).astype(np.float32)
    return dense * (rng.random(dense.shape) < density)


ACTIVATIONS = {
    "plain": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + special.erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_operator_equals_float64(tmp_path, activation, threads):
    dense, bias = sparse_matrix(70, 100), rng.standard_normal(70).astype(np.float32)
    session = open_session(
        make_model(tmp_path / "m.onnx", dense=dense, bias=bias, what=activation), threads=threads
    )
    for shape in [(100,), (1, 100), (3, 5, 100), (2, 65, 100), (2, 2, 3, 100)]:
        x = rng.standard_normal(shape).astype(np.float32)
        expected = ACTIVATIONS[activation](x.astype(np.float64) @ dense.T.astype(np.float64) + bias)
        (y,) = session.run(None, {"X": x})
        assert y.shape == (*shape[:-1], 70)
        np.testing.assert_allclose(y, expected, atol=2e-5)


def test_no_bias_no_nonzeros_and_no_tokens(tmp_path):
    session = open_session(make_model(tmp_path / "m.onnx", dense=np.zeros((5, 9), np.float32)))
    assert session.run(None, {"X": np.ones((2, 9), np.float32)})[0].tolist() == [[0.0] * 5] * 2
    assert session.run(None, {"X": np.ones((0, 9), np.float32)})[0].shape == (0, 5)
    assert session.run(None, {"X": np.ones((4, 0, 9), np.float32)})[0].shape == (4, 0, 5)


def test_more_than_65536_inputs_use_int32_columns(tmp_path):
    dense = sparse_matrix(3, 70000, 0.01)
    session = open_session(make_model(tmp_path / "m.onnx", dense=dense))
    x = rng.standard_normal((2, 70000)).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"X": x})[0], x @ dense.T, atol=1e-3)


def test_wrong_width_of_x_is_refused(tmp_path):
    session = open_session(make_model(tmp_path / "m.onnx", dense=sparse_matrix(4, 8)))
    with pytest.raises(Exception, match="last dimension of X must be in_features = 8, got 7"):
        session.run(None, {"X": np.ones((1, 7), np.float32)})
    with pytest.raises(Exception, match="last dimension of X must be in_features = 8, got a scalar"):
        session.run(None, {"X": np.array(1, np.float32)})


_NORM = {"scale": np.ones(3, np.float32), "shift": np.ones(3, np.float32)}
GOOD = np.array([[1, 0, 2, 0], [0, 0, 0, 3], [4, 5, 0, 0]], np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replace": {"values": np.ones(4, np.float32)}}, "same length, got 4 and 5"),
        (
            {"replace": {"columns": np.array([0, 2, 4, 0, 1], np.uint16)}},
            r"columns must be in \[0, 4\), got 4",
        ),
        (
            {"replace": {"columns": np.array([0, 2, -1, 0, 1], np.int32)}},
            r"columns must be in \[0, 4\), got -1",
        ),
        (
            {"replace": {"columns": np.array([2, 0, 3, 0, 1], np.uint16)}},
            "strictly increasing, got 2 then 0 in row 0",
        ),
        (
            {"replace": {"columns": np.array([0, 2, 3, 1, 1], np.uint16)}},
            "strictly increasing, got 1 then 1 in row 2",
        ),
        ({"replace": {"columns": np.zeros((5, 1), np.uint16)}}, "columns must have one dimension, got 2"),
        ({"replace": {"columns": np.zeros(5, np.float32)}}, "columns must have element type 4"),
        ({"replace": {"row_starts": np.array([0, 2, 5], np.int32)}}, "out_features \\+ 1 = 4 entries, got 3"),
        (
            {"replace": {"row_starts": np.array([1, 2, 3, 5], np.int32)}},
            "row_starts must begin with 0, got 1",
        ),
        (
            {"replace": {"row_starts": np.array([0, 3, 2, 5], np.int32)}},
            "must not decrease, got 3 then 2 at row 1",
        ),
        (
            {"replace": {"row_starts": np.array([0, 2, 3, 9], np.int32)}},
            "must end with the number of values, 5, got 9",
        ),
        ({"bias": np.ones(2, np.float32)}, "bias must have out_features = 3 entries, got 2"),
        ({"attributes": {"in_features": 0}}, "in_features must be in .*, got 0"),
        ({"attributes": {"in_features": 2**40}}, "in_features must be in .*, got 1099511627776"),
        ({"attributes": {"in_features": 70000}}, "columns must be int32 for in_features 70000"),
        ({"attributes": {"out_features": -3}}, "out_features must be in .*, got -3"),
        ({"attributes": {"out_features": 2**62}}, "out_features must be in"),
        ({"drop": ("in_features",)}, "attribute in_features is missing"),
        ({"graph_inputs": ["values"]}, "values must be an initializer"),
        ({"graph_inputs": ["row_starts"]}, "row_starts must be an initializer"),
        ({"graph_inputs": ["bias"]}, "bias must be an initializer"),
        ({"what": "norm", "replace": _NORM}, "attribute epsilon is missing"),
        (
            {"what": "norm", "replace": _NORM, "attributes": {"epsilon": -1.0}},
            r"epsilon must lie in \[0, 1\]",
        ),
        ({"what": "norm", "replace": _NORM, "graph_inputs": ["scale"]}, "scale must be an initializer"),
        (
            {
                "what": "norm",
                "replace": _NORM | {"shift": np.ones(2, np.float32)},
                "attributes": {"epsilon": 0.0},
            },
            "shift must have out_features = 3 entries, got 2",
        ),
    ],
)
def test_crafted_models_give_one_clear_line(tmp_path, change, message):
    path = make_model(tmp_path / "bad.onnx", dense=GOOD, **change)
    with pytest.raises(InputError, match=message):
        open_session(path)


def test_forced_kernels_must_exist(tmp_path, monkeypatch):
    path = make_model(tmp_path / "m.onnx", dense=GOOD)
    monkeypatch.setenv("PLATON_FORCE_ISA", "mmx")
    with pytest.raises(InputError, match="no 'mmx' kernels; PLATON_FORCE_ISA must be one of scalar"):
        open_session(path)


@pytest.mark.parametrize("features", [200, 700], ids=["packed by the caller", "packed by all"])
def test_results_do_not_depend_on_threads(features, tmp_path):
    dense = sparse_matrix(300, features)
    path = make_model(tmp_path / "m.onnx", dense=dense)
    x = rng.standard_normal((150, features)).astype(np.float32)
    results = [open_session(path, threads=threads).run(None, {"X": x})[0] for threads in (1, 2, 4)]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    np.testing.assert_allclose(results[0], x @ dense.T, atol=1e-3)


def test_session_options_are_fresh_and_carry_threads():
    assert session_options(threads=3).intra_op_num_threads == 3
    assert session_options() is not session_options()
    for threads in (0, -1, 2**31, 100_000, 1.5):
        with pytest.raises(InputError, match=rf"threads is {threads}; give a whole number from 1 to 512"):
            session_options(threads=threads)


def test_pinned_threads_have_a_core_each(tmp_path, monkeypatch):
    """ONNX Runtime counts cores from 1; the caller's own thread is one of them and is not in the list."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 2, 7}, raising=False)
    entry = "session.intra_op_thread_affinities"
    options = session_options(threads=3, pin_threads=True)
    assert (options.intra_op_num_threads, options.get_session_config_entry(entry)) == (3, "6;8")
    assert session_options(pin_threads=True).get_session_config_entry(entry) == "6;8"
    with pytest.raises(RuntimeError):  # one thread: the caller's
        session_options(threads=1, pin_threads=True).get_session_config_entry(entry)
    with pytest.raises(InputError, match=r"4 threads cannot be pinned to 3 cores; give threads=3"):
        session_options(threads=4, pin_threads=True)


def test_a_pinned_session_answers_alike(tmp_path):
    path = make_model(tmp_path / "m.onnx", dense=GOOD)
    free, pinned = (open_session(path, pin_threads=pin) for pin in (False, True))
    x = {"X": np.ones((300, 4), np.float32)}
    assert np.array_equal(free.run(None, x)[0], pinned.run(None, x)[0])


def test_own_options_are_taken_as_they_are(tmp_path):
    """Registered by us, by the user or not at all: one session after the other opens and runs our kernel."""
    path = make_model(tmp_path / "m.onnx", dense=GOOD)  # without a body: it needs the library
    plain, registered = ort.SessionOptions(), ort.SessionOptions()
    registered.register_custom_ops_library(str(library_path()))
    registered.register_custom_ops_library(str(library_path()))
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for options in (plain, plain, registered, session_options()):
        session = open_session(path, options=options, threads=2)
        assert session.run(None, {"X": np.ones((1, 4), np.float32)})[0].tolist() == [[3.0, 3.0, 9.0]]
        assert options.intra_op_num_threads == 2
    assert plain.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    bare = ort.SessionOptions()
    with pytest.raises(InputError, match=r"refused .*PlatonLinear_plain_csr"):
        open_session(path, options=bare, use_library=False)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep names as text")
@pytest.mark.parametrize("name", [b"m.onnx", b"m\xe4.onnx"])
def test_names_need_not_be_utf8(tmp_path, monkeypatch, name):
    """As in a folder from a Latin-1 system, or any non-ASCII one where the locale is C."""
    path = make_model(tmp_path / "m.onnx", dense=GOOD)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/pl\xe4ce"))
    odd.mkdir()
    moved = path.rename(Path(os.fsdecode(os.fsencode(odd) + b"/" + name)))
    library = Path(shutil.copy(library_path(), odd))
    monkeypatch.setattr("platon_compress.export.session.library_path", lambda: library)
    session = open_session(moved)
    assert session.run(None, {"X": np.ones((1, 4), np.float32)})[0].tolist() == [[3.0, 3.0, 9.0]]


def test_a_library_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch):
    path = make_model(tmp_path / "m.onnx", dense=GOOD)
    broken = tmp_path / "libplaton_ops.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr("platon_compress.export.session.library_path", lambda: broken)
    with pytest.raises(
        InputError, match=r"cannot load the operator library .*; install platon-compress again"
    ):
        open_session(path)


def test_library_is_one_plain_file():
    assert library_path().parent.name == "kernels"


def test_missing_file_and_missing_library(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="there is no model file"):
        open_session(tmp_path / "nothing.onnx")
    path = make_model(tmp_path / "m.onnx", dense=GOOD)
    with pytest.raises(InputError, match=r"refused .*PlatonLinear_plain_csr"):
        open_session(path, use_library=False)
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    with pytest.raises(InputError, match="operator library is not built"):
        library_path()


def test_missing_onnxruntime_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'platon-compress\[cpu\]'"):
        session_options()


def test_library_registers_beside_a_second_session(tmp_path):
    path = make_model(tmp_path / "m.onnx", dense=GOOD)
    sessions = [open_session(path) for _ in range(3)]
    assert isinstance(sessions[0], ort.InferenceSession)
    x = np.ones((1, 4), np.float32)
    assert [session.run(None, {"X": x})[0].tolist() for session in sessions] == [[[3.0, 3.0, 9.0]]] * 3
