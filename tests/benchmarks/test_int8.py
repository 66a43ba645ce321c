"""The study of 8-bit weights on one tiny layer and model; its numbers are only checked against each other."""

import json

import int8


def test_layers_and_a_model(tiny_target, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(int8, "SHAPES", ((24, 40),))
    tiny_target(cells={(1, 8): {}}, hidden_size=32, intermediate_size=64)
    flags = [
        "--models",
        "tiny",
        "--sparsity",
        "0.5",
        "--rows",
        "9",
        "--threads",
        "1",
        "--runs",
        "3",
        "--pauses",
        "1,2",
    ]
    assert int8.main([*flags, "-o", str(tmp_path), "--onnx", str(tmp_path / "models")]) == 0
    result = json.loads((tmp_path / "int8.json").read_text())
    (layer,), (model, later) = result["layers"], result["models"]
    assert (model["pause_ms"], later["pause_ms"]) == (1, 2)
    sides = set(layer["seconds"])
    assert {side.split()[0] for side in sides} == {"float32", "int8"}
    assert {ratio["candidate"] for ratio in layer["ratios"]} == sides - {layer["baseline"]}
    assert all(len(samples) >= 3 for samples in layer["seconds"].values())
    assert set(model["seconds"]) == {"dense", "dense int8", "float32", "int8"}
    assert ", signed " in model["rival"]  # no labels here
    assert (
        model["bytes"]
        == (tmp_path / "models" / "tiny-random-50" / "compressed-int8-short.onnx").stat().st_size
    )
    printed = capsys.readouterr().out
    assert "out_features 24, in_features 40, sparsity 0.5, rows 9" in printed
    assert "model tiny" in printed
