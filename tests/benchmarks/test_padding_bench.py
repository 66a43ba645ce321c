"""Batches of real lengths, and the comparison of padded, bucketed and unpadded runs."""

import pytest

from platon_compress.benchmarks.padding_bench import benchmark_padding, padded_batches
from platon_compress.errors import InputError
from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.testing import tiny_transformer


def test_batches_are_padded_to_their_longest():
    batches = padded_batches([3, 9, 5, 2, 7], 2)
    assert [batch["input_ids"].shape for batch in batches] == [(2, 9), (2, 5), (1, 7)]
    assert [batch["attention_mask"].sum(1).tolist() for batch in batches] == [[3, 9], [5, 2], [7]]
    bucketed = padded_batches([3, 9, 5, 2, 7], 2, bucketed=True)
    assert [batch["input_ids"].shape for batch in bucketed] == [(2, 3), (2, 7), (1, 9)]


def test_sides_and_ratios(tmp_path):
    model, inputs = tiny_transformer("bert")
    files = {
        "dense": export_onnx(model, tmp_path / "dense.onnx", inputs).path,
        "unpadded": export_onnx(model, tmp_path / "u.onnx", inputs, ExportConfig(remove_padding=True)).path,
    }
    result = benchmark_padding(
        files, [3, 9, 5, 2], batch_size=2, threads=1, runs=2, warmup=1, pause_seconds=0
    )
    assert list(result["samples"]) == [
        "dense, padded",
        "dense, bucketed",
        "unpadded, padded",
        "unpadded, bucketed",
    ]
    assert result["valid_share"] == 19 / 28
    assert [ratio["baseline"] for ratio in result["ratios"]] == ["dense, padded"] * 3


@pytest.mark.parametrize(("lengths", "size"), [([], 2), ([3, 0], 2), ([3], 0)])
def test_refuses_impossible_lengths(lengths, size):
    with pytest.raises(InputError, match="padding needs lengths >= 1 and a batch size >= 1"):
        padded_batches(lengths, size)
