"""200 steps of a two-layer BERT on real data, bit by bit against the formulas written out naively in float32.

The reference here allocates freely, holds all scores in one vector and sorts it at every mask.
"""

import pytest
import torch

from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.testing import tiny_transformer

pytestmark = pytest.mark.train
_STEPS = 200


class _WrittenOut:
    """PLATON as its formulas read, for the parameters named, which change in place.

    `as_published`: the window of the authors' program, which holds a zero for t = 0 and is consumed one step late,
    and their mask, which keeps everything that is not below the k-th smallest score.
    """

    def __init__(self, weights, config, *, as_published):
        self.weights, self.config, self.as_published = weights, config, as_published
        self.mean = {name: torch.zeros_like(w) for name, w in weights.items()}
        self.smooth = {name: torch.zeros_like(w) for name, w in weights.items()}
        self.doubt = {name: torch.zeros_like(w) for name, w in weights.items()}
        self.t, self.samples, self.closed = 0, int(as_published), False

    @torch.no_grad()
    def step(self):
        self.t += 1
        ends = self.t % self.config.mask_interval == 0
        if ends and self.as_published:
            self._close()
        for name, weight in self.weights.items():
            sample = (weight * weight.grad).abs()
            if self.as_published:
                self.mean[name] = (self.mean[name] * self.samples + sample) / (self.samples + 1)
            else:
                self.mean[name] = self.mean[name] + sample
        self.samples += 1
        if ends and not self.as_published:
            self.mean = {name: total / self.samples for name, total in self.mean.items()}
            self._close()
        keep, due = self._schedule()
        return self._mask(1 - keep) if due and (self.closed or self.as_published) else None

    def _close(self):
        b1, b2 = self.config.beta1, self.config.beta2
        for name, mean in self.mean.items():
            self.smooth[name] = b1 * self.smooth[name] + (1 - b1) * mean
            self.doubt[name] = b2 * self.doubt[name] + (1 - b2) * (mean - self.smooth[name]).abs()
        self.mean = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.samples, self.closed = 0, True

    def _schedule(self):
        first, last = self.config.initial_warmup_steps, _STEPS - self.config.final_warmup_steps
        target = 1 - self.config.sparsity
        if self.t <= first:
            return 1.0, False
        if self.t > last:
            return target, True
        left = 1 - (self.t - first) / (last - first)
        return target + (1 - target) * left**3, self.t % self.config.mask_interval == 0

    def _mask(self, sparsity):
        scores = torch.cat([(self.smooth[name] * self.doubt[name]).flatten() for name in self.weights])
        ordered, places = scores.sort(stable=True)
        count = int(len(scores) * sparsity)
        cut = ordered[count - 1]
        gone = scores < cut
        if not self.as_published:
            gone = torch.zeros_like(gone).index_fill_(0, places[:count], True)
        for weight in self.weights.values():
            weight[gone[: weight.numel()].view(weight.shape)] = 0
            gone = gone[weight.numel() :]
        return float(cut)


def _digits(step):
    """The upper 32 pixels of real handwritten digits as tokens, and whether the digit is odd."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(step))[:16]
    return torch.tensor(images[rows, :32]).long() + 3, torch.tensor(labels[rows]) % 2


def _model():
    model, _ = tiny_transformer("bert")
    return model, torch.optim.AdamW(model.parameters(), lr=2e-3)


def _update(model, optimizer, step):
    ids, labels = _digits(step)
    model(input_ids=ids, labels=labels).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@pytest.mark.parametrize("as_published", [True, False])
@pytest.mark.parametrize(
    ("sparsity", "interval", "beta2"), [(0.9, 10, 0.95), (0.75, 7, 0.85), (0.5, 1, 0.65)]
)
def test_every_step_is_bit_identical(as_published, sparsity, interval, beta2):
    config = PruneConfig(
        sparsity=sparsity, total_steps=_STEPS, initial_warmup_steps=20, final_warmup_steps=50,
        mask_interval=interval, beta2=beta2, include_biases=True, reference_compat=as_published,
    )  # fmt: skip
    (ours, optimizer), (theirs, other) = _model(), _model()
    pruner = Pruner(ours, config)
    named = dict(theirs.named_parameters())
    naive = _WrittenOut({name: named[name] for name in pruner.names}, config, as_published=as_published)
    masks = 0
    for step in range(1, _STEPS + 1):
        _update(ours, optimizer, step)
        _update(theirs, other, step)
        report, threshold = pruner.step(), naive.step()
        assert report.threshold == threshold
        masks += report.masked
        state = pruner.state_dict()
        for name, weight in ours.named_parameters():
            assert torch.equal(weight, named[name]), (step, name)
        for field, values in (("sensitivity_ema", naive.smooth), ("uncertainty_ema", naive.doubt)):
            for name, tensor in state[field].items():
                assert torch.equal(tensor, values[name]), (step, field, name)
        optimizer.zero_grad()
        other.zero_grad()
    assert masks > 50
    zeros = sum(int((named[name] == 0).sum()) for name in pruner.names)
    assert zeros == int(pruner.size * sparsity) - as_published
