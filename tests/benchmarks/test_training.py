import json

import pytest

pytest.importorskip("torch")

import training
from training import TrainingBenchConfig, run_training_bench

from platon_compress.errors import InputError

_SMALL = TrainingBenchConfig(
    hidden=32, layers=2, heads=2, inner=64, batch=2, tokens=8, steps=20, mask_interval=5, train_runs=2, threads=1,
    linear_millions=(1, 2),
)  # fmt: skip


def test_every_kind_of_step_is_timed_for_both():
    seen = []
    report = run_training_bench(_SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert set(report.ours_seconds) == {"score", "rising_mask", "final_mask", "final_ranking"}
    counts = {kind: len(values) for kind, values in report.ours_seconds.items()}
    assert counts == {kind: len(values) for kind, values in report.naive_seconds.items()}
    assert sum(counts.values()) == 20
    assert counts["final_ranking"] == 2
    assert report.weights == 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert report.state_bytes_per_weight == 12
    assert report.mask_bytes_per_weight == 1
    assert [row["weights"] for row in report.linear] == [1 << 20, 1 << 20]
    data = json.loads(json.dumps(report.to_dict()))
    assert data["ours_share"] > 0
    assert data["naive_ratio"] > 0
    assert data["environment"]["threads"] == 1


@pytest.mark.parametrize("settings", [{"steps": 10}, {"train_runs": 0}])
def test_too_short(settings):
    with pytest.raises(InputError, match="show too little; time at least 40 steps and 1 training run"):
        TrainingBenchConfig(**settings)


def test_bad_size():
    with pytest.raises(InputError, match="layers must be >= 1, got 0"):
        TrainingBenchConfig(layers=0)


def test_the_study_writes_its_result(tmp_path, monkeypatch, capsys):
    report = run_training_bench(_SMALL)
    monkeypatch.setattr(training, "run_training_bench", lambda config, progress: report)
    assert training.main(["-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "training.json").read_text())["weights"] == report.weights
    assert "pruner.step() takes " in capsys.readouterr().out
