"""The sections of a recipe that say how a model gets its zeros: train, distill, prune, oneshot."""

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from platon_compress.oneshot.config import Method
from platon_compress.pruning.config import Criterion, Granularity, Rise, Scope
from platon_compress.recipe.fields import LISTED, NUMBER, Section, Several, Text, Texts, about, limited

__all__ = ["OWN_SETTINGS", "Augmentation", "DistillSection", "OneShotSection", "PruneSection", "TrainSection"]

Augmentation = Literal["flip", "crop"]


OWN_SETTINGS = ("epochs", "learning_rate", "dropout")
"""Keys of `train` that the section prune may set otherwise for its own training."""

_Share = Annotated[float, Field(ge=0, le=1), NUMBER]


class TrainSection(Section):
    """The training, done once dense and once with pruning."""

    epochs: Annotated[float, limited("train.epochs"), NUMBER] = about("Passes over the training rows.", 4)
    batch_size: Annotated[int, limited("train.batch_size"), NUMBER] = about("Rows per step.", 32)
    learning_rate: Annotated[float, limited("train.learning_rate"), NUMBER] = about(
        "Peak learning rate of AdamW, reached after the warm-up; it then falls linearly to zero.", 5e-5
    )
    weight_decay: Annotated[float, limited("train.weight_decay"), NUMBER] = about(
        "Weight decay of AdamW.", 0.01
    )
    warmup_ratio: Annotated[float, limited("train.warmup_ratio"), NUMBER] = about(
        "Fraction of the steps during which the learning rate rises.", 0.1
    )
    max_grad_norm: Annotated[float, limited("train.max_grad_norm"), NUMBER] = about(
        "Gradients are clipped to this norm.", 1.0
    )
    gradient_accumulation_steps: Annotated[int, limited("train.gradient_accumulation_steps"), NUMBER] = about(
        "Batches per optimiser step.", 1
    )
    evaluations: Annotated[int, limited("train.evaluations"), NUMBER] = about(
        "How often the metric is measured and a checkpoint written during a training.", 6
    )
    average: Annotated[float, limited("train.average"), NUMBER] = about(
        "Fraction of the steps, at the end, whose weights are averaged into the final model, both dense and pruned. The "
        "mask must be fixed during them: `prune.freeze` of at least this value, the holds of a `family`, or `masks_from`.",
        0.0,
    )
    bf16: bool = about(
        "Compute in bfloat16; weights and their updates stay in float32. Faster on GPUs, and on processors that multiply "
        "bfloat16 natively (see `platon-compress doctor`).",
        False,
    )
    augment: Annotated[tuple[Augmentation, ...], LISTED] = about(
        "Vary images at every step (image-classification): `flip` mirrors every second one left to right, which is wrong "
        "for digits, letters and traffic signs; `crop` shifts each by up to an eighth of its size, padded by reflection. "
        "Drawn with `seed`; never applied in evaluation.",
        (),
    )
    group_by_length: bool = about(
        "Batches hold texts of similar length, in random order: less padding, so steps are faster where lengths differ.",
        False,
    )
    dropout: Annotated[float, limited("train.dropout"), NUMBER] | None = about(
        "Dropout probability of features and attention weights; default: the model's own, mostly 0.1 for texts. With 0, "
        "steps on CPUs are faster, the more so the longer the texts.",
        None,
    )
    seed: Annotated[int, limited("train.seed"), NUMBER] = about(
        "Seed for the row order, dropout, `augment` and newly initialised weights.", 1
    )


