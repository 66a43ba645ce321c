"""The plan in terminals of any width."""

import json
import os
import pty
import subprocess
import sys
import threading

import pytest

from platon_compress.pipeline.plan_view import layer_lines, layer_rows
from platon_compress.planning import Form, LayerPlan, Plan, PlanConfig

_CSR = (
    "2 of 12 heads of deberta.encoder.layer.3 are all zero and are removed exactly; CSR is expected to be 3.41x (table: "
    "768x768, 128 tokens, 2 threads) as fast as dense; 9.8% of 640x768 is not zero"
)
_DENSE = "no CSR: cuda was forced; 100.0% of 3072x768 is not zero"


def _plan():
    layers = tuple(
        LayerPlan(
            name=f"deberta.encoder.layer.{block}.{kind}.weight", group=None, shape=shape, density=density, form=form,
            kept=None, expected_speedup=speedup, reason=reason,
        )
        for block in range(12)
        for kind, shape, density, form, speedup, reason in (
            ("attention.self.pos_query_proj", (768, 768), 0.098, Form.CSR, 3.41, _CSR),
            ("intermediate.dense", (3072, 768), 1.0, Form.DENSE, None, _DENSE),
            ("output.dense", (768, 3072), 1.0, Form.DENSE, 1.0, _DENSE),
        )
    )  # fmt: skip
    return Plan(layers=layers, config=PlanConfig(tokens=128))


@pytest.mark.parametrize("width", [79, 99, 139])
def test_lines_fit_and_nothing_is_lost(width):
    lines = layer_lines(_plan(), width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert (
        text.count(
            "deberta.encoder.layer.3 are all zero and are removed exactly; CSR is expected to be 3.41x (table:"
        )
        == 12
    )
    assert lines[2].split() == ["0.attention.self.pos_query_proj", "768x768", "9.8%", "csr", "3.4x"]
    assert "is not zero" not in text


def test_neighbours_with_one_reason_share_it():
    lines = layer_lines(_plan(), 79)
    assert sum("cuda was forced" in line for line in lines) == 12
    first = next(i for i, line in enumerate(lines) if line.startswith("0.intermediate"))
    assert lines[first + 1].startswith("0.output.dense")
    assert lines[first + 2] == "    no CSR: cuda was forced"


def test_rows_leave_the_name_of_a_single_layer():
    single = Plan(layers=_plan().layers[:1], config=PlanConfig(tokens=128))
    assert layer_rows(single)[0][0] == "pos_query_proj"


def test_a_terminal_of_80_columns_gets_no_longer_line():
    """In a real pseudo-terminal, as a person sees it."""
    pytest.importorskip("fcntl")
    import fcntl
    import struct
    import termios

    script = (
        "import json, sys\n"
        "from platon_compress.pipeline.plan_view import show_plan\n"
        "from platon_compress.pipeline.reporter import Reporter\n"
        "from platon_compress.planning import Plan\n"
        "show_plan(Plan.from_dict(json.loads(sys.argv[1])), Reporter())\n"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = []

    def read():
        try:
            while chunk := os.read(ours, 65536):
                shown.append(chunk)
        except OSError:  # Linux's way to say that the other side is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")} | {
        "PYTHONSAFEPATH": "1"
    }
    command = [sys.executable, "-c", script, json.dumps(_plan().to_dict())]
    done = subprocess.run(
        command, stdout=theirs, stderr=subprocess.PIPE, env={**environment, "TERM": "xterm"}, check=False
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 0, done.stderr
    lines = b"".join(shown).decode().splitlines()
    assert len(lines) > 36
    assert max(map(len, lines)) < 80
