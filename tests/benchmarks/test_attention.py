"""The study of attention in 8 bits on one tiny size; its numbers are only checked against each other."""

import json

import attention
from tables.attention import attention_tables

from platon_compress.library import supported_kernels


def test_one_size(tmp_path, capsys):
    assert attention.main(["--sizes", "2x9", "--runs", "3", "-o", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "attention.json").read_text())
    (row,) = result["rows"]
    sets = supported_kernels()[1:]
    assert set(row["seconds"]) == {
        f"{products} {kernel}" for products in ("float32", "int8") for kernel in sets
    }
    assert [ratio["candidate"] for ratio in row["ratios"]] == [f"int8 {kernel}" for kernel in sets]
    ((_, table),) = attention_tables({"attention": result})
    assert str(table).strip().splitlines()[-1].startswith("| 9 x 2 | 1 | ")
    assert "2 x 9, threads 1: " in capsys.readouterr().out


def test_other_sizes_are_refused(tmp_path, capsys):
    assert attention.main(["--sizes", "384", "-o", str(tmp_path)]) == 2
    assert "a size must be batch x tokens, as 8x128, got '384'" in capsys.readouterr().err
