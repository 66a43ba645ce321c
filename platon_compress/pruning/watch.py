"""Notices when pruning goes wrong without an error, and says so once."""

import logging
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from platon_compress.pruning.config import PruneConfig
from platon_compress.structure import clean_name, unwrap_model

__all__ = ["Watch", "memory_warning"]

_log = logging.getLogger(__name__)
_SLACK = 0.01  # achieved sparsity this far below the schedule is worth a warning


def memory_warning(config: PruneConfig) -> str | None:
    """A line when the averages remember more steps than a fifth of the phase in which the sparsity rises.

    They remember about mask_interval / (1 - beta) steps; a ranking that lags so far behind is noise.
    """
    total, initial, final = config.total_steps, config.initial_warmup_steps, config.final_warmup_steps
    if total is None or initial is None or final is None or not config.sparsity or config.schedule == "held":
        return None
    rising, slowest = total - initial - final, 1 - max(config.beta1, config.beta2)
    remembered = config.mask_interval / slowest
    if remembered <= rising / 5:
        return None
    fit = max(1, int(rising / 5 * slowest))
    smaller = (
        f"set mask_interval to {fit}{'' if fit == 1 else ' or less'}, or "
        if config.mask_interval > fit
        else ""
    )
    cure = f"{smaller}lower the betas, or train longer"
    return (
        f"the averages remember {remembered:.0f} steps (mask_interval {config.mask_interval}, betas "
        f"{config.beta1} and {config.beta2}), more than a fifth of the {rising} steps in which the "
        f"sparsity rises; {cure}"
    )


class Watch:
    """Warnings of one run; each kind is given once."""

    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        self._model = model
        self._weights = weights
        self._said: set[str] = set()
        self._lost: set[str] = set()

    def memory(self, config: PruneConfig) -> None:
        """The averages remember too long, see `memory_warning`."""
        if warning := memory_warning(config):
            self._say("memory", warning)

    def sparsity(self, wanted: float, achieved: float) -> None:
        """A mask was applied and yet there are too few zeros."""
        if achieved < wanted - _SLACK:
            self._say(
                "sparsity",
                f"SPARSITY DOES NOT RISE: the schedule asks for {wanted:.3f}, the weights hold {achieved:.3f}; "
                "the scores tie, or something else writes to the weights",
            )

    def ranking(self, threshold: float) -> None:
        """Most scores are zero, so position decides."""
        if threshold == 0:
            self._say(
                "ranking",
                "the score cut is 0: too many weights never had a gradient, so their position decides which "
                "are pruned; check that pruner.step() runs before zero_grad() and that the loss reaches them",
            )

    def layers(self, kept: Mapping[str, int]) -> None:
        """Whole weights were pruned away; one line for all that are new at a ranking."""
        lost = [name for name, count in kept.items() if not count and name not in self._lost]
        self._lost.update(lost)
        if lost:
            _log.warning(
                "%d of %d weights are pruned out entirely, first %s; protect them with `ignore`, "
                "max_layer_sparsity or bounds",
                len(lost),
                len(kept),
                lost[0],
            )

    def parameters(self) -> bool:
        """Whether the model still holds the very parameters that are scored."""
        current = {clean_name(name): p for name, p in unwrap_model(self._model).named_parameters()}
        replaced = [name for name, weight in self._weights.items() if current.get(name) is not weight]
        if replaced:
            self._say(
                "parameters",
                f"{len(replaced)} parameters were replaced after the Pruner was built, first {replaced[0]}; "
                "build the Pruner after moving, wrapping or converting the model",
            )
        return not replaced

    def optimizer(self, optimizer: object) -> bool:
        """Whether an optimiser updates every parameter that is pruned."""
        groups: Iterable[dict[str, list[Tensor]]] = getattr(optimizer, "param_groups", [])
        held = {id(parameter) for group in groups for parameter in group["params"]}
        lost = [name for name, weight in self._weights.items() if id(weight) not in held]
        if lost:
            self._say(
                "optimizer",
                f"the optimizer does not hold {len(lost)} of {len(self._weights)} pruned parameters, first "
                f"{lost[0]}; it was rebuilt after the Pruner, or built for other parameters",
            )
        return not lost

    def _say(self, kind: str, message: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            _log.warning(message)
