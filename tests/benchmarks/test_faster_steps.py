"""Training steps in bfloat16, with and without dropout, and in float32, in turn."""

import json

import faster_steps
import pytest
import torch
from training import TrainingBenchConfig, train_step, training_model

SIZE = TrainingBenchConfig(hidden=32, layers=1, heads=2, inner=64, batch=2, tokens=8)


def test_the_study_writes_a_row_for_each_size(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(faster_steps, "_SIZES", {"tiny": SIZE})
    monkeypatch.setattr(faster_steps, "_ROWS", ((2, 8), (1, 16)))
    assert faster_steps.main(["-o", str(tmp_path), "--runs", "6", "--threads", "1"]) == 0
    result = json.loads((tmp_path / "faster-steps.json").read_text())
    assert [(row["model"], row["batch"], row["tokens"]) for row in result["rows"]] == [
        ("tiny", 2, 8),
        ("tiny", 1, 16),
    ]
    for row in result["rows"]:
        assert {name: len(samples) for name, samples in row["samples_seconds"].items()} == {
            "float32": 6,
            "bfloat16": 6,
            "bfloat16, no dropout": 6,
        }
        assert set(row["ratios"]) == {"bfloat16", "bfloat16, no dropout"}
    assert "tiny, 2 x 8 tokens, over float32: bfloat16 " in capsys.readouterr().out


@pytest.mark.parametrize("bf16", [False, True])
def test_gradients_are_float32_and_rounded_only_in_bfloat16(bf16):
    torch.manual_seed(0)
    model, batch = training_model(SIZE)
    model.eval()
    train_step(model, batch)
    exact = [parameter.grad.clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(parameter.grad, alpha=1e-3)
    train_step(model, batch, bf16=bf16)
    given = [parameter.grad for parameter in model.parameters()]
    assert {gradient.dtype for gradient in given} == {torch.float32}
    error = max(
        float((a - b).abs().max() / a.abs().max().clamp(min=1e-3)) for a, b in zip(exact, given, strict=True)
    )
    assert (error > 1e-3) == bf16
    assert error < 0.2
