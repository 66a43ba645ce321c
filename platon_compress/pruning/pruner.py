"""The pruner: scores weights while a model trains and sets the least important ones to zero."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from platon_compress.errors import InputError
from platon_compress.pruning.config import UNIT_KINDS, PruneConfig
from platon_compress.pruning.held import check_masks
from platon_compress.pruning.importance import build_importance
from platon_compress.pruning.masks.arrays import Scratch, local
from platon_compress.pruning.masks.build import build_masks, couplings_to_prune
from platon_compress.pruning.masks.groups import coupled_names
from platon_compress.pruning.masks.shards import Shards
from platon_compress.pruning.masks.structured import StructuredMasks
from platon_compress.pruning.rewind import rewind_schedule
from platon_compress.pruning.schedule import Schedule
from platon_compress.pruning.state.record import check_state, pack_state
from platon_compress.pruning.watch import Watch
from platon_compress.selection import select

__all__ = ["Pruner", "StepReport", "check_fits", "prunable_parameters"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepReport:
    """What one `Pruner.step()` did.

    step: optimiser steps so far, this one included.
    sparsity: the schedule's value at this step.
    achieved_sparsity: share of zeros counted in the prunable weights after this step.
    threshold: the score cut of the mask that was applied, None when none was.
    masked: whether a mask was applied.
    mask_churn: share of the prunable weights whose mask changed at this step.
    regrown: share of the prunable weights that came back at this step.
    skipped: whether this step's gradients were left out (overflow, or not finite).
    """

    step: int
    sparsity: float
    achieved_sparsity: float
    threshold: float | None
    masked: bool
    mask_churn: float
    regrown: float = 0.0
    skipped: bool = False


class Pruner:
    """PLATON on the parameters that `select` chooses.

    Call `step()` after `optimizer.step()` and before `optimizer.zero_grad()`, once per optimiser step:

        loss.backward(); clip; optimizer.step(); pruner.step(); optimizer.zero_grad()

    The score takes the weight after the optimiser's step with the gradient from before it, so a pruned weight
    whose optimiser pushes it back can return. Gradients must be unscaled and averaged over accumulation.
    Holds three float32 arrays and one bool mask per prunable weight. Build it after moving, wrapping or sharding
    the model. `lr_scheduler` is needed for `rewind_to` only, `masks` (bool, True = kept, of whole parameters by name) for
    the schedule "held" only. Raises InputError on settings that do not fit the model.

    Parameters that `fully_shard` has sharded are scored and masked where their rows lie; the ranks agree on one
    threshold by adding up counts. Every rank must then make the same calls.
    """

    def __init__(
        self,
        model: nn.Module,
        config: PruneConfig,
        *,
        lr_scheduler: object = None,
        masks: Mapping[str, Tensor] | None = None,
    ) -> None:
        if (masks is not None) != (config.schedule == "held"):
            raise InputError(
                f"masks go with schedule 'held', got schedule {config.schedule!r} and "
                f"{'no masks' if masks is None else 'masks'}; make the config with held_config(masks)"
            )
        if masks is not None:
            check_masks(model, masks)
        self.config = config.resolved()
        self.schedule = Schedule.of(config)
        rewind_schedule(lr_scheduler, self.config)
        self._weights = prunable_parameters(model, self.config)
        scratch = self._scratch = Scratch()
        self._importance = build_importance(self._weights, self.config, scratch)
        self._masks = build_masks(model, self._weights, self._importance, scratch, self.config)
        if self.config.granularity == "structured" and self.config.unit_costs is None:
            raise InputError(
                "granularity 'structured' ranks by measured seconds, and unit_costs is None; measure them with "
                "platon_compress.measure.half_blocks, or run a recipe with prune.speedup"
            )
        self._step = 0
        self._ranked: tuple[int, int] | None = None  # windows seen and weights masked at the last ranking
        self._threshold: float | None = None
        self.skipped_steps = 0
        self.missing_gradients = 0
        self._watch = Watch(model, self._weights)
        self._watch.memory(self.config)
        if masks is not None:
            self._hold(masks)

    @torch.no_grad()
    def _hold(self, masks: Mapping[str, Tensor]) -> None:
        for name, kept in self._masks.kept.items():
            kept.copy_(self.shards.part(self._weights[name], masks[name]))
        self._masks.apply()

    @property
    def size(self) -> int:
        """Number of prunable weights."""
        return self._masks.size

    @property
    def counts_weights(self) -> bool:
        """Whether a sparsity is a share of the weights; with "structured" it is one of the time."""
        return self._masks.counts_weights

    @property
    def expected_speedup(self) -> float | None:
        """With "structured": over dense, of what the masks keep, as `unit_costs` say; else None."""
        return self._masks.expected_speedup if isinstance(self._masks, StructuredMasks) else None

    @property
    def steps(self) -> int:
        """Optimiser steps so far."""
        return self._step

    @property
    def shards(self) -> Shards:
        """Which rows of the prunable weights lie on this rank."""
        return self._masks.shards

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the prunable parameters in ranking order."""
        return tuple(self._weights)

    @torch.no_grad()
    def step(self, *, skipped: bool = False) -> StepReport:
        """One step of scoring and, when the schedule says so, masking.

        `skipped`: the optimiser did not step (loss-scale overflow); the step counts, its gradients do not.
        Gradients that are not finite are recognised here and treated the same way. An overflow elsewhere in the
        model is not: with a GradScaler pass `skipped=scaler.get_scale() < scale_before_update`.
        Raises InputError when no prunable parameter has a gradient.
        """
        self._step += 1
        if self._importance.needs_gradients:
            skipped = self.shards.any_rank(skipped or not self._gradients_are_usable())
        self._update_scores(skipped)
        churn, regrown, zeros = self._update_weights()
        masked = zeros is not None
        achieved = (self.count_zeros() if zeros is None else zeros) / self.size
        sparsity = self.schedule.sparsity(self._step)
        if masked and self.counts_weights:
            self._watch.sparsity(sparsity, achieved)
        return StepReport(
            step=self._step,
            sparsity=sparsity,
            achieved_sparsity=achieved,
            threshold=self._threshold if masked else None,
            masked=masked,
            mask_churn=churn / self.size,
            regrown=regrown / self.size,
            skipped=skipped,
        )

    def masks(self) -> dict[str, Tensor]:
        """Bool masks of the parameters' shapes, True = kept, as last applied; all True before the first.

        Of sharded parameters (FSDP2) they are the rows of this rank; `full_masks` gathers them.
        """
        return {name: mask.clone() for name, mask in self._masks.kept.items()}

    @torch.no_grad()
    def full_masks(self) -> dict[str, Tensor]:
        """As `masks`, of whole parameters and on the CPU, for `bake`; on every rank but 0 it is empty.

        Every rank must call it. Masks travel one parameter at a time, scores never.
        """
        found = {}
        for name, mask in self._masks.kept.items():
            whole = self.shards.whole(self._weights[name], mask).cpu()
            if self.shards.is_first:
                found[name] = whole
        return found

    def parameter(self, name: str) -> Tensor:
        """The prunable parameter of that name."""
        return self._weights[name]

    def memory_bytes(self) -> dict[str, int]:
        """Bytes held now on this rank: float32 `states`, bool `masks`, and the reused `scratch` buffers."""
        return {
            "states": self._importance.state_bytes(),
            "masks": sum(mask.numel() for mask in self._masks.kept.values()),
            "scratch": self._scratch.held_bytes(),
        }

    def layer_sparsity(self) -> dict[str, float]:
        """Masked share of each prunable parameter."""
        kept = self._masks.count_kept()
        return {name: 1 - kept[name] / weight.numel() for name, weight in self._weights.items()}

    def check_optimizer(self, optimizer: object) -> bool:
        """Warns and returns False when `optimizer` does not hold every prunable parameter."""
        return self._watch.optimizer(optimizer)

    @torch.no_grad()
    def count_zeros(self) -> int:
        """Zeros in the prunable weights now."""
        return self._masks.count_zeros()

    def own_tensors(self) -> dict[str, dict[str, Tensor]]:
        """The state's tensors, not copies, by field and parameter name; of sharded weights the local rows."""
        return {**self._importance.states, "masks": self._masks.kept}

    def counters(self) -> dict[str, Any]:
        """The state's numbers beside tensors and step; JSON-able."""
        return {
            "window_samples": self._importance.samples,
            "windows": self._importance.windows,
            "skipped_steps": self.skipped_steps,
            "missing_gradients": self.missing_gradients,
            "ranked": list(self._ranked) if self._ranked else None,
            "threshold": self._threshold,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs to go on bit by bit, also from the middle of a window."""
        return pack_state(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores `state_dict()`; a sharded pruner also takes one of full tensors, and the other way round.

        Raises InputError when it comes from another model or config.
        """
        check_state(self, state)
        for field, tensors in self.own_tensors().items():
            for name, value in state[field].items():
                tensors[name].copy_(self.shards.part(self._weights[name], value))
        counters = state["counters"]
        self._step = int(state["step"])
        self._importance.samples = counters["window_samples"]
        self._importance.windows = counters["windows"]
        self.skipped_steps = counters["skipped_steps"]
        self.missing_gradients = counters["missing_gradients"]
        self._ranked = tuple(counters["ranked"]) if counters["ranked"] else None
        self._threshold = counters["threshold"]

    def _update_scores(self, skipped: bool) -> None:
        """The authors close a window before the step's own sample, we close it after.

        A frozen mask needs no scores any more, and one that is held none at all.
        """
        ranked = self._threshold is not None or self._is_held
        if ranked and not self.schedule.needs_scores(self._step):
            self.skipped_steps += skipped
            return
        closing = self._step % self.config.mask_interval == 0
        if closing and self.config.reference_compat:
            self._importance.close_window()
        if skipped:
            self.skipped_steps += 1
        else:
            self._importance.accumulate()
        if closing and not self.config.reference_compat:
            self._importance.close_window()

    def _update_weights(self) -> tuple[int, int, int | None]:
        """Ranks when scores or sparsity changed, then masks: weights flipped, regrown, zeros if masked."""
        if self._is_held:
            return 0, 0, self._masks.apply()
        count = self._masks.count(self.schedule.sparsity(self._step))
        scored = self._importance.windows > 0 or self.config.reference_compat
        if not self.schedule.masks_at(self._step) or not count or not scored:
            return 0, 0, None
        flipped = regrown = 0
        ranked = self._ranked is not None and self._ranked[1] == count
        frozen = ranked and self.schedule.is_frozen(self._step)
        if self._ranked != (self._importance.windows, count) and not frozen:
            ranking = self._masks.rank(count)
            flipped, regrown, self._threshold = ranking.flipped, ranking.regrown, ranking.threshold
            self._ranked = (self._importance.windows, count)
            self._watch.parameters()
            if not self._importance.signed:
                self._watch.ranking(ranking.threshold)
            if self.counts_weights:
                self._watch.layers(self._masks.count_kept())
        return flipped, regrown, self._masks.apply()

    @property
    def _is_held(self) -> bool:
        return self.config.schedule == "held"

    def _gradients_are_usable(self) -> bool:
        """Whether all that exist are finite, on this rank."""
        self._check_gradients()
        return self._gradients_are_finite()

    def _check_gradients(self) -> None:
        missing = [name for name, weight in self._weights.items() if weight.grad is None]
        if len(missing) == len(self._weights):
            raise InputError(
                f"none of the {len(missing)} prunable parameters has a gradient at step {self._step}; call "
                "pruner.step() after optimizer.step() and before optimizer.zero_grad(), and build the Pruner "
                "after the model is wrapped or moved"
            )
        if missing and not self.missing_gradients:
            _log.warning("%d prunable parameters have no gradient, first %s", len(missing), missing[0])
        self.missing_gradients += len(missing)

    def _gradients_are_finite(self) -> bool:
        """A sum is non-finite when any element is; only then every element is looked at."""
        gradients = [local(weight.grad) for weight in self._weights.values() if weight.grad is not None]
        if not gradients:
            return True
        total = torch.stack([gradient.sum(dtype=torch.float32) for gradient in gradients])
        if bool(torch.isfinite(total).all()):
            return True
        return bool(torch.stack([torch.isfinite(gradient).all() for gradient in gradients]).all())


def check_fits(model: nn.Module, config: PruneConfig) -> None:
    """Raises InputError for what a `Pruner` of this model and config would refuse, without taking its memory."""
    full = replace(config, weight_costs=None)  # not measured yet, and nothing that could be refused
    parameters = prunable_parameters(model, full)
    shapes = {name: torch.empty_like(parameter, device="meta") for name, parameter in parameters.items()}
    scratch = Scratch()
    build_masks(model, shapes, build_importance(shapes, full, scratch), scratch, full)


def prunable_parameters(model: nn.Module, config: PruneConfig) -> dict[str, nn.Parameter]:
    """The selected parameters that are trained; with groups, only those that belong to one.

    Raises InputError when named targets are frozen, nothing is trained or there at all, or the model is wrapped by FSDP1.
    """
    _refuse_fsdp1(model)
    chosen = select(model, targets=config.targets, ignore=config.ignore, include_biases=config.include_biases)
    frozen = [name for name, parameter in chosen.items() if not parameter.requires_grad]
    if len(frozen) == len(chosen) or (frozen and config.targets is not None):
        raise InputError(
            f"{len(frozen)} of {len(chosen)} parameters to prune are frozen, first {frozen[0]!r}; they get no "
            "gradient, so set requires_grad or leave them out with `ignore`"
        )
    if frozen:
        _log.warning("%d frozen parameters are not pruned, first %s", len(frozen), frozen[0])
    trained = {name: p for name, p in chosen.items() if name not in frozen}
    if not any(p.numel() for p in trained.values()):
        name, shape = next((name, tuple(p.shape)) for name, p in trained.items())
        raise InputError(
            f"the {len(trained)} parameters to prune hold 0 weights, first {name!r} of shape {shape}; name others "
            "with `targets`"
        )
    if config.granularity not in UNIT_KINDS:
        return trained
    coupled = {name for c in couplings_to_prune(model, config, trained) for name in coupled_names(c)}
    return {name: p for name, p in trained.items() if name in coupled}


def _refuse_fsdp1(model: nn.Module) -> None:
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise InputError(
            "the model is wrapped by FullyShardedDataParallel, which flattens its parameters; "
            "shard it with torch.distributed.fsdp.fully_shard instead"
        )