class DistillSection(Section):
    """Learning from a teacher while pruning. Omit the section to learn from the labels only."""

    teacher: Text | None = about(
        "A fine-tuned model (folder, hub id or `package:NAME`); default: the run's own dense baseline, or for "
        "sentence-similarity without labels the model itself.",
        None,
    )
    weight: Annotated[float, limited("distill.weight"), NUMBER] | None = about(
        "Share of the teacher's answers in the loss; the labels get the rest. Default: 0.5, or 1 without labels.",
        None,
    )
    temperature: Annotated[float, limited("distill.temperature"), NUMBER] = about(
        "Softens the answers of both teacher and student; embeddings and ranking scores are compared as they are.",
        2.0,
    )
    hidden: Annotated[float, limited("distill.hidden"), NUMBER] = about(
        "Weight of the layer-wise error of the hidden states (for a deeper teacher, those at the same relative depth); 0 "
        "disables it.",
        0.0,
    )
    relative: bool = about(
        "Divide each layer's part of `hidden` by the teacher's mean square there (SquareHead), so that all layers count "
        "equally; otherwise layers with large states dominate.",
        False,
    )
    labels: bool = about(
        "False reads the training texts without a label column; `teacher` is then required (sentence-similarity has a "
        "default), and the baseline learns from it too. A baseline that would learn from itself is used as it is.",
        True,
    )

    @model_validator(mode="after")
    def _consistent(self) -> "DistillSection":
        if not self.labels and self.weight not in (None, 1):
            raise ValueError(f"weight is {self.weight}, but without labels it is 1; leave it out")
        if self.weight == 0 and self.hidden == 0:
            raise ValueError("weight and hidden are both 0, so nothing is learnt; raise one of them")
        if self.relative and self.hidden == 0:
            raise ValueError("relative goes with hidden, which is 0; set hidden to 1, or relative to false")
        return self

    @property
    def share(self) -> float:
        """`weight` with its default filled in."""
        return self.weight if self.weight is not None else (0.5 if self.labels else 1.0)


_DENSE_GRANULARITIES = ("head", "neuron", "structured")
_SAY_HOW_FAR = ("sparsity", "speedup", "family", "masks_from")


def _one_says_how_far(schema: dict[str, Any]) -> None:
    """For the JSON schema."""
    schema["anyOf"] = [{"required": [name]} for name in _SAY_HOW_FAR]


