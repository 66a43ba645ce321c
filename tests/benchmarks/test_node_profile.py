"""Time by operator, from ONNX Runtime's profile."""

import onnx
import pytest
from node_profile import main, profile_nodes

from platon_compress.errors import InputError


@pytest.fixture
def path(tmp_path):
    text = (
        '<ir_version: 10, opset_import: ["" : 18]> g (float[B, 64] x) => (float[B, 64] y) '
        "{ a = Softmax (x)\n b = Cos (a)\n c = Sin (b)\n y = Cos (c) }"
    )
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_every_operator_of_one_run_is_counted(path):
    profile = profile_nodes(path, batch=3, tokens=None, threads=1, runs=3, warmup=1)
    assert dict(profile.nodes) == {"Softmax": 1, "Cos": 2, "Sin": 1}
    assert 0 < sum(profile.seconds.values()) <= profile.wall_seconds


def test_the_command_prints_a_table(path, capsys):
    assert main([str(path), "--threads", "1", "--runs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(path)
    assert sum("2 x Cos" in line for line in lines) == 1
    assert "all nodes; whole run" in lines[-1]


def test_refuses_no_runs_and_missing_files(path, capsys):
    with pytest.raises(InputError, match="runs must be >= 1, got 0"):
        profile_nodes(path, batch=1, tokens=1, threads=1, runs=0)
    assert main([str(path.with_name("none.onnx"))]) == 2
    assert "there is no model file" in capsys.readouterr().err
