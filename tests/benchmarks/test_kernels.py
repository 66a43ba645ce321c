"""The study over the shape files."""

import json

import kernels
import pytest


def test_shape_files_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kernels, "SHAPES", tmp_path)
    layers = [{"layer": "one", "out_features": 16, "in_features": 24}]
    (tmp_path / "tiny.json").write_text(json.dumps({"layers": layers}))
    small = ["--densities", "0.5", "--rows", "8", "--threads", "1", "--runs", "1", "--blocks", "1,4"]
    assert kernels.main(["--models", "tiny", "-o", str(tmp_path / "out"), *small]) == 0
    content = json.loads((tmp_path / "out" / "kernel.json").read_text())
    assert {row["model"] for row in content["rows"]} == {"tiny"}
    assert content["config"]["models"] == ["tiny"]
    assert "tiny" in capsys.readouterr().out
    assert kernels.main(["--models", "huge", "-o", str(tmp_path / "out")]) == 2
    assert "no shapes 'huge'; choose from bert-base, tiny, or add huge.json" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(kernels.SHAPES.glob("*.json")), ids=lambda path: path.stem)
def test_every_shape_file_can_be_read(path):
    from platon_compress.measure.kernel_bench import load_shapes

    assert load_shapes(str(path))
