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

ARM_ASSEMBLY = """
.L1:
\tfmla\tv0.4s, v1.4s, v2.s[1]
\tcbnz\tw0, .L1
.L2:
\tldr\tq0, [x0], 16
\tsdot\tv0.4s, v1.16b, v2.4b[0]
\tsmlal2\tv3.8h, v1.16b, v2.16b
\tb.ne\t.L2
\tb\t.L1
"""


def test_the_innermost_loop_with_the_most_multiplies_is_cut_out():
    body = mca.innermost_loop(ASSEMBLY.splitlines())
    assert [line.split()[0] for line in body] == ["vfmadd231ps", "vfmadd231ps", "jne"]
    with pytest.raises(InputError, match="no loop with multiply-adds"):
        mca.innermost_loop(["\tret"])


def test_loops_of_arm_end_with_other_jumps():
    body = mca.innermost_loop(ARM_ASSEMBLY.splitlines())
    assert [line.split()[0] for line in body] == ["ldr", "sdot", "smlal2", "b.ne"]


@pytest.mark.skipif(not (shutil.which("g++") and shutil.which("llvm-mca")), reason="needs g++ and llvm-mca")
@pytest.mark.multiprocess
def test_every_loop_for_x86_is_found_and_estimated(tmp_path, capsys):
    assert mca.main(["-o", str(tmp_path), "--processors", "icelake-server"]) == 0
    result = json.loads((tmp_path / "mca.json").read_text())
    cycles = {row["kernel"]: row["cycles"] for row in result["rows"]}
    assert set(cycles) == {loop.title for loop in mca.LOOPS if loop.machine == "x86_64"}
    assert cycles["8 bits, AVX2"] < cycles["float32, AVX2"]
    assert cycles["8 bits, AVX-512 with VNNI"] < cycles["8 bits, AVX2"]
    ((_, *rows),) = (str(table).strip().splitlines()[1:] for table in mca_tables({"mca": result}))
    assert len(rows) == len(cycles)
    assert "cycles for a non-zero and 64 tokens" in capsys.readouterr().out


@pytest.mark.skipif(
    not (shutil.which("aarch64-linux-gnu-g++") and shutil.which("llvm-mca")),
    reason="needs aarch64-linux-gnu-g++ and llvm-mca",
)
@pytest.mark.multiprocess
def test_every_loop_for_arm_is_found_and_estimated(tmp_path):
    assert mca.main(["-o", str(tmp_path), "--processors", "neoverse-n1"]) == 0
    result = json.loads((tmp_path / "mca.json").read_text())
    cycles = {row["kernel"]: row["cycles"] for row in result["rows"]}
    assert set(cycles) == {loop.title for loop in mca.LOOPS if loop.machine == "aarch64"}
    assert cycles["8 bits, NEON with dot products"] < cycles["float32, NEON"]
    assert list(result["tools"]) == ["aarch64-linux-gnu-g++", "llvm-mca"]
