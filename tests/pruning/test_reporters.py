"""What reaches TensorBoard, read back from its event files."""

import struct

import pytest
from tiny_trainers import tiny_trainer

from platon_compress.pruning import PlatonCallback, PruneConfig

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed (extra [test])")

_STEPS = 16


def _scalars(folder):
    """Tag -> [(step, value)]: records of a length, its checksum, an event and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in folder.rglob("events.out.*"):
        data, start = path.read_bytes(), 0
        while start < len(data):
            (length,) = struct.unpack_from("<Q", data, start)
            event = Event.FromString(data[start + 12 : start + 12 + length])
            start += 16 + length
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_the_figures_of_every_step_reach_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trainer = tiny_trainer(tmp_path, report_to=["tensorboard"])
    callback = PlatonCallback(PruneConfig(sparsity=0.8, mask_interval=2), log_layers=True).attach(trainer)
    trainer.train()
    scalars = _scalars(tmp_path)
    assert [step for step, _ in scalars["train/sparsity"]] == list(range(1, _STEPS + 1))
    assert scalars["train/sparsity"][-1][1] == pytest.approx(0.8)
    assert scalars["train/achieved_sparsity"][-1][1] == pytest.approx(0.8, abs=1e-3)
    masked = [step for step, _ in scalars["train/threshold"]]
    assert masked == list(range(masked[0], _STEPS + 1))
    assert all(value > 0 for _, value in scalars["train/threshold"])
    for name in ("mask_churn", "regrown", "layer_sparsity_min", "layer_sparsity_max", "skipped_steps"):
        assert f"train/{name}" in scalars
    for name, share in callback.pruner.layer_sparsity().items():
        assert scalars[f"train/layer_sparsity/{name}"][-1] == (_STEPS, pytest.approx(share))
