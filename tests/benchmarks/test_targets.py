import json

import pytest
from targets import TARGETS, main, rounds, target_lines

from platon_compress.measure import model_bench
from platon_compress.measure.session_probe import ColdStart


@pytest.fixture
def tiny(tiny_target, monkeypatch):
    pytest.importorskip("torch")
    start = ColdStart(load_seconds=0.1, first_seconds=0.01, session_bytes=1000, peak_bytes=2000)
    monkeypatch.setattr(model_bench, "probe_session", lambda *args, **kwargs: start)
    return tiny_target(cells={(1, 4): {0.9: (1e-9, 1e9)}, (2, 4): {0.9: (1e9, 1e9)}})


@pytest.mark.usefixtures("tiny")
def test_measures_prints_and_keeps_results(tmp_path, capsys):
    arguments = ["-o", str(tmp_path / "results"), "--onnx", str(tmp_path / "onnx"), "--models", "tiny"]
    arguments += ["--sparsity", "0.9", "--runs", "6", "--threads", "1"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 cells, into ")
    assert lines[1].startswith("Tiny, batch 1, 4 tokens, 90%: ")
    assert lines[1].endswith("goal 1000000000.0x: floor reached")
    assert lines[3].endswith(": below the floor")
    names = ["tiny-random-90-batch1-tokens4.json", "tiny-random-90-batch2-tokens4.json"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == names
    content = json.loads((tmp_path / "results" / names[0]).read_text())
    assert (content["title"], content["masks"], content["sparsity"]) == ("Tiny", "random", 0.9)
    # bert.encoder has 6 linears per block, all of them forced to CSR.
    assert content["variants"]["compressed"]["size"]["sparse_index_bytes"] > 0


def test_unknown_target_is_refused(tmp_path, capsys):
    assert main(["-o", str(tmp_path), "--models", "gpt-2"]) == 2
    assert "no target 'gpt-2'; choose from minilm-l6, bert-base, vit-b16" in capsys.readouterr().err


def test_every_cell_has_rising_floors():
    for target in TARGETS.values():
        for floors in target.cells.values():
            assert list(floors) == [0.8, 0.9, 0.95]
            assert all(floor < goal for floor, goal in floors.values())


def test_lines_need_a_ratio():
    class Report:
        settings = ()
        baseline = "dense"

    assert list(target_lines(TARGETS["bert-base"], 0.9, Report())) == []


def test_long_inputs_get_fewer_rounds():
    assert [rounds(50, *cell) for cell in ((1, 16), (1, 128), (1, 384), (8, 128), (1, None))] == [
        50,
        50,
        16,
        12,
        50,
    ]
