"""What pruning adds to a training step on an accelerator, and whether a step waits for it once per parameter."""

import statistics
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from parts.cells import Cell, Part, Setup, timed
from parts.random_models import BERT_BASE, random_inputs, random_model

__all__ = ["PRUNER", "count_waits", "device_unavailable"]

_INTERVAL = 10
_WAIT = "synchronizing CUDA operation"  # torch's own words, see torch.cuda.set_sync_debug_mode


def device_unavailable(setup: Setup) -> str | None:
    """Why torch cannot use the setup's device, or None."""
    import torch

    if setup.device == "cuda" and not torch.cuda.is_available():
        return "torch sees no CUDA device here"
    return None


def count_waits(call: Callable[[], object], debug_mode: Callable[[str], object] | None = None) -> int:
    """How often `call` makes the host wait for the device. `debug_mode` switches the warnings ("warn", "default")."""
    if debug_mode is None:
        import torch

        debug_mode = torch.cuda.set_sync_debug_mode
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        debug_mode("warn")
        try:
            call()
        finally:
            debug_mode("default")
    return sum(_WAIT in str(warning.message) for warning in caught)


def _cells(setup: Setup) -> tuple[Cell, ...]:
    kinds: dict[str, dict[str, Any]] = {
        "bf16": {},
        "fp16": {"precision": "fp16"},
        "fp32": {"precision": "fp32"},
    }
    kinds["bf16, compiled"] = {"compiled": True}
    if setup.tiny:
        kinds = {"bf16": {}, "fp16": {"precision": "fp16"}}
    waits = Cell(name="host waits per step", run=partial(_waits, setup))
    return (waits, *(Cell(name=name, run=partial(_overhead, setup, **kind)) for name, kind in kinds.items()))


def _waits(setup: Setup, seconds: float) -> dict[str, Any]:
    """Per step of a schedule with every kind of step, for two depths: equal counts mean none is per parameter."""
    del seconds
    switch = None if setup.device == "cuda" else (lambda mode: None)
    depths = (2, 4) if setup.tiny else (2, 12)
    counts = {str(layers): _waits_of_depth(setup, layers, switch) for layers in depths}
    first, second = counts.values()
    return {
        "waits_by_layers": counts,
        "grows_with_the_parameters": any(b > a for a, b in zip(first, second, strict=True)),
    }


def _waits_of_depth(setup: Setup, layers: int, switch: Callable[[str], object] | None) -> list[int]:
    import torch

    model = random_model(BERT_BASE, tiny=setup.tiny, layers=layers).to(setup.device)
    pruner = _pruner(model, steps=12, interval=2)
    generator = torch.Generator(setup.device).manual_seed(0)
    found = []
    for _ in range(12):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator, device=setup.device)
        found.append(count_waits(pruner.step, switch))
    return found


def _pruner(model: Any, steps: int, interval: int) -> Any:
    from platon_compress import PruneConfig, Pruner

    settings: dict[str, Any] = {"total_steps": steps, "initial_warmup_steps": 0, "mask_interval": interval}
    return Pruner(
        model, PruneConfig(sparsity=0.9, beta1=0.1, beta2=0.1, **settings)
    )  # quick averages: short runs


class _Training:
    """A training step with and without the pruner, on one model."""

    def __init__(self, setup: Setup, precision: str, compiled: bool) -> None:
        import torch

        model = random_model(BERT_BASE, tiny=setup.tiny).train().to(setup.device)
        batch, tokens = (2, 8) if setup.tiny else (32, 128)
        self._batch = random_inputs(model, batch, tokens)
        self._batch["labels"] = torch.zeros(batch, dtype=torch.long, device=setup.device)
        self._model: Any = torch.compile(model) if compiled else model
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
        self._scaler = torch.amp.GradScaler(setup.device, enabled=precision == "fp16")
        kinds = {"fp16": torch.float16, "bf16": torch.bfloat16}
        self._autocast = partial(
            torch.autocast, setup.device, dtype=kinds.get(precision), enabled=precision in kinds
        )
        self._wait = torch.cuda.synchronize if setup.device == "cuda" else (lambda: None)
        self._pruner = _pruner(self._model, steps=1000, interval=_INTERVAL)
        self.reports: list[Any] = []

    def without(self) -> None:
        self._train()
        self._finish()

    def pruned(self) -> None:
        scale = self._scaler.get_scale()
        self._train()
        self.reports.append(self._pruner.step(skipped=self._scaler.get_scale() < scale))
        self._finish()

    def _train(self) -> None:
        import torch

        with self._autocast():
            loss = self._model(**self._batch).loss
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def _finish(self) -> None:
        self._optimizer.zero_grad()
        self._wait()


def _overhead(
    setup: Setup, seconds: float, *, precision: str = "bf16", compiled: bool = False
) -> dict[str, Any]:
    """Training steps with and without the pruner in turn.

    masks: which of the timed steps with the pruner set a mask (every window's last one ranks all weights anew).
    mean_share: the mean of the steps with the pruner over the mean without, less 1; mask_share: of those steps alone.
    """
    training = _Training(setup, precision, compiled)
    sides = {"without": training.without, "pruned": training.pruned}
    content = timed(sides, seconds, "without", least=2 * _INTERVAL, most=100, pause_seconds=0.0)
    times, alone = content["seconds"]["pruned"], statistics.fmean(content["seconds"]["without"])
    reports = training.reports[-len(times) :]
    masks = [report.masked for report in reports]
    masked = [time for time, mask in zip(times, masks, strict=True) if mask]
    return content | {
        "precision": precision,
        "compiled": compiled,
        "masks": masks,
        "skipped_steps": sum(report.skipped for report in reports),
        "mean_share": statistics.fmean(times) / alone - 1,
        "mask_share": statistics.fmean(masked) / alone - 1 if masked else None,
    }


PRUNER = Part(
    name="pruner",
    title="what the pruner adds to a training step of BERT-base, 32 x 128 tokens",
    share=1.5,
    cells=_cells,
    unavailable=device_unavailable,
)
