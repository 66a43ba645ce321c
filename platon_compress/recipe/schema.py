"""What a recipe may say as a whole; the descriptions of its keys are the reference in docs/recipe.md."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from platon_compress.errors import shown
from platon_compress.limits import LIMITS
from platon_compress.recipe.data import TRAINABLE_TASKS, DataSection, unused_data_keys
from platon_compress.recipe.deployment import (
    BakeSection,
    BenchSection,
    BudgetSection,
    ExportSection,
    PlanSection,
    VerifySection,
)
from platon_compress.recipe.fields import Section, Text, Texts, about, numbers
from platon_compress.recipe.training import (
    OWN_SETTINGS,
    DistillSection,
    OneShotSection,
    PruneSection,
    TrainSection,
)

__all__ = ["ModelSection", "Recipe"]

# Their models are finished before any training, so that they can teach their pruned selves.
_TEACH_THEMSELVES = ("sentence-similarity",)


class ModelSection(Section):
    """Which model to prune: `name`, or `config` for one that starts untrained."""

    name: Text | None = about(
        "A folder, a hub id, or `package:NAME` for a pip package that contains a model folder.", None
    )
    config: dict[str, Any] | None = about(
        "Build an untrained model instead: a mapping with `model_type` and that type's own fields.", None
    )
    task: Text = about(f"The model's task. Trainable: {', '.join(TRAINABLE_TASKS)}.")
    freeze: Texts = about(
        "Parameters whose names contain one of these are not trained, such as `word_embeddings`.", ()
    )
    # Only a call may trust: the flag sets it on a parsed recipe, and it is never written down.
    trust_remote_code: SkipJsonSchema[bool] = Field(default=False, exclude=True)
    cache_dir: Text | None = about("Where to keep downloads; default: the hub's cache.", None)

    @field_validator("trust_remote_code", mode="before")
    @classmethod
    def _no_file_may_trust(cls, value: Any) -> Any:
        if value is not False:
            raise ValueError(
                "code is trusted by the flag --trust-remote-code of a command alone; take the key out"
            )
        return value

    @field_validator("config")
    @classmethod
    def _sizes_of_a_model(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        for key, number in numbers(value):
            if number not in LIMITS["model.size"]:
                raise ValueError(f"{key} is {shown(number)}; give {LIMITS['model.size']}")
        return value

    @model_validator(mode="after")
    def _exactly_one_source(self) -> "ModelSection":
        if (self.name is None) == (self.config is None):
            both = "both given; leave one out" if self.name is not None else "both missing; give one of them"
            raise ValueError(f"model.name and model.config are {both}")
        return self


class Recipe(Section):
    """One whole run."""

    kind: Literal["run", "demo", "compress"] = about(
        "`compress` takes a model that already contains zeros; it needs no data, train or prune section.",
        "run",
    )
    model: ModelSection = about("Which model to prune.")
    dense: Text | None = about(
        "The folder of an earlier run with the same model, data and train sections, whose baseline is reused; for "
        "`compress`, the unpruned model to compare with.",
        None,
    )
    data: DataSection | None = about("Where the examples come from.", None)
    metric: Text | None = about(
        "Metric that the models are judged by; default: the task's first metric.", None
    )
    train: TrainSection = about("The training.", TrainSection())
    prune: PruneSection | None = about("The pruning.", None)
    distill: DistillSection | None = about("Learning from a teacher.", None)
    budget: BudgetSection | None = about("What the model may cost.", None)
    oneshot: OneShotSection | None = about("Pruning without training.", None)
    bake: BakeSection = about("How masks become zeros.", BakeSection())
    plan: PlanSection = about("The deployment.", PlanSection())
    export: ExportSection = about("How the ONNX files are written.", ExportSection())
    verify: VerifySection = about("The parity check.", VerifySection())
    bench: BenchSection = about("What is timed.", BenchSection())

    @property
    def has_labels(self) -> bool:
        """Whether the training rows carry labels."""
        return self.distill is None or self.distill.labels

    @property
    def judges(self) -> bool:
        """Whether there are rows to take the metric on."""
        return self.data is not None and self.data.has_validation

    @property
    def chooses(self) -> bool:
        """Whether the model that is finished is chosen among candidates, or checked against a budget."""
        return self.budget is not None or bool(self.family)

    @property
    def family(self) -> tuple[float, ...]:
        """The sparsities that one training holds at; none for a training to a single one."""
        return (self.prune.family if self.prune is not None else None) or ()

    @property
    def searches(self) -> bool:
        """Whether a search says before the training what can be met."""
        return self.budget is not None and self.budget.limits.asks_for_speed_or_size

    @property
    def searches_sparsity(self) -> bool:
        """Whether that search says what is trained, in the place of `prune.sparsity`."""
        return self.searches and not self.family

    @property
    def pruning_training(self) -> TrainSection:
        """How the model that is pruned is trained: as the baseline, but for what the section prune says of it."""
        return self._trained(OWN_SETTINGS)

    @property
    def unpruned_training(self) -> TrainSection:
        """How a model is trained that stands beside the pruned one: as the baseline, but for `shared_settings`."""
        return self._trained(self.shared_settings)

    @property
    def shared_settings(self) -> tuple[str, ...]:
        """Which of OWN_SETTINGS hold for such a model too: it is trained as long.

        Where both go on from the baseline, with the pruned one's learning rate: it was chosen for going on.
        """
        goes_on = self.prune is not None and self.prune.from_dense
        return ("epochs", "learning_rate") if goes_on else ("epochs",)

    def _trained(self, keys: tuple[str, ...]) -> TrainSection:
        own = {} if self.prune is None else {key: getattr(self.prune, key) for key in keys}
        return self.train.model_copy(update={key: value for key, value in own.items() if value is not None})

    @property
    def teacher(self) -> str | None:
        """The model that teaches; None: the run's own dense baseline, or nobody."""
        if self.distill is None:
            return None
        if self.distill.teacher is None and not self.distill.labels:
            return self.model.name if self.model.task in _TEACH_THEMSELVES else None
        return self.distill.teacher

    @model_validator(mode="after")
    def _complete(self) -> "Recipe":
        if self.kind == "compress":
            return self._complete_compress()
        data = self.data
        if self.oneshot is not None:
            raise ValueError("the section oneshot is for compress, which trains nothing; leave it out")
        if data is None or self.prune is None:
            raise ValueError(f"the section {'data' if data is None else 'prune'} is missing; add it")
        if data.calibration is not None:
            raise ValueError("data.calibration is for compress, which trains nothing; leave it out")
        if self.model.task not in TRAINABLE_TASKS:
            raise ValueError(f"model.task is {self.model.task!r}; use one of {', '.join(TRAINABLE_TASKS)}")
        data.check_sources()
        if not self.has_labels and self.model.task == "image-classification":
            raise ValueError(
                f"distill.labels false reads texts, but model.task is {self.model.task!r}; leave distill.labels out"
            )
        if not self.has_labels and self.teacher is None:
            raise ValueError(
                "distill: without labels there is no baseline to learn from; name a fine-tuned teacher"
            )
        if self.prune.counts_time and self.plan.device != "cpu":
            raise ValueError(
                f"what structured models gain is measured on the CPU, and plan.device is {self.plan.device}; prune heads "
                "or neurons to a sparsity instead"
            )
        self._refuse_unused_keys()
        if self.prune.quantize is not None and self.plan.values == "float32":
            raise ValueError(
                "prune.quantize trains for 8-bit values, and plan.values is float32; set plan.values: int8"
            )
        self._check_average(self.prune)
        self._check_budget(self.prune)
        return self

    def _check_average(self, prune: PruneSection) -> None:
        """Weights under different masks have different zeros."""
        if prune.masks_from is not None or prune.family or prune.schedule == "one_shot":
            return
        if self.train.average > prune.freeze:
            raise ValueError(
                f"train.average {self.train.average:g} averages weights under one mask, and prune.freeze is "
                f"{prune.freeze:g}; set prune.freeze to at least {self.train.average:g}"
            )

    def _check_budget(self, prune: PruneSection) -> None:
        """A budget is judged at the planned deployment, so that must be what is timed."""
        if prune.granularity == "2:4" and (prune.family or self.searches):
            raise ValueError(
                "granularity 2:4 has the sparsity 0.5 alone: there is nothing to search or to hold at; leave out "
                "prune.family and limits of speed and size, or take another granularity"
            )
        if not self.searches:
            return
        if prune.masks_from is not None:
            raise ValueError(
                "prune.masks_from has its sparsity already, so there is nothing to search; leave it out, or the limits of "
                "speed and size"
            )
        plan, bench = self.plan, self.bench
        if plan.device != "cpu" or bench.device != "cpu":
            raise ValueError("budget: the search measures on the cpu alone, got cuda; leave the device out")
        for key, planned, timed in (
            ("batch", plan.batch, bench.batch),
            ("tokens", plan.tokens, bench.tokens),
        ):
            if timed is not None and planned not in timed:
                raise ValueError(
                    f"budget is judged at plan.{key} {planned or 'by default'}, bench.{key} is {list(timed)}; add it there"
                )
        if bench.threads not in (None, plan.threads):
            raise ValueError(
                f"budget is judged with plan.threads {plan.threads}, bench.threads is {bench.threads}; leave that out"
            )

    def _complete_compress(self) -> "Recipe":
        if self.budget is not None:
            raise ValueError("a budget is for a run that trains; leave the section budget out")
        if self.distill is not None:
            raise ValueError("compress trains nothing, so it cannot distill; leave the section out")
        data = self.data
        calibrates = data is not None and data.calibration is not None
        if self.oneshot is not None and not calibrates:
            raise ValueError(
                "pruning without training looks at data, and data.calibration (--calibration of compress) is not given; "
                "give a file with a few hundred rows"
            )
        if self.oneshot is None and calibrates:
            raise ValueError(
                "data.calibration is for pruning without training; give oneshot.sparsity (--sparsity of compress) too"
            )
        if data is not None and data.validation is not None and data.dataset is not None:
            raise ValueError("data.validation and data.dataset are both given; leave one out")
        if data is not None and not data.has_validation and not calibrates:
            raise ValueError("the data is data.validation or data.dataset; give one of them")
        self._refuse_unused_keys()
        return self

    def _refuse_unused_keys(self) -> None:
        if self.data is not None and (unused := unused_data_keys(self.data, self.model.task)):
            raise ValueError(f"data.{unused[0]} is no key of the task {self.model.task}; leave it out")
        if self.train.augment and self.model.task != "image-classification":
            raise ValueError(
                f"train.augment is for pictures, and model.task is {self.model.task}; leave it out"
            )
        if self.train.group_by_length and self.model.task == "image-classification":
            raise ValueError(
                "train.group_by_length is for texts, and model.task is image-classification; leave it out"
            )
