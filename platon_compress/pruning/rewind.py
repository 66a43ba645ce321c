"""Learning-rate rewind (Renda et al. 2020): once the mask is frozen, the weights that stay train once more.

With T total steps, f frozen ones at the end and R = rewind_to * T, the schedule l(e) over scheduler steps e becomes

    l(e)                                             for e < T - f, and from T on
    l(R + round((e - (T - f)) * (T - R) / f))        between

so the rate goes back to what it was at step R and ends where it would have ended. This is a function of e alone:
nothing is stored, and a run that is resumed before or after the rewind has the same rates. The frozen steps are a hold at
the end; a family is rewound at each of its holds, as rule 4 of `platon_compress.pruning.family` says.
"""

from collections.abc import Callable
from typing import Any

from platon_compress.errors import InputError
from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.family import Hold
from platon_compress.pruning.schedule import Schedule

__all__ = ["rewind_schedule"]

Rate = Callable[[int], float]


def rewind_schedule(scheduler: Any, config: PruneConfig) -> None:
    """Rewinds `scheduler` in place as `config.rewind_to` says; does nothing where it is None.

    Raises InputError when there is no scheduler, or one whose rate is no function of its step.
    """
    if config.rewind_to is None:
        return
    inner = getattr(scheduler, "scheduler", scheduler)  # what Accelerate wraps
    rates = getattr(inner, "lr_lambdas", None)
    if scheduler is None or not rates:
        got = "no scheduler" if scheduler is None else type(inner).__name__
        raise InputError(
            f"rewind_to {config.rewind_to} rewinds a learning-rate schedule that is a function of the step "
            f"(torch's LambdaLR, every plain schedule of transformers), got {got}; pass "
            "Pruner(model, config, lr_scheduler=...) such a one or leave rewind_to out"
        )
    total = config.resolved().total_steps
    assert total is not None  # noqa: S101 - resolved() has just filled it
    holds = Schedule.of(config).holds or (Hold(config.sparsity, total - config.freeze_steps + 1, total, 0),)
    single = config.single_steps(total)
    inner.lr_lambdas = [_rewound(rate, total, single, holds, config.rewind_to) for rate in rates]


def _rewound(rate: Rate, total: int, single: int, holds: tuple[Hold, ...], rewind_to: float) -> Rate:
    original: Rate = getattr(rate, "rewinds", rate)  # a second training must not rewind the rewound

    # A plain function: LambdaLR would store a callable object's attributes in every checkpoint.
    def rewound(step: int) -> float:
        if step >= total:
            return original(step)
        hold = next((hold for hold in holds if step + 1 in hold), None)  # step e sets the rate of step e + 1
        if hold is None:
            held = sum(hold.steps for hold in holds if hold.last <= step)
            return original(round((step - held) * total / single))
        start = hold.first - 1
        back_to = min(round(rewind_to * total), round((start - hold.held) * total / single))
        return original(back_to + round((step - start) * (total - back_to) / hold.steps))

    rewound.rewinds = original  # type: ignore[attr-defined]
    return rewound
