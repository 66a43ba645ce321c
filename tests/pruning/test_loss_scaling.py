"""fp16 with loss scaling: overflows are skipped and counted, and never reach the averages."""

import pytest
import torch
import transformers
from accelerate.optimizer import AcceleratedOptimizer
from tiny_trainers import tiny_trainer
from torch import nn

from platon_compress.pruning import PlatonCallback, PruneConfig, Pruner

_STEPS = 30


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(x)))


def _net():
    torch.manual_seed(0)
    return nn.Sequential(_Block(), _Block())


def _config(**settings):
    return PruneConfig(**{"sparsity": 0.5, "total_steps": _STEPS, "mask_interval": 2, **settings})


def _finite(pruner):
    state = pruner.state_dict()
    fields = ("window", "sensitivity_ema", "uncertainty_ema")
    return all(bool(t.isfinite().all()) for field in fields for t in state[field].values())


def test_overflow_in_a_raw_fp16_loop():
    """The scale begins far too high for float16, so the first steps overflow until it has come down."""
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    pruner = Pruner(net, _config())
    skipped = []
    for step in range(_STEPS):
        before = net[0].first.weight.detach().clone()
        with torch.autocast("cpu", dtype=torch.float16):
            x = torch.randn(4, 8, generator=torch.Generator().manual_seed(step))
            assert net[0].first(x).dtype == torch.float16
            loss = net(x).square().mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        report = pruner.step()
        optimizer.zero_grad()
        skipped.append(report.skipped)
        assert torch.equal(before, net[0].first.weight) is (report.skipped and not report.masked)
        assert _finite(pruner)
    assert 3 <= sum(skipped) < _STEPS
    assert skipped == sorted(skipped, reverse=True)
    assert (pruner.steps, pruner.skipped_steps) == (_STEPS, sum(skipped))
    assert pruner.count_zeros() == pruner.size // 2


def test_overflow_outside_of_what_is_pruned():
    """The scaler skips the optimiser for an infinity anywhere; the pruner is told, for its own gradients are finite."""
    net, head = _net(), nn.Linear(8, 2)
    optimizer = torch.optim.SGD([*net.parameters(), *head.parameters()], lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    pruner = Pruner(net, _config())
    for step in range(_STEPS):
        scaler.scale(head(net(torch.randn(4, 8))).square().mean()).backward()
        if step == 4:
            head.weight.grad[0, 0] = float("inf")
        before, window = scaler.get_scale(), pruner.state_dict()["window"]["0.first.weight"]
        scaler.step(optimizer)
        scaler.update()
        report = pruner.step(skipped=scaler.get_scale() < before)
        optimizer.zero_grad()
        assert report.skipped is (step == 4)
        if report.skipped:
            assert torch.equal(pruner.state_dict()["window"]["0.first.weight"], window)
    assert (pruner.steps, pruner.skipped_steps) == (_STEPS, 1)
    assert pruner.count_zeros() == pruner.size // 2


class _Watching(transformers.TrainerCallback):
    """Puts an infinity into the classifier's gradient, and notes at which steps the first weight stood still."""

    def __init__(self, overflows):
        self.overflows, self.still, self.before = overflows, [], None

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.before = model.bert.encoder.layer[0].attention.self.query.weight.detach().clone()
        if state.global_step + 1 in self.overflows:
            model.classifier.weight.grad[0, 0] = float("inf")

    def on_optimizer_step(self, args, state, control, model=None, optimizer=None, **kwargs):
        assert isinstance(optimizer, AcceleratedOptimizer)
        if torch.equal(model.bert.encoder.layer[0].attention.self.query.weight, self.before):
            self.still.append(state.global_step + 1)


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
@pytest.mark.parametrize("overflows", [[1, 2, 7, 20], [8, 9]])
def test_the_callback_follows_the_optimizer(tmp_path, optim, overflows):
    """With a real scaler in accelerate's optimizer, and the overflow where the pruner does not look.

    A fused optimizer does not set `step_was_skipped`, and leaves the gradients scaled. [8, 9] is a whole window.
    """
    trainer = tiny_trainer(tmp_path, max_steps=_STEPS, max_grad_norm=0.0, optim=optim)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    callback = PlatonCallback(_config(total_steps=None, beta1=0.0, criterion="sensitivity")).attach(trainer)
    watching, largest = _Watching(overflows), _Largest(callback)
    trainer.callback_handler.callbacks.insert(0, watching)
    trainer.add_callback(largest)
    trainer.train()
    pruner = callback.pruner
    assert watching.still == overflows
    assert (pruner.steps, pruner.skipped_steps) == (_STEPS, len(overflows))
    assert _finite(pruner)
    assert largest.value < 0.1  # one gradient left scaled would bring in 65536 times as much
    assert pruner.count_zeros() == pruner.size // 2


class _Largest(transformers.TrainerCallback):
    """The largest sensitivity that the pruner ever held."""

    def __init__(self, owner):
        self.owner, self.value = owner, 0.0

    def on_optimizer_step(self, args, state, control, **kwargs):
        averages = self.owner.pruner.state_dict()["sensitivity_ema"].values()
        self.value = max(self.value, *(float(t.abs().max()) for t in averages))
