"""Cutting the innermost loop out of assembly, and the study where its tools are installed."""

import json
import shutil

import mca
import pytest
from tables.mca import mca_tables

from platon_compress.errors import InputError

ASSEMBLY = """
.L1:
\tvaddps %ymm0, %ymm1, %ymm0
.L2:
\tvfmadd231ps (%rax), %ymm1, %ymm0
\t.p2align 4
\tvfmadd231ps 32(%rax), %ymm1, %ymm2
\tjne\t.L2
\tvfmadd231ps (%rax), %ymm1, %ymm0
\tvfmadd231ps (%rax), %ymm1, %ymm0
\tjne\t.L1
.L3:
\tvfmadd231ps (%rax), %ymm1, %ymm0
\tjne\t.L3
\tje\t.L9
.L9:
"""


def test_the_innermost_loop_with_the_most_multiplies_is_cut_out():
    body = mca.innermost_loop(ASSEMBLY.splitlines())
    assert [line.split()[0] for line in body] == ["vfmadd231ps", "vfmadd231ps", "jne"]
    with pytest.raises(InputError, match="no loop with multiply-adds"):
        mca.innermost_loop(["\tret"])


@pytest.mark.skipif(not (shutil.which("g++") and shutil.which("llvm-mca")), reason="needs g++ and llvm-mca")
def test_every_loop_is_found_and_estimated(tmp_path, capsys):
    assert mca.main(["-o", str(tmp_path), "--processors", "icelake-server"]) == 0
    result = json.loads((tmp_path / "mca.json").read_text())
    cycles = {row["kernel"]: row["cycles"] for row in result["rows"]}
    assert set(cycles) == {loop.title for loop in mca.LOOPS}
    assert cycles["8 bits, AVX2"] < cycles["float32, AVX2"]
    assert cycles["8 bits, AVX-512 with VNNI"] < cycles["8 bits, AVX2"]
    ((_, *rows),) = (str(table).strip().splitlines()[1:] for table in mca_tables({"mca": result}))
    assert len(rows) == len(cycles)
    assert "cycles for a non-zero and 64 tokens" in capsys.readouterr().out
