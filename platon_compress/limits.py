"""What every number that a person may give has to lie between, in one place for recipes, flags and their help.

The upper ends are far beyond what anybody trains or deploys: they are there so that a slip of the keyboard is
refused at once instead of hanging, filling the memory or overflowing a counter hours later.
"""

from dataclasses import dataclass
from typing import Any

from platon_compress.errors import InputError, shown

__all__ = ["LIMITS", "MAX_LIST", "MAX_ROWS", "Limit"]


@dataclass(frozen=True)
class Limit:
    """A range of numbers. `above` and `below` leave the ends out, `whole` asks for integers."""

    least: float
    most: float
    whole: bool = True
    above: bool = False
    below: bool = False
    example: float | None = None

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        low = value > self.least if self.above else value >= self.least
        return low and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.least:,g}" if self.above else f"from {self.least:,g}"
        high = (
            f"below {_plain(self.most)}"
            if self.below
            else f"{'and at most' if self.above else 'to'} {_plain(self.most)}"
        )
        joined = f"{low} and {high}" if self.below else f"{low} {high}"
        example = "" if self.example is None else f", for example {self.example:g}"
        return f"{kind} {joined}{example}"

    def check(self, name: str, value: Any) -> Any:
        """`value` itself. Raises InputError, naming it as `name`, when it lies outside."""
        if value not in self:
            raise InputError(f"{name} is {shown(value)}; give {self}")
        return value


def _plain(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"


_THREADS = Limit(1, 512, example=2)
_TOKENS = Limit(1, 131_072, example=128)
_BATCH = Limit(1, 16_384, example=8)
_RUNS = Limit(5, 100_000, example=50)

LIMITS = {
    "data.max_length": Limit(2, 131_072, example=128),
    "data.document_stride": Limit(0, 131_072, example=128),
    "data.train_rows": Limit(1, 1_000_000_000, example=10_000),
    "data.validation_rows": Limit(1, 1_000_000_000, example=1000),
    "train.epochs": Limit(0, 10_000, whole=False, above=True, example=4),
    "train.batch_size": Limit(1, 65_536, example=32),
    "train.learning_rate": Limit(0, 10, whole=False, above=True, example=5e-5),
    "train.weight_decay": Limit(0, 10, whole=False, example=0.01),
    "train.warmup_ratio": Limit(0, 1, whole=False, below=True, example=0.1),
    "train.max_grad_norm": Limit(0, 1_000_000, whole=False, above=True, example=1),
    "train.average": Limit(0, 1, whole=False, below=True, example=0.1),
    "train.dropout": Limit(0, 1, whole=False, below=True, example=0.1),
    "train.gradient_accumulation_steps": Limit(1, 65_536, example=1),
    "train.evaluations": Limit(1, 10_000, example=6),
    # numpy's generator takes 32 bits
    "train.seed": Limit(0, 2**32 - 1, example=1),
    "distill.weight": Limit(0, 1, whole=False, example=0.5),
    "distill.temperature": Limit(0, 1000, whole=False, above=True, example=2),
    "distill.hidden": Limit(0, 1_000_000, whole=False, example=0.1),
    # less prunes nothing that could be measured, more leaves nothing that could answer
    "prune.sparsity": Limit(0.01, 0.9999, whole=False, example=0.9),
    "prune.speedup": Limit(1, 100, whole=False, above=True, example=2),
    "prune.family": Limit(0.01, 0.9999, whole=False, example=0.7),
    "oneshot.sparsity": Limit(0.01, 0.9999, whole=False, example=0.5),
    "oneshot.rows": Limit(8, 1_000_000, example=512),
    "prune.epochs": Limit(0, 10_000, whole=False, above=True, example=8),
    "prune.learning_rate": Limit(0, 10, whole=False, above=True, example=4e-4),
    "prune.dropout": Limit(0, 1, whole=False, below=True, example=0),
    "prune.mask_interval": Limit(1, 1_000_000, example=10),
    "prune.beta1": Limit(0, 1, whole=False, below=True, example=0.85),
    "prune.beta2": Limit(0, 1, whole=False, below=True, example=0.95),
    "prune.initial_warmup": Limit(0, 1, whole=False, below=True, example=0.1),
    "prune.final_warmup": Limit(0, 1, whole=False, below=True, example=0.3),
    "prune.freeze": Limit(0, 1, whole=False, below=True, example=0.1),
    "prune.rewind_to": Limit(0, 1, whole=False, below=True, example=0.5),
    "prune.start_sparsity": Limit(0, 0.9999, whole=False, example=0.5),
    "prune.max_layer_sparsity": Limit(0, 1, whole=False, above=True, example=0.95),
    "prune.group_multiple": Limit(1, 4096, example=8),
    "plan.tokens": _TOKENS,
    "plan.batch": _BATCH,
    "plan.threads": _THREADS,
    "plan.int8_budget": Limit(0, 1, whole=False, above=True, example=0.01),
    "export.opset": Limit(18, 25, example=18),
    "verify.atol": Limit(0, 1, whole=False, above=True, example=1e-4),
    "verify.examples": Limit(64, 1_000_000, example=64),
    "bench.batch": _BATCH,
    "bench.tokens": _TOKENS,
    "bench.runs": _RUNS,
    "bench.threads": _THREADS,
    "budget.min_speedup": Limit(1, 1000, whole=False, example=3),
    "budget.max_drop": Limit(0, 100, whole=False, example=1),
    # of the fields of model.config: vocabularies are the largest, a layer of this width alone is petabytes
    "model.size": Limit(-10_000_000, 10_000_000, whole=False, example=768),
    "calibrate.shape": Limit(1, 65_536, example=768),
    "calibrate.rows": Limit(1, 1_048_576, example=128),
    "kernel.blocks": Limit(1, 64, example=4),
    "kernel.pause": Limit(0, 10, whole=False, example=0.5),
    "density": Limit(0, 1, whole=False, above=True, example=0.1),
}
"""By `section.key` of the recipe; the last ones are of commands that have no recipe."""

MAX_ROWS = 1_048_576
"""Rows (batch times tokens) of one timed call: 12 GB in the widest layer of BERT-base."""

MAX_LIST = 64
"""Entries in a list of settings to measure."""
