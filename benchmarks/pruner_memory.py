"""The memory a pruner takes, measured from outside: peak resident sizes of processes with and without one.

Each process builds a BERT encoder with gradients and then does one of: nothing; every kind of pruning step; the
same and a save of the pruner's state. The operating system tells each peak. Linux only.

    python benchmarks/pruner_memory.py

One row per granularity.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from memory import status_bytes
from study import add_output, keep, run_study, study_parser, watched

from platon_compress.errors import CheckFailedError, InputError
from platon_compress.measure.environment import describe_environment
from platon_compress.progress import Progress, silent
from platon_compress.schemas import stamped

__all__ = ["PrunerMemoryConfig", "PrunerMemoryReport", "main", "run_granularities", "run_pruner_memory"]

_CHILD = "--child"  # how the measured process is started
Work = Literal["bare", "steps", "save"]
# Sparsity by granularity; "2:4" takes half.
_SPARSITY = {"element": 0.9, "4x1": 0.9, "2:4": 0.5, "head": 0.9, "neuron": 0.9}


@dataclass(frozen=True, kw_only=True)
class PrunerMemoryConfig:
    """A BERT encoder of the given size, and what is pruned in it."""

    hidden: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    granularity: str = "element"
    sparsity: float = 0.9
    mask_interval: int = 3

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "inner", "mask_interval"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be >= 1, got {getattr(self, name)}; correct the setting")


@dataclass(frozen=True, kw_only=True)
class PrunerMemoryReport:
    """Peak resident bytes of whole processes; `weights` counts the prunable ones."""

    config: PrunerMemoryConfig
    weights: int
    bare_peak_bytes: int
    steps_peak_bytes: int
    save_peak_bytes: int

    @property
    def state_bytes(self) -> int:
        """Three float32 per weight."""
        return 12 * self.weights

    @property
    def bytes_per_weight(self) -> float:
        """All that the pruner added at its peak: states, masks and transients."""
        return (self.steps_peak_bytes - self.bare_peak_bytes) / self.weights

    @property
    def transient_share(self) -> float:
        """What pruning steps took beyond 13 bytes per weight, as a share of the states."""
        return (self.bytes_per_weight - 13) / 12

    @property
    def save_share(self) -> float:
        """What a save took beyond 13 bytes per weight, as a share of the states."""
        return ((self.save_peak_bytes - self.bare_peak_bytes) / self.weights - 13) / 12

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with the derived figures."""
        derived = ("state_bytes", "bytes_per_weight", "transient_share", "save_share")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def run_pruner_memory(config: PrunerMemoryConfig | None = None) -> PrunerMemoryReport:
    """Starts the three processes one after the other; needs torch, transformers and 22 bytes per weight."""
    config = config or PrunerMemoryConfig()
    peaks, weights = {}, 0
    for work in get_args(Work):
        peaks[f"{work}_peak_bytes"], weights = _peak(config, work)
    return PrunerMemoryReport(config=config, weights=weights, **peaks)


def run_granularities(
    config: PrunerMemoryConfig | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """A report per granularity, JSON-able; the config's own granularity and sparsity are not used."""
    config, environment = config or PrunerMemoryConfig(), describe_environment()
    reports = []
    for done, (granularity, sparsity) in enumerate(_SPARSITY.items()):
        progress(done, len(_SPARSITY), granularity)
        reports.append(run_pruner_memory(replace(config, granularity=granularity, sparsity=sparsity)))
    return stamped(
        "pruner-memory", {"rows": [report.to_dict() for report in reports], "environment": environment}
    )


def main(arguments: Sequence[str]) -> int:
    """The command line above, or the measured process itself."""
    if list(arguments[:1]) == [_CHILD]:
        _child(*arguments[1:])
        return 0
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "pruner_memory")
    return run_study(_measure, parser, arguments)


def _measure(options: argparse.Namespace) -> Iterator[str]:
    with watched("pruner memory") as progress:
        report = run_granularities(progress=progress)
    for row in report["rows"]:
        yield f"{row['config']['granularity']}: {row['bytes_per_weight']:.2f} bytes per prunable weight"
    yield keep(options, report, title="Memory of the pruner", masks="none")


def _peak(config: PrunerMemoryConfig, work: Work) -> tuple[int, int]:
    """Peak resident bytes of a process that does the work, and the prunable weights it found."""
    command = [sys.executable, __file__, _CHILD, json.dumps(asdict(config)), work]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - asked for
        output = process.stdout.readline()
        # While it lives: ru_maxrss of an ended child would count the memory of this process at the fork, too.
        peak = status_bytes(process.pid, "VmHWM") if output else 0
        process.communicate()
    if process.returncode != 0:
        raise CheckFailedError(
            f"the {work!r} process of the memory benchmark ended with {process.returncode}"
        )
    return peak, int(output)


def _child(settings_json: str, work: str) -> None:
    import torch

    from platon_compress.pruning import PruneConfig, Pruner, save_pruner
    from platon_compress.pruning.pruner import prunable_parameters

    config = PrunerMemoryConfig(**json.loads(settings_json))
    model = _model(config)
    settings = PruneConfig(
        sparsity=config.sparsity,
        total_steps=8 * config.mask_interval,
        initial_warmup_steps=0,
        final_warmup_steps=2 * config.mask_interval,
        mask_interval=config.mask_interval,
        granularity=config.granularity,  # type: ignore[arg-type]
    )
    weights = sum(p.numel() for p in prunable_parameters(model, settings).values())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    if work != "bare":
        pruner = Pruner(model, settings)
        for _ in range(8 * config.mask_interval):
            pruner.step()
        if work == "save":
            with tempfile.TemporaryDirectory() as folder:
                save_pruner(pruner, folder)
    sys.stdout.write(f"{weights}\n")
    sys.stdout.flush()
    sys.stdin.read()  # until the peak is read


def _model(config: PrunerMemoryConfig) -> Any:
    import transformers

    settings = transformers.BertConfig(
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.inner,
        vocab_size=1000,
        max_position_embeddings=16,
    )
    return transformers.BertForSequenceClassification(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
