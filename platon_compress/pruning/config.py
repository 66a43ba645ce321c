"""What to prune, how far and when."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from platon_compress.errors import InputError
from platon_compress.pruning.bounds import checked_bounds
from platon_compress.pruning.costs import check_costs
from platon_compress.pruning.family import holds_of, single_steps
from platon_compress.pruning.unit_costs import UnitCosts

__all__ = ["UNIT_KINDS", "Criterion", "Granularity", "PruneConfig", "Rise", "Scope", "Shape"]

Criterion = Literal["platon", "sensitivity", "magnitude", "movement", "fisher"]
Granularity = Literal["element", "4x1", "2:4", "head", "neuron", "structured"]
Rise = Literal["cubic", "one_shot", "constant"]
Shape = Literal[Rise, "held"]
Scope = Literal["global", "layer", "type"]

UNIT_KINDS = {"head": ("heads",), "neuron": ("neurons",), "structured": ("heads", "neurons")}
"""Kinds of couplings by the granularities that prune whole units."""


# By `resolved`.
_FILLED_IN = ("total_steps", "initial_warmup_steps", "final_warmup_steps")


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """Settings of a pruning run. Steps are optimiser steps, counted from 1.

    sparsity: share of the prunable weights that ends as zeros, in [0, 1); with granularity "structured" the share of the
        dense model's time that goes: 0.5 for a model twice as fast.
    total_steps: length of the training; None lets `PlatonCallback` fill it from the Trainer.
    initial_warmup_steps, final_warmup_steps: steps before the first mask, and steps at the full sparsity at
        the end; None stands for 10 % and 30 % of `total_steps`.
    mask_interval: steps in a window of the sensitivity, and between two masks while the sparsity rises.
    beta1, beta2: smoothing of sensitivity and uncertainty, once per window.
    criterion: what is ranked; see `platon_compress.pruning.importance`.
    granularity: what lives or dies as one: a single weight, four weights of one input in consecutive outputs
        ("4x1"), two of every four consecutive inputs ("2:4", sparsity 0.5), an attention head, an FFN neuron; or heads,
        neurons and whole layers together, by score per measured second ("structured").
    group_multiple: heads or neurons kept per layer are a multiple of this; None stands for 1 head, 8 neurons.
    targets, ignore, include_biases: see `platon_compress.selection.select`.
    reference_compat: the authors' code to the letter, quirks included (single weights, platon, cubic, global).
    start_sparsity: where the cubic schedule begins right after the initial warm-up, in place of 0.
    schedule: "cubic"; "constant" (the full sparsity right after the initial warm-up, ranked anew each window);
        "one_shot" (the same, ranked once); "held": given masks from the first step on, see
        `platon_compress.pruning.held`.
    scope: one ranking for all ("global"), one per weight ("layer"), or one per role in the block ("type").
    max_layer_sparsity: no single weight loses more than this share (global scope).
    bounds: (least, greatest) share that a single weight loses, by entries as in `targets`, later ones winning; see
        `platon_compress.pruning.bounds` (global scope).
    freeze_steps: the mask stays as it is during this many steps at the end.
    weight_costs: seconds per weight by the shape "OUTxIN" of its layer; scores are then ranked per second, see
        `platon_compress.pruning.costs`.
    unit_costs: what heads and neurons cost, for "structured"; see `platon_compress.pruning.unit_costs`.
    rewind_to: when the mask freezes, the learning rate goes back to where its schedule was at this fraction of
        the run and runs from there to its end; see `platon_compress.pruning.rewind`. In a family: at each hold.
    family: sparsities that the schedule holds at on its way, rising, the last one being `sparsity`; see
        `platon_compress.pruning.family`. Warm-ups are then those of a run at one sparsity, 10 % and 30 % of its steps.
    hold_steps: steps of every hold but the last; None stands for 0.2 of a single run's, together at most 0.6.

    Raises InputError on a value out of range and on a schedule that cannot prune.
    """

    sparsity: float
    total_steps: int | None = None
    initial_warmup_steps: int | None = None
    final_warmup_steps: int | None = None
    mask_interval: int = 10
    beta1: float = 0.85
    beta2: float = 0.95
    criterion: Criterion = "platon"
    granularity: Granularity = "element"
    targets: str | tuple[str, ...] | None = None
    ignore: str | tuple[str, ...] = ()
    include_biases: bool = False
    reference_compat: bool = False
    group_multiple: int | None = None
    schedule: Shape = "cubic"
    start_sparsity: float = 0.0
    scope: Scope = "global"
    max_layer_sparsity: float | None = None
    bounds: Mapping[str, tuple[float, float]] | None = None
    freeze_steps: int = 0
    rewind_to: float | None = None
    weight_costs: Mapping[str, float] | None = None
    unit_costs: UnitCosts | None = None
    family: tuple[float, ...] | None = None
    hold_steps: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.unit_costs, Mapping):
            object.__setattr__(self, "unit_costs", UnitCosts.from_dict(self.unit_costs))
        for field in ("targets", "ignore", "family"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, field, tuple(value))
        if self.bounds is not None:
            object.__setattr__(self, "bounds", checked_bounds(self.bounds))
        self._check_ranges()
        self._check_names()
        if self.total_steps is not None:
            self._check_schedule(self.total_steps)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PruneConfig":
        """Inverse of `to_dict`; also takes a recipe's block."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise InputError(f"unknown pruning setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
        if "sparsity" not in values:
            raise InputError("the pruning settings hold no sparsity; add for example sparsity: 0.9")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; tuples become lists."""
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        bounds = None if self.bounds is None else {name: list(bound) for name, bound in self.bounds.items()}
        costs = None if self.unit_costs is None else self.unit_costs.to_dict()
        return {**plain, "bounds": bounds, "unit_costs": costs}

    def resolved(self, total_steps: int | None = None) -> "PruneConfig":
        """The same settings with every default that depends on the run's length filled in."""
        total = self.total_steps if self.total_steps is not None else total_steps
        if total is None:
            raise InputError(
                "total_steps is not set; give the number of optimiser steps of the run, "
                "or prune with PlatonCallback, which takes it from the Trainer"
            )
        initial, final = self._warmups(total)
        full = replace(self, total_steps=total, initial_warmup_steps=initial, final_warmup_steps=final)
        if self.family is None or len(self.family) == 1:
            return full if self.family is None else replace(full, hold_steps=0)
        return replace(full, hold_steps=(total - self.single_steps(total)) // (len(self.family) - 1))

    def single_steps(self, total: int) -> int:
        """Steps of a run at one sparsity; without a family that is `total` itself."""
        return total if self.family is None else single_steps(total, len(self.family), self.hold_steps)

    @property
    def kept_multiple(self) -> int:
        """Heads or neurons kept per layer are a multiple of this."""
        if self.group_multiple is not None:
            return self.group_multiple
        # benchmarks/results/rounding.json (ONNX Runtime, AVX2): a neuron of an odd count costs about 3 % more;
        # from 2 up the differences stay within the noise, so 8, the floats of a vector, gives nothing away.
        return 8 if self.granularity == "neuron" else 1

    def _warmups(self, total: int) -> tuple[int, int]:
        if self.schedule == "held":
            return 0, total
        initial, final = self.initial_warmup_steps, self.final_warmup_steps
        total = self.single_steps(total)
        return total // 10 if initial is None else initial, total * 3 // 10 if final is None else final

    def _check_ranges(self) -> None:
        for name in ("sparsity", "start_sparsity", "beta1", "beta2"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{name} must be a number, got {value!r}; write for example 0.9")
        if not 0 <= self.sparsity < 1:
            raise InputError(f"sparsity must lie in [0, 1), got {self.sparsity}; 0.9 keeps one weight in ten")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"{name} must lie in [0, 1), got {getattr(self, name)}; the authors use 0.85 to 0.95"
                )
        for name, least in (
            ("mask_interval", 1),
            ("total_steps", 1),
            ("initial_warmup_steps", 0),
            ("final_warmup_steps", 0),
            ("group_multiple", 1),
            ("freeze_steps", 0),
            ("hold_steps", 0),
        ):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise InputError(
                    f"{name} must be a whole number >= {least}, got {value!r}; correct the setting"
                )

    def _check_names(self) -> None:
        choices = {
            "criterion": get_args(Criterion),
            "granularity": get_args(Granularity),
            "schedule": get_args(Shape),
            "scope": get_args(Scope),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"unknown {name} {getattr(self, name)!r}; choose one of {', '.join(allowed)}"
                )
        if self.reference_compat:
            self._check_reference()
        if self.granularity == "2:4" and self.sparsity not in (0, 0.5):
            raise InputError(
                f"granularity '2:4' prunes exactly half of the weights, got sparsity {self.sparsity}; set 0.5"
            )
        if self.granularity != "element" and (self.scope != "global" or self._is_bounded):
            raise InputError(
                f"scope, max_layer_sparsity and bounds rank single weights, got granularity {self.granularity!r}; "
                "set granularity='element' or leave them out"
            )
        self._check_start()
        self._check_bound()
        self._check_weight_costs()
        self._check_held()
        self._check_structured()
        self._check_family()

    def _check_family(self) -> None:
        family = self.family
        if family is None:
            if self.hold_steps is not None:
                raise InputError(f"hold_steps {self.hold_steps} are those of a family; give one or drop it")
            return
        if not family or any(isinstance(s, bool) or not isinstance(s, int | float) for s in family):
            raise InputError(
                f"family must be sparsities, got {list(family)!r}; write for example 0.5, 0.7, 0.9"
            )
        rising = all(before < after for before, after in zip((0, *family), family, strict=False))
        if not rising or family[-1] != self.sparsity:
            raise InputError(
                f"family must rise and end with sparsity {self.sparsity}, got {list(family)!r}; correct one of the two"
            )
        fixed: dict[str, Any] = {"schedule": "cubic", "reference_compat": False, "freeze_steps": 0}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise InputError(
                    f"a family goes with {name}={value!r}, got {getattr(self, name)!r}; it holds its masks by itself"
                )

    def _check_held(self) -> None:
        """Masks that are given leave no choice."""
        if self.schedule != "held":
            return
        for field in fields(self):
            chosen = field.name not in ("sparsity", "schedule", "targets", *_FILLED_IN)
            if chosen and getattr(self, field.name) != field.default:
                raise InputError(
                    f"schedule 'held' takes given masks as they are, got {field.name}={getattr(self, field.name)!r}; leave "
                    "it out"
                )

    def _check_structured(self) -> None:
        if self.granularity != "structured" and self.unit_costs is not None:
            raise InputError(
                f"unit_costs go with granularity='structured', got {self.granularity!r}; drop one of the two"
            )
        if self.granularity == "structured" and self.group_multiple is not None:
            raise InputError(
                f"granularity 'structured' keeps measured numbers of units, got group_multiple {self.group_multiple}; "
                "leave it out"
            )

    def _check_weight_costs(self) -> None:
        if self.weight_costs is None:
            return
        check_costs(self.weight_costs)
        fixed: dict[str, Any] = {"granularity": "element", "scope": "global", "reference_compat": False}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise InputError(
                    f"weight_costs go with {name}={value!r}, got {getattr(self, name)!r}; drop one of the two"
                )
        if self.criterion == "movement":
            raise InputError(
                "weight_costs need scores of one sign, those of criterion 'movement' have two; take another one"
            )

    def _check_reference(self) -> None:
        fixed = {"granularity": "element", "criterion": "platon", "schedule": "cubic", "scope": "global"}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise InputError(
                    f"reference_compat goes with {name}={value!r}, got {getattr(self, name)!r}; "
                    f"set {name}={value!r} or drop reference_compat"
                )
        if self._is_bounded:
            raise InputError(
                "reference_compat ranks as the authors do, without max_layer_sparsity and bounds; drop these or "
                "reference_compat"
            )
        if not self.beta2:
            raise InputError(
                "reference_compat needs beta2 above 0, got 0; the authors' code gives 0 two meanings"
            )

    def _check_start(self) -> None:
        start = self.start_sparsity
        lowest = self.family[0] if self.family else self.sparsity
        if not 0 <= start < (lowest or 1):
            whose = "the first of the family" if self.family else "sparsity"
            raise InputError(
                f"start_sparsity must lie below {whose}, {lowest}, got {start}; lower it, or leave it out to begin at 0"
            )
        if start and self.schedule != "cubic":
            raise InputError(
                f"start_sparsity goes with schedule='cubic', got {self.schedule!r}, which begins at the full sparsity; "
                "drop one of the two"
            )

    @property
    def _is_bounded(self) -> bool:
        return self.max_layer_sparsity is not None or self.bounds is not None

    def _check_bound(self) -> None:
        if self.bounds is not None and self.scope != "global":
            raise InputError(
                f"bounds go with scope 'global', got scope {self.scope!r}; leave one of the two out"
            )
        bound = self.max_layer_sparsity
        if bound is None:
            return
        if self.scope != "global" or not self.sparsity <= bound <= 1:
            raise InputError(
                f"max_layer_sparsity {bound} goes with scope 'global' and lies between sparsity "
                f"{self.sparsity} and 1, got scope {self.scope!r}; correct it or leave it out"
            )

    def _check_rewind(self, total: int) -> None:
        back_to = self.rewind_to
        if back_to is None:
            return
        if isinstance(back_to, bool) or not isinstance(back_to, int | float) or back_to < 0:
            raise InputError(f"rewind_to must be a fraction of the run, got {back_to!r}; 0.5 is its middle")
        if self.family is not None:
            if back_to >= 1:
                raise InputError(
                    f"rewind_to must be a fraction of the run, got {back_to!r}; 0.5 is its middle"
                )
            return
        if not self.freeze_steps:
            raise InputError(
                f"rewind_to {back_to} rewinds when the mask freezes, but freeze_steps is 0; set freeze_steps"
            )
        if round(back_to * total) >= total - self.freeze_steps:
            raise InputError(
                f"rewind_to {back_to} of total_steps {total} does not come before the frozen steps, which begin at "
                f"{total - self.freeze_steps}; lower rewind_to or freeze_steps"
            )

    def _check_holds(self, total: int, single: int, initial: int, final: int) -> None:
        assert self.family is not None  # noqa: S101 - the caller has looked
        between = len(self.family) - 1
        hold = (total - single) // between if between else 0
        if not final or (between and not hold):
            raise InputError(
                f"a family needs at least one step in each hold, got hold_steps {hold} and final_warmup_steps {final}; "
                "train longer"
            )
        holds_of(
            self.family,
            total=total,
            initial=initial,
            final=final,
            hold_steps=hold,
            start=self.start_sparsity,
        )

    def _check_schedule(self, total: int) -> None:
        if self.schedule == "held":  # nothing rises
            return
        initial, final = self._warmups(total)
        if self.mask_interval > total:
            raise InputError(
                f"mask_interval {self.mask_interval} exceeds total_steps {total}, so no window ever ends; "
                f"lower mask_interval to at most {max(1, total // 10)}"
            )
        single = self.single_steps(total)
        # The authors' code jumps to the full sparsity when the two phases touch.
        if initial >= single or (initial + final >= single and not self.reference_compat):
            raise InputError(
                f"nothing would be pruned gradually: initial_warmup_steps {initial} + final_warmup_steps "
                f"{final} leave no step of total_steps {single}; shorten the warm-ups or train longer"
            )
        if self.freeze_steps > final:
            raise InputError(
                f"freeze_steps {self.freeze_steps} exceeds final_warmup_steps {final}, so the sparsity would "
                "never be reached; freeze at most the final phase"
            )
        self._check_rewind(total)
        if self.family is not None:
            self._check_holds(total, single, initial, final)
        if final == 0 and total % self.mask_interval:
            raise InputError(
                f"final_warmup_steps 0 and total_steps {total}, no multiple of mask_interval "
                f"{self.mask_interval}, end the run between two masks; give final_warmup_steps at least one step"
            )