class PruneSection(Section):
    """PLATON's settings. Warm-ups, freeze and rewind are fractions of all steps."""

    model_config = ConfigDict(json_schema_extra=_one_says_how_far)

    sparsity: Annotated[float, limited("prune.sparsity"), NUMBER] | None = about(
        "Fraction of the prunable weights that become zero; 0.9 keeps one in ten. Required unless `speedup`, `family` or "
        "`masks_from` determines it.",
        None,
    )
    speedup: Annotated[float, limited("prune.speedup"), NUMBER] | None = about(
        "Instead of `sparsity`, with granularity `structured`: the target speed as a multiple of dense, estimated from half "
        "blocks that are timed before training; the schedule then counts time.",
        None,
    )
    family: Several[Annotated[float, limited("prune.family"), NUMBER]] | None = about(
        "Increasing sparsities at which one run holds, each but the last for an extra fifth of the steps (at most 0.6 in "
        "all), with a finished candidate at each; `sparsity` (default: the last) is exported unless a budget chooses. With "
        "granularity `structured` they are fractions of the time removed, as measured before training: 0.5 is twice as "
        "fast.",
        None,
    )
    masks_from: Text | None = about(
        "Instead of `sparsity`: the folder of a finished run (for a family, its chosen member), or a safetensors file of "
        "masks. The masks stay fixed from the first step, so nothing is scored; training continues from the weights stored "
        "with them, or else from the dense baseline. Of the other keys in this section, only `quantize`, `epochs`, "
        "`learning_rate` and `dropout` may be combined with it.",
        None,
    )
    granularity: Granularity = about(
        "What is pruned as a unit: a weight, four rows of a column (`4x1`), two of four (`2:4`), an attention head, a "
        "feed-forward neuron; or heads, neurons and whole layers together, by score per measured millisecond (`structured`, "
        "with `speedup` or a `family`).",
        "element",
    )
    criterion: Criterion = about("How weights are scored.", "platon")
    epochs: Annotated[float, limited("prune.epochs"), NUMBER] | None = about(
        "Passes over the training rows while pruning; default: `train.epochs`, which always applies to the dense baseline.",
        None,
    )
    learning_rate: Annotated[float, limited("prune.learning_rate"), NUMBER] | None = about(
        "Peak learning rate while pruning; default: `train.learning_rate`, which always applies to the dense baseline.",
        None,
    )
    dropout: Annotated[float, limited("prune.dropout"), NUMBER] | None = about(
        "Dropout while pruning; default: `train.dropout`.", None
    )
    from_dense: bool = about(
        "Start pruning from the weights of the dense baseline, so that its steps come on top of the baseline's. By default "
        "it starts from the model as given, as the authors do.",
        False,
    )
    mask_interval: Annotated[int, limited("prune.mask_interval"), NUMBER] | None = about(
        "Steps between mask updates; default: 10, or less in a short run.", None
    )
    beta1: Annotated[float, limited("prune.beta1"), NUMBER] = about("Smoothing of the sensitivity.", 0.85)
    beta2: Annotated[float, limited("prune.beta2"), NUMBER] = about("Smoothing of its uncertainty.", 0.95)
    initial_warmup: Annotated[float, limited("prune.initial_warmup"), NUMBER] = about(
        "Fraction of the steps before the first mask.", 0.1
    )
    final_warmup: Annotated[float, limited("prune.final_warmup"), NUMBER] = about(
        "Fraction of the steps at the end, at full sparsity.", 0.3
    )
    freeze: Annotated[float, limited("prune.freeze"), NUMBER] = about(
        "Fraction of the steps, at the end, during which the mask is fixed; at most `final_warmup`.", 0.0
    )
    quantize: Literal["int8"] | None = about(
        "`int8`: during the last phase (`final_warmup`; with `masks_from`, in all steps) pruned layers compute as with "
        "`plan.values: int8`, so that the model learns to tolerate the rounding.",
        None,
    )
    rewind_to: Annotated[float, limited("prune.rewind_to"), NUMBER] | None = about(
        "When the mask freezes, rewind the learning rate to its value at this fraction of the run; in a `family`, at each "
        "hold (default: 0.5).",
        None,
    )
    per_millisecond: bool = about(
        "Divide the scores by the measured cost of a weight in its layer, from `plan.cost_table` or measured before "
        "training (`plan.calibrate: false`: from the shipped table).",
        False,
    )
    schedule: Rise = about(
        "How the sparsity rises: `cubic`, or all at once after the warm-up, with the ranking updated (`constant`) or made "
        "only once (`one_shot`).",
        "cubic",
    )
    start_sparsity: Annotated[float, limited("prune.start_sparsity"), NUMBER] = about(
        "Sparsity at which the cubic schedule starts right after the warm-up; 0.5 to 0.7 leaves the steps of the rise to "
        "the weights that are hard to rank.",
        0.0,
    )
    scope: Scope = about(
        "One ranking for all weights, one per weight matrix, or one per role in the block.", "global"
    )
    max_layer_sparsity: Annotated[float, limited("prune.max_layer_sparsity"), NUMBER] | None = about(
        "No single weight matrix loses more than this fraction (scope `global`).", None
    )
    bounds: dict[Text, tuple[_Share, _Share]] | None = about(
        "Minimum and maximum sparsity of individual weight matrices, with entries as in `targets`: "
        '`{"re:.*attention.*": [0, 0.95]}`; later entries win, also over `max_layer_sparsity`. Within these bounds the '
        "ranking stays global, and the overall sparsity is met exactly (scope `global`).",
        None,
    )
    group_multiple: Annotated[int, limited("prune.group_multiple"), NUMBER] | None = about(
        "The heads or neurons kept per layer are a multiple of this; default: 1 head, 8 neurons.", None
    )
    targets: Texts | None = about(
        "Modules or parameters to prune, by name or by patterns that begin with `re:`; default: the linear layers of "
        "the transformer blocks.",
        None,
    )
    ignore: Texts = about("Modules or parameters to leave alone, given like `targets`.", ())

    @model_validator(mode="before")
    @classmethod
    def _implied_sparsity(cls, raw: Any) -> Any:
        """A speed-up says the sparsity by itself, the share of the time that goes; a family ends with it."""
        if not isinstance(raw, dict) or raw.get("sparsity") is not None:
            return raw
        speedup, family = raw.get("speedup"), raw.get("family")
        if speedup is None:
            return {**raw, "sparsity": family[-1]} if isinstance(family, list | tuple) and family else raw
        number = isinstance(speedup, int | float) and speedup > 1
        return {
            **raw,
            "sparsity": 1 - 1 / speedup if number else 0.5,
        }  # what is no speed-up is refused by itself

    @property
    def target_sparsity(self) -> float:
        """`sparsity` where it is known: with `masks_from` only when the masks have been read."""
        assert self.sparsity is not None  # noqa: S101 - Workspace.prune fills it in
        return self.sparsity

    @property
    def counts_time(self) -> bool:
        """Whether sparsities are shares of the measured time that goes, not of the weights."""
        return self.granularity == "structured"

    @model_validator(mode="after")
    def _says_how_far(self) -> "PruneSection":
        if self.masks_from is None:
            if self.sparsity is None:
                raise ValueError(
                    f"sparsity is missing; add it, or one of {', '.join(_SAY_HOW_FAR[1:])} in its place"
                )
            return self
        for key, field in type(self).model_fields.items():
            if (
                key not in ("masks_from", "quantize", *OWN_SETTINGS)
                and (value := getattr(self, key)) != field.default
            ):
                raise ValueError(
                    f"masks_from takes the masks as they are, and {key} is {value!r}; leave one of the two out"
                )
        return self

    @model_validator(mode="after")
    def _speedup_fits(self) -> "PruneSection":
        if self.speedup is None:
            if self.counts_time and not self.family:
                raise ValueError(
                    "granularity structured asks for a speed-up, and none is given; set for example speedup: 2"
                )
            return self
        if self.family:
            raise ValueError(
                "a family says how fast its members are, and speedup does too; leave speedup out"
            )
        if not self.counts_time:
            raise ValueError(
                f"speedup goes with granularity structured, and it is {self.granularity}; correct one of them"
            )
        if not math.isclose(self.target_sparsity, 1 - 1 / self.speedup):
            raise ValueError(
                f"sparsity {self.sparsity:g} and speedup {self.speedup:g} are both given; leave sparsity out (null)"
            )
        return self

    @model_validator(mode="after")
    def _ranks_weights_or_units(self) -> "PruneSection":
        if self.counts_time and self.per_millisecond:
            raise ValueError(
                "per_millisecond ranks single weights, and granularity structured does so anyway; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> "PruneSection":
        if self.family and self.sparsity not in self.family:
            raise ValueError(
                f"sparsity {self.sparsity:g} is none of the family {', '.join(f'{s:g}' for s in self.family)}; name one of "
                "them, or leave sparsity out"
            )
        if self.family and self.freeze:
            raise ValueError(
                f"freeze is {self.freeze:g}, but a family holds its masks by itself; leave freeze out"
            )
        if self.quantize and (self.family or self.granularity in _DENSE_GRANULARITIES):
            what = (
                "a family has several holds"
                if self.family
                else f"granularity {self.granularity} leaves dense layers"
            )
            raise ValueError(
                f"quantize is for the last phase of sparse weights, and {what}; leave quantize out"
            )
        if self.initial_warmup + self.final_warmup >= 1:
            raise ValueError(
                f"initial_warmup {self.initial_warmup:g} and final_warmup {self.final_warmup:g} leave no step in "
                "which the sparsity rises; lower one of them, together they must stay below 1"
            )
        if self.freeze > self.final_warmup:
            raise ValueError(
                f"freeze {self.freeze:g} is more than final_warmup {self.final_warmup:g}, so the sparsity would not be "
                "reached; lower freeze or raise final_warmup"
            )
        if self.rewind_to is not None and not self.freeze and not self.family:
            raise ValueError(
                f"rewind_to {self.rewind_to:g} rewinds when the mask freezes, but freeze is 0; set for example freeze: 0.2"
            )
        if self.rewind_to is not None and self.rewind_to >= 1 - self.freeze:
            raise ValueError(
                f"rewind_to {self.rewind_to:g} is not before the frozen steps, which begin at {1 - self.freeze:g}; "
                "lower rewind_to or freeze"
            )
        return self


class OneShotSection(Section):
    """Pruning without training, for `compress`: the model sees `data.calibration` once."""

    sparsity: Annotated[float, limited("oneshot.sparsity"), NUMBER] = about(
        "Fraction of the weights in every linear layer of the blocks that become zero; beyond 0.6, train instead."
    )
    method: Method = about(
        "`sparsegpt` adjusts the remaining weights to compensate for the removed ones; `wanda` and `magnitude` only select.",
        "sparsegpt",
    )
    rows: Annotated[int, limited("oneshot.rows"), NUMBER] = about(
        "Use at most this many rows of `data.calibration`, drawn at random.", 512
    )
