"""What pruning adds to a training step, against the authors' way of computing the same thing.

Both pruners see the same weights' shapes and gradients in one run. Every step of a short schedule is timed for
both, so all kinds of step occur: no mask, a mask while the sparsity rises, a mask with an unchanged ranking, and
a fresh ranking in the final phase. The training step is timed in between.

    python benchmarks/training.py

plot_linearity.py draws the last rows.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from study import add_output, keep, run_study, study_parser, watched

from platon_compress.errors import InputError
from platon_compress.measure.environment import describe_environment
from platon_compress.progress import Progress, silent
from platon_compress.schemas import stamped

if TYPE_CHECKING:
    from platon_compress.pruning import Pruner

__all__ = [
    "TrainingBenchConfig",
    "TrainingBenchReport",
    "main",
    "run_training_bench",
    "train_step",
    "training_model",
]


@dataclass(frozen=True, kw_only=True)
class TrainingBenchConfig:
    """A BERT encoder of the given size, and the run whose steps are timed.

    batch, tokens: size of the training step. steps: pruner steps timed, of which `final_share` lie in the final
    phase. train_runs: training steps timed. linear_millions: sizes for the cost-is-linear rows, in 1e6 weights.
    """

    hidden: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    batch: int = 16
    tokens: int = 128
    steps: int = 40
    final_share: float = 0.3
    mask_interval: int = 10
    sparsity: float = 0.9
    train_runs: int = 3
    threads: int = 2
    linear_millions: tuple[int, ...] = (10, 30, 85, 170, 300)

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "inner", "batch", "tokens", "mask_interval", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be >= 1, got {getattr(self, name)}; correct the setting")
        if self.steps < 4 * self.mask_interval or self.train_runs < 1:
            raise InputError(
                f"{self.steps} steps with mask_interval {self.mask_interval} and {self.train_runs} training runs "
                f"show too little; time at least {4 * self.mask_interval} steps and 1 training run"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingBenchReport:
    """Seconds per step by kind of step, for ours and the authors' way; raw samples kept.

    weights: prunable weights. state_bytes_per_weight and mask_bytes_per_weight are ours, scratch_bytes the
    buffers ours reuses. linear: rows {weights, step_seconds, ranking_seconds}, medians.
    """

    config: TrainingBenchConfig
    weights: int
    train_seconds: tuple[float, ...]
    ours_seconds: dict[str, tuple[float, ...]]
    naive_seconds: dict[str, tuple[float, ...]]
    state_bytes_per_weight: float
    mask_bytes_per_weight: float
    scratch_bytes: int
    linear: tuple[dict[str, float], ...]
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def ours_share(self) -> float:
        """Mean cost of `Pruner.step()` over the schedule, as a share of the median training step."""
        return _mean(self.ours_seconds) / statistics.median(self.train_seconds)

    @property
    def worst_share(self) -> float:
        """The median of the dearest kind of step, as a share of the median training step."""
        return max(statistics.median(v) for v in self.ours_seconds.values()) / statistics.median(
            self.train_seconds
        )

    @property
    def naive_ratio(self) -> float:
        """How many times dearer the authors' way is, over the same steps."""
        return _mean(self.naive_seconds) / _mean(self.ours_seconds)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with the derived figures."""
        shares = {name: getattr(self, name) for name in ("ours_share", "worst_share", "naive_ratio")}
        return stamped("training", asdict(self) | shares)


def run_training_bench(
    config: TrainingBenchConfig | None = None, progress: Progress | None = None
) -> TrainingBenchReport:
    """Times everything; takes minutes at the default size. Needs torch and transformers."""
    import torch

    config = config or TrainingBenchConfig()
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        return _run(config, progress or silent)
    finally:
        torch.set_num_threads(before)


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    parser.set_defaults(threads=TrainingBenchConfig().threads)
    add_output(parser, "training")
    return run_study(_measure, parser, arguments)


def _measure(options: argparse.Namespace) -> Iterator[str]:
    with watched("training steps") as progress:
        report = run_training_bench(TrainingBenchConfig(threads=options.threads), progress)
    yield (
        f"pruner.step() takes {report.ours_share:.1%} of a training step, {report.worst_share:.1%} in its dearest "
        f"kind of step, and {report.naive_ratio:.1f}x less than the authors' way"
    )
    yield keep(options, report.to_dict(), title="Pruning steps", masks="none")


def _run(config: TrainingBenchConfig, progress: Progress) -> TrainingBenchReport:
    return TrainingBenchReport(
        config=config,
        **_compare(config, progress),
        linear=tuple(_linear_row(config, millions) for millions in config.linear_millions),
        environment=describe_environment(threads=config.threads),
    )


def _compare(config: TrainingBenchConfig, progress: Progress) -> dict[str, Any]:
    from platon_compress.pruning import Pruner

    model, batch = training_model(config)
    names = _Names(config)
    pruner = Pruner(model, names.prune_config)
    naive = _ConcatenatingPruner({name: pruner.parameter(name) for name in pruner.names}, names)
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    train: list[float] = []
    for step in range(1, config.steps + 1):
        if (step - 1) % max(1, config.steps // config.train_runs) == 0:
            train.append(_seconds(lambda: train_step(model, batch)))
        kind = names.kind(step)
        ours.setdefault(kind, []).append(_seconds(pruner.step))
        theirs.setdefault(kind, []).append(_seconds(naive.step))
        progress(step, config.steps)
    memory = pruner.memory_bytes()
    return {
        "weights": pruner.size,
        "train_seconds": tuple(train),
        "ours_seconds": {kind: tuple(values) for kind, values in ours.items()},
        "naive_seconds": {kind: tuple(values) for kind, values in theirs.items()},
        "state_bytes_per_weight": memory["states"] / pruner.size,
        "mask_bytes_per_weight": memory["masks"] / pruner.size,
        "scratch_bytes": memory["scratch"],
    }


class _Names:
    """The schedule both pruners follow, and the kind of each step in it."""

    def __init__(self, config: TrainingBenchConfig) -> None:
        from platon_compress.pruning import PruneConfig
        from platon_compress.pruning.schedule import Schedule

        self.interval = config.mask_interval
        self.prune_config = PruneConfig(
            sparsity=config.sparsity,
            total_steps=config.steps,
            initial_warmup_steps=0,
            final_warmup_steps=round(config.steps * config.final_share),
            mask_interval=config.mask_interval,
        )
        self.schedule = Schedule.of(self.prune_config)

    def kind(self, step: int) -> str:
        """One of: score, rising_mask, final_mask, final_ranking."""
        ranks = step % self.interval == 0
        if not self.schedule.is_final(step):
            return "rising_mask" if ranks else "score"
        first = not self.schedule.is_final(step - 1)
        return "final_ranking" if ranks or first else "final_mask"


class _ConcatenatingPruner:
    """The authors' way, in our words: new tensors for every average, one long vector of scores, a k-th value of
    it at every mask."""

    def __init__(self, weights: dict[str, Any], names: _Names) -> None:
        import torch

        self._weights, self._names = weights, names
        self._window = {name: torch.zeros_like(w) for name, w in weights.items()}
        self._sensitivity = {name: torch.zeros_like(w) for name, w in weights.items()}
        self._uncertainty = {name: torch.zeros_like(w) for name, w in weights.items()}
        self._step = 0

    def step(self) -> None:
        import torch

        self._step += 1
        with torch.no_grad():
            self._score()
            if self._names.schedule.masks_at(self._step):
                self._mask()

    def _score(self) -> None:
        beta1, beta2 = self._names.prune_config.beta1, self._names.prune_config.beta2
        local = self._step % self._names.interval
        for name, weight in self._weights.items():
            if weight.grad is None:
                continue
            sample = (weight * weight.grad).abs().detach()
            if local:
                self._window[name] = (self._window[name] * local + sample) / (local + 1)
                continue
            window, average = self._window[name], self._sensitivity[name]
            self._sensitivity[name] = average = beta1 * average + (1 - beta1) * window
            deviation = (window - average).abs()
            self._uncertainty[name] = beta2 * self._uncertainty[name] + (1 - beta2) * deviation
            self._window[name] = sample

    def _mask(self) -> None:
        import torch

        scores = {name: self._sensitivity[name] * self._uncertainty[name] for name in self._weights}
        every = torch.cat([score.view(-1) for score in scores.values()])
        count = max(1, int(len(every) * self._names.schedule.sparsity(self._step)))
        threshold = torch.kthvalue(every, count).values
        for name, weight in self._weights.items():
            weight.data.masked_fill_(scores[name] < threshold, 0.0)


def training_model(config: TrainingBenchConfig) -> tuple[Any, dict[str, Any]]:
    import torch
    import transformers

    settings = transformers.BertConfig(
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.inner,
        vocab_size=1000,  # the embedding's lookup costs nothing; a small table leaves memory for the rest
        max_position_embeddings=max(config.tokens, 16),
    )
    model = transformers.BertForSequenceClassification(settings).train()
    ids = torch.randint(3, 1000, (config.batch, config.tokens))
    return model, {"input_ids": ids, "labels": torch.zeros(config.batch, dtype=torch.long)}


def train_step(model: Any, batch: dict[str, Any], *, bf16: bool = False) -> None:
    """Forward, backward, clip and a plain AdamW-like write; leaves the gradients for the pruners."""
    import torch

    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(parameter.grad, alpha=1e-3)


def _linear_row(config: TrainingBenchConfig, millions: int) -> dict[str, float]:
    import torch
    from torch import nn

    from platon_compress.pruning import PruneConfig, Pruner

    side = 1024
    layers = nn.Sequential(
        *(nn.Linear(side, side, bias=False) for _ in range(max(1, millions * 10**6 // side**2)))
    )
    for parameter in layers.parameters():
        parameter.grad = torch.randn_like(parameter)
    pruner = Pruner(
        layers,
        PruneConfig(
            sparsity=config.sparsity,
            total_steps=12,
            initial_warmup_steps=0,
            final_warmup_steps=2,
            mask_interval=4,
            beta1=0.1,
            beta2=0.1,
            targets="re:.*",
        ),
    )
    times = list(_step_times(pruner, 8))
    ranking = [seconds for step, seconds in times if step % 4 == 0]
    plain = [seconds for step, seconds in times if step % 4]
    return {
        "weights": pruner.size,
        "step_seconds": statistics.median(plain),
        "ranking_seconds": statistics.median(ranking),
    }


def _step_times(pruner: "Pruner", steps: int) -> Iterator[tuple[int, float]]:
    for step in range(1, steps + 1):
        yield step, _seconds(pruner.step)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _mean(samples: dict[str, tuple[float, ...]]) -> float:
    return statistics.fmean(value for values in samples.values() for value in values)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
