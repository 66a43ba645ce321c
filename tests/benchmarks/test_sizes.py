"""The study of sizes on a tiny model: every form is there, and ours come near the bound."""

import json

import pytest
import sizes
from tables.sizes import size_tables


def test_a_tiny_model(tiny_target, tmp_path, capsys):
    tiny_target(hidden_size=64, intermediate_size=256, vocab_size=1500)
    flags = ["--model", "tiny", "--sparsity", "0.5,0.9", "--name", "sizes"]
    assert sizes.main([*flags, "-o", str(tmp_path), "--onnx", str(tmp_path / "models")]) == 0
    result = json.loads((tmp_path / "sizes.json").read_text())
    found = {(row["form"], row["embeddings"], row["sparsity"]): row["bytes"] for row in result["rows"]}
    assert len(found) == len(result["rows"]) == 2 * (4 + 2 * (len(sizes.ENCODINGS) + 2))
    assert found["dense float32", "float32", 0.5] == found["dense float32", "float32", 0.9]
    assert found["dense float16", "float16", 0.5] < 0.7 * found["dense float32", "float32", 0.5]
    for sparsity in (0.5, 0.9):
        smallest = found["compressed, 8 bits, smallest", "int8", sparsity]
        assert found["bound with 7 bits a value", "int8", sparsity] < smallest
        assert smallest < 1.05 * found["bound with 7 bits a value", "int8", sparsity]
        assert smallest <= found["compressed, 8 bits, mask", "int8", sparsity]
        assert smallest <= found["compressed, 8 bits, gaps", "int8", sparsity]
        before = found["compressed, 8 bits, smallest", "float32", sparsity]
        assert before - smallest == pytest.approx(1500 * (64 * 3 - 4), rel=0.01)
    bound = next(row for row in result["rows"] if row["form"] == "bound with 7 bits a value")
    assert bound["nonzeros"] == pytest.approx(0.5 * (4 * 64 * 64 + 2 * 64 * 256), rel=0.05)
    # 7 bits, and two of the mask: half of its elements are no zeros.
    assert bound["packed_bytes"] / bound["nonzeros"] == pytest.approx(9 / 8, rel=0.03)
    table = str(next(size_tables({"sizes": result})))
    assert "| Tiny, MB | embeddings | 50% zeros | 90% zeros |" in table
    assert table.count("\n") == 2 + 4 + 2 * (len(sizes.ENCODINGS) + 2)
    assert "50%, compressed, 8 bits, smallest, embeddings int8" in capsys.readouterr().out
