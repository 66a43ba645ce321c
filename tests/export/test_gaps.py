"""Packed weights: they come back, take hardly more than they must, mean the same everywhere, and are checked."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from packed_layers import exact_answer, packed_layer, random_bytes, rows_of

from platon_compress.export import open_session
from platon_compress.export.gaps import GAP_BITS, decode_gaps, encode_gaps, pack, unpack
from platon_compress.export.quantize import gap_arrays
from platon_compress.formats.csr import CsrWeight

_ROWS, _COLUMNS = 13, 37


@pytest.mark.parametrize("bits", GAP_BITS)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 250])
def test_codes_come_back(bits, count):
    codes = np.random.default_rng(count).integers(0, 2**bits, count)
    packed = pack(codes, bits)
    assert packed.size == -(-count // 8) * bits
    back = unpack(packed, bits)
    assert np.array_equal(back[:count], codes)
    assert not back[count:].any()


@pytest.mark.parametrize("bits", GAP_BITS)
@pytest.mark.parametrize("density", [0.001, 0.1, 0.5, 1.0])
def test_positions_come_back(bits, density):
    positions = np.flatnonzero(np.random.default_rng(bits).random(5000) < density)
    used, data = encode_gaps(positions, [bits])
    assert used == bits
    assert np.array_equal(decode_gaps(data, bits), positions)


def test_one_bit_is_the_mask_up_to_its_last_non_zero():
    mask = np.array([0, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0], bool)
    _, data = encode_gaps(np.flatnonzero(mask), [1])
    assert np.array_equal(data, np.packbits(mask, bitorder="little"))


@pytest.mark.parametrize(
    ("size", "bits", "reason"), [(6, 0, "1 to 8 bits, got 0"), (6, 9, "got 9"), (7, 3, "whole groups")]
)
def test_bytes_that_are_no_codes_are_refused(size, bits, reason):
    with pytest.raises(ValueError, match=reason):
        decode_gaps(np.zeros(size, np.uint8), bits)


@pytest.mark.parametrize(("density", "bits"), [(0.5, 1), (0.2, 3), (0.1, 4), (0.05, 6), (0.01, 8)])
def test_the_smallest_is_near_the_bound(density, bits):
    """The entropy of a random mask."""
    size = 400_000
    positions = np.flatnonzero(np.random.default_rng(0).random(size) < density)
    found, data = encode_gaps(positions)
    rest = 1 - density
    bound = -size * (density * np.log2(density) + rest * np.log2(rest)) / 8
    assert found == bits
    assert bound < data.size * 1.01 < 1.12 * bound


@pytest.mark.parametrize("bits", GAP_BITS)
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
def test_every_width_gives_the_exact_numbers(bits, density, tmp_path):
    dense = random_bytes(_ROWS, _COLUMNS, density)
    onnx.save(packed_layer(dense, bits), tmp_path / "one.onnx")
    x = rows_of(_COLUMNS)
    wanted = exact_answer(x, dense)
    for library in (True, False):
        session = open_session(tmp_path / "one.onnx", use_library=library)
        assert np.array_equal(session.run(None, {"X": x})[0], wanted)
    assert np.array_equal(ReferenceEvaluator(onnx.load(tmp_path / "one.onnx")).run(None, {"X": x})[0], wanted)


def test_more_columns_than_16_bits_count(tmp_path):
    dense = random_bytes(4, 70_001, 0.01)
    onnx.save(packed_layer(dense), tmp_path / "one.onnx")
    x = rows_of(70_001)
    wanted = exact_answer(x, dense)
    assert np.array_equal(open_session(tmp_path / "one.onnx").run(None, {"X": x})[0], wanted)


def test_another_runtime_holds_a_dense_weight(tmp_path):
    """Nothing is unpacked in a call: what is constant is folded when the file is opened."""
    onnx.save(packed_layer(random_bytes(_ROWS, _COLUMNS)), tmp_path / "one.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "stock.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "one.onnx"), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "stock.onnx").graph
    assert not {"Gather", "BitShift", "BitwiseAnd", "CumSum", "ScatterElements"} & {
        node.op_type for node in graph.node
    }
    dense = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    assert any(np.array_equal(array, random_bytes(_ROWS, _COLUMNS).T) for array in dense)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_the_specification_unpacks_it(bits):
    """docs/operator.md gives the rules as a program."""
    page = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()
    program: dict = {}
    exec(re.search(r"```python\n(import numpy.*?)```", page, re.DOTALL)[1], program)
    dense = random_bytes(_ROWS, _COLUMNS)
    csr = CsrWeight.from_dense(dense.astype(np.float32))
    values, gaps, _ = gap_arrays(csr.values, csr.columns, csr.row_starts, _COLUMNS, [bits])
    assert np.array_equal(program["weight"](values, gaps, bits, *dense.shape), dense)


def _with_bit(data, place):
    """`data` with the highest bit of a byte set."""
    changed = data.copy()
    changed[place] |= 0x80
    return changed


_DENSE = random_bytes(_ROWS, _COLUMNS)
_CSR = CsrWeight.from_dense(_DENSE.astype(np.float32))
_VALUES, _GAPS, _ = gap_arrays(_CSR.values, _CSR.columns, _CSR.row_starts, _COLUMNS, [3])
_COUNT = _CSR.values.size
_SKIPS = np.zeros(39_000, np.uint8)


@pytest.mark.parametrize(
    ("attributes", "changes", "message"),
    [
        ({"gap_bits": 0}, {}, r"gap_bits must be in \[1, 8\], got 0"),
        ({"gap_bits": 9}, {}, r"gap_bits must be in \[1, 8\], got 9"),
        ({"gap_bits": -(2**63)}, {}, r"gap_bits must be in \[1, 8\], got -9223372036854775808"),
        ({"gap_bits": 7}, {}, f"gaps must be groups of 7 bytes, got {_GAPS.size} bytes"),
        ({"gap_bits": 1}, {}, "gaps are of more non-zeros than there are values"),
        ({"in_features": 5}, {}, "gaps lead beyond the last row"),
        ({"in_features": 0}, {}, r"in_features must be in \[1, 2147483646\], got 0"),
        ({"in_features": 2**30}, {}, "the matrix must have at most 2147481600 elements, got 13 x 1073741824"),
        ({"out_features": 2**31 - 2}, {}, f"row_scales must have out_features = 2147483646 entries, got {_ROWS}"),
        ({}, {"gaps": _GAPS[:-1]}, "gaps must be groups of 3 bytes"),
        ({}, {"gaps": _GAPS[:-3]}, f"values must have .* bytes for .* non-zeros, got {_VALUES.size}"),
        ({}, {"gaps": np.append(_GAPS, np.zeros(3, np.uint8))}, "gaps must end with the last non-zero's"),
        ({}, {"gaps": _GAPS[:0]}, f"values must have 0 bytes for 0 non-zeros, got {_VALUES.size}"),
        ({}, {"gaps": _SKIPS}, "gaps must end with the last non-zero's"),
        ({}, {"gaps": np.append(_SKIPS, _GAPS)}, "gaps lead beyond the last row"),
        ({}, {"values": _VALUES[:-1]}, "values must be groups of 7 bytes"),
        ({}, {"values": _VALUES[:-7]}, "gaps are of more non-zeros than there are values"),
        ({}, {"values": np.append(_VALUES, _VALUES[:7])}, f"values must have {_VALUES.size} bytes for {_COUNT}"),
        ({}, {"values": np.zeros_like(_VALUES)}, "values must be within -63 to 63, got -64 in row 1"),
        ({}, {"values": _with_bit(_VALUES, -1)}, "values behind the last non-zero's must be filled with zeros"),
        ({}, {"values": _VALUES.astype(np.int8)}, "Type Error|type"),
        ({}, {"gaps": _GAPS[None]}, "gaps must have one dimension, got 2"),
        ({}, {"row_scales": np.zeros(_ROWS, np.float32)}, r"row_scales must be positive and finite, got 0\.0+"),
        ({}, {"row_scales": np.ones(2, np.float32)}, f"row_scales must have out_features = {_ROWS} entries, got 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(attributes, changes, message, tmp_path):
    onnx.save(packed_layer(_DENSE, 3, attributes, **changes), tmp_path / "bad.onnx")
    with pytest.raises(Exception, match=message):
        open_session(tmp_path / "bad.onnx")
