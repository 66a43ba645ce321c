"""What a recipe may say: sections, keys, types, ranges. The descriptions here are the reference in docs/recipe.md."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from platon_compress.errors import shown
from platon_compress.limits import LIMITS, MAX_LIST, MAX_ROWS
from platon_compress.oneshot.config import Method
from platon_compress.pruning.config import Criterion, Granularity, Scope, Shape
from platon_compress.recipe.data import DataSection, unused_data_keys
from platon_compress.recipe.fields import LISTED, NUMBER, Section, Text, Texts, about, limited, numbers

__all__ = [
    "TRAINABLE_TASKS",
    "BakeSection",
    "BenchSection",
    "DataSection",
    "DistillSection",
    "ExportSection",
    "ModelSection",
    "OneShotSection",
    "PlanSection",
    "PruneSection",
    "Recipe",
    "TrainSection",
    "VerifySection",
]

TRAINABLE_TASKS = (
    "text-classification",
    "token-classification",
    "question-answering",
    "sentence-similarity",
    "text-ranking",
    "image-classification",
)
# Their models are finished before any training, so that they can teach their pruned selves.
_TEACH_THEMSELVES = ("sentence-similarity",)


def _check_rows(section: str, batch: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    if max(batch) * max(tokens) > MAX_ROWS:
        raise ValueError(
            f"{section}.batch {max(batch)} times {section}.tokens {max(tokens)} is more than {MAX_ROWS:,} rows; lower one"
        )


class ModelSection(Section):
    """Which model to prune: `name`, or `config` for one that starts untrained."""

    name: Text | None = about(
        "A folder, a hub id, or `package:NAME` for a pip package that carries a model folder.", None
    )
    config: dict[str, Any] | None = about(
        "Builds an untrained model instead: a mapping with `model_type` and that type's own fields.", None
    )
    task: Text = about(f"What the model is for. Training takes {', '.join(TRAINABLE_TASKS)}.")
    freeze: Texts = about("Parts of parameter names that are not trained, such as `word_embeddings`.", ())
    # Only a call may trust: the flag sets it on a parsed recipe, and it is never written down.
    trust_remote_code: SkipJsonSchema[bool] = Field(default=False, exclude=True)
    cache_dir: Text | None = about("Where downloads are kept; default: the hub's cache.", None)

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


class TrainSection(Section):
    """The training, done once dense and once more with pruning."""

    epochs: Annotated[float, limited("train.epochs"), NUMBER] = about("Passes over the training rows.", 4)
    batch_size: Annotated[int, limited("train.batch_size"), NUMBER] = about("Rows per step.", 32)
    learning_rate: Annotated[float, limited("train.learning_rate"), NUMBER] = about(
        "AdamW's, at the end of the warm-up; it falls linearly to zero.", 5e-5
    )
    weight_decay: Annotated[float, limited("train.weight_decay"), NUMBER] = about("AdamW's.", 0.01)
    warmup_ratio: Annotated[float, limited("train.warmup_ratio"), NUMBER] = about(
        "Share of the steps in which the learning rate rises.", 0.1
    )
    max_grad_norm: Annotated[float, limited("train.max_grad_norm"), NUMBER] = about(
        "Gradients are clipped to this norm.", 1.0
    )
    gradient_accumulation_steps: Annotated[int, limited("train.gradient_accumulation_steps"), NUMBER] = about(
        "Batches per optimiser step.", 1
    )
    evaluations: Annotated[int, limited("train.evaluations"), NUMBER] = about(
        "How often the metric is taken and a checkpoint written during a training.", 6
    )
    bf16: bool = about("Compute in bfloat16.", False)
    seed: Annotated[int, limited("train.seed"), NUMBER] = about(
        "Of the order of the rows, of dropout and of new weights.", 1
    )


class DistillSection(Section):
    """Learning from a teacher while pruning. Leave the section out to learn from the labels alone."""

    teacher: Text | None = about(
        "A fine-tuned model (folder, hub id or `package:NAME`); default: the run's own dense baseline, and for "
        "sentence-similarity without labels the model itself.",
        None,
    )
    weight: Annotated[float, limited("distill.weight"), NUMBER] | None = about(
        "Share of the teacher's answers in the loss, the labels have the rest; default: 0.5, or 1 without labels.",
        None,
    )
    temperature: Annotated[float, limited("distill.temperature"), NUMBER] = about(
        "Softens both sides' answers; embeddings and scores of rankings are compared as they are.", 2.0
    )
    hidden: Annotated[float, limited("distill.hidden"), NUMBER] = about(
        "Factor of the layer-wise error of the hidden states; 0 leaves them out.", 0.0
    )
    labels: bool = about(
        "False reads the training texts without a label column; then `teacher` must be given (sentence-similarity has "
        "one), and the baseline learns from it too. A baseline that would learn from itself is taken as it is.",
        True,
    )

    @model_validator(mode="after")
    def _consistent(self) -> "DistillSection":
        if not self.labels and self.weight not in (None, 1):
            raise ValueError(f"weight is {self.weight}, but without labels it is 1; leave it out")
        if self.weight == 0 and self.hidden == 0:
            raise ValueError("weight and hidden are both 0, so nothing is learnt; raise one of them")
        return self

    @property
    def share(self) -> float:
        """`weight` with its default filled in."""
        return self.weight if self.weight is not None else (0.5 if self.labels else 1.0)


class PruneSection(Section):
    """PLATON's settings. Warm-ups, freeze and rewind are fractions of all steps."""

    sparsity: Annotated[float, limited("prune.sparsity"), NUMBER] = about(
        "Share of the prunable weights that ends as zeros; 0.9 keeps one in ten."
    )
    granularity: Granularity = about(
        "What lives or dies as one: a weight, four rows of a column (`4x1`), two of four (`2:4`), an attention "
        "head, a neuron of the feed-forward.",
        "element",
    )
    criterion: Criterion = about("How weights are scored.", "platon")
    mask_interval: Annotated[int, limited("prune.mask_interval"), NUMBER] | None = about(
        "Steps between two masks; default: 10, or less in a short run.", None
    )
    beta1: Annotated[float, limited("prune.beta1"), NUMBER] = about("Smoothing of the sensitivity.", 0.85)
    beta2: Annotated[float, limited("prune.beta2"), NUMBER] = about("Smoothing of its uncertainty.", 0.95)
    initial_warmup: Annotated[float, limited("prune.initial_warmup"), NUMBER] = about(
        "Fraction of the steps before the first mask.", 0.1
    )
    final_warmup: Annotated[float, limited("prune.final_warmup"), NUMBER] = about(
        "Fraction of the steps at the end, at the full sparsity.", 0.3
    )
    freeze: Annotated[float, limited("prune.freeze"), NUMBER] = about(
        "Fraction of the steps at the end in which the mask stays as it is; at most `final_warmup`.", 0.0
    )
    rewind_to: Annotated[float, limited("prune.rewind_to"), NUMBER] | None = about(
        "When the mask freezes, the learning rate goes back to where it was at this fraction of the run.",
        None,
    )
    per_millisecond: bool = about(
        "Divide the scores by the measured cost of a weight of the layer, from `plan.cost_table` or measured "
        "before the training (`plan.calibrate: false`: from the table that ships).",
        False,
    )
    schedule: Shape = about(
        "How the sparsity rises: `cubic`, or at once after the warm-up with a ranking that goes on (`constant`) or is "
        "made once (`one_shot`).",
        "cubic",
    )
    scope: Scope = about(
        "One ranking for all weights, one per weight matrix, or one per role in the block.", "global"
    )
    max_layer_sparsity: Annotated[float, limited("prune.max_layer_sparsity"), NUMBER] | None = about(
        "No single weight matrix loses more than this share (scope `global`).", None
    )
    group_multiple: Annotated[int, limited("prune.group_multiple"), NUMBER] | None = about(
        "Heads or neurons kept per layer are a multiple of this; default: 1 head, 8 neurons.", None
    )
    targets: Texts | None = about(
        "Names of modules or parameters to prune, or patterns that begin with `re:`; default: the linear layers of "
        "the transformer blocks.",
        None,
    )
    ignore: Texts = about("The same, to leave alone.", ())

    @model_validator(mode="after")
    def _fits_together(self) -> "PruneSection":
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
        if self.rewind_to is not None and not self.freeze:
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
    """Pruning without training, for `compress`: the model looks at `data.calibration` once."""

    sparsity: Annotated[float, limited("oneshot.sparsity"), NUMBER] = about(
        "Share of the weights of every linear layer in the blocks that becomes zeros; beyond 0.6 train instead."
    )
    method: Method = about(
        "`sparsegpt` lets the weights that stay make good what the others did; `wanda` and `magnitude` only choose.",
        "sparsegpt",
    )
    rows: Annotated[int, limited("oneshot.rows"), NUMBER] = about(
        "Take at most so many rows of `data.calibration`, at random.", 512
    )


class BakeSection(Section):
    """How masks become zeros."""

    values: Literal["float32", "float16"] = about(
        "`float16` rounds the weights that stay, so that the file stores two bytes each.", "float32"
    )


class PlanSection(Section):
    """The deployment that the forms of the layers are chosen for."""

    tokens: Annotated[int, limited("plan.tokens"), NUMBER] | None = about(
        "Tokens per example; default: `data.max_length`, at most 128, or the model's patches.", None
    )
    batch: Annotated[int, limited("plan.batch"), NUMBER] = about("Examples per batch.", 1)
    threads: Annotated[int, limited("plan.threads"), NUMBER] | None = about(
        "Threads; default: all cores.", None
    )
    device: Literal["cpu", "cuda"] = about("Where the model will run.", "cpu")
    calibrate: bool = about("Measure this model's layer shapes on this machine first.", True)
    cost_table: Text | None = about(
        "A cost table that `platon-compress calibrate` wrote, instead of measuring now.", None
    )
    force: Literal["dense", "structured", "csr"] | None = about(
        "One form for every layer that can take it.", None
    )
    values: Literal["float32", "int8", "auto"] = about(
        "What sparse weights are stored and multiplied as: `int8`, 8-bit numbers with a scale per row, which are near the "
        "model's and not equal to them; `auto`, 8-bit numbers where they are measured to be faster.",
        "float32",
    )
    embeddings: Literal["float32", "int8"] = about(
        "What word embeddings are stored as: `int8`, 8-bit numbers with a scale per row, a quarter of the bytes, which are "
        "near the model's; lookup tables of up to 1,000 rows stay as they are.",
        "float32",
    )

    @model_validator(mode="after")
    def _rows(self) -> "PlanSection":
        _check_rows("plan", (self.batch,), (self.tokens or 1,))
        return self

    @model_validator(mode="after")
    def _has_sparse_weights(self) -> "PlanSection":
        if self.values != "int8":
            return self
        if self.device == "cuda":
            raise ValueError(
                "values is int8, but on cuda no layer is sparse; take values: float32 or device: cpu"
            )
        if self.force in ("dense", "structured"):
            raise ValueError(
                f"values is int8, but with force: {self.force} no layer is sparse; leave one of them out"
            )
        return self


class ExportSection(Section):
    """How the ONNX files are written."""

    opset: Annotated[int, limited("export.opset"), NUMBER] = about("Version of the standard operators.", 18)
    exporter: Literal["torchscript", "dynamo"] = about(
        "PyTorch's tracing exporter, or its slower successor.", "torchscript"
    )
    remove_padding: bool = about("Compute on the valid tokens of a padded batch only.", False)


class VerifySection(Section):
    """The parity check."""

    atol: Annotated[float, limited("verify.atol"), NUMBER] = about(
        "Largest allowed difference of the outputs.", 1e-4
    )
    examples: Annotated[int, limited("verify.examples"), NUMBER] = about(
        "Least number of examples to compare on.", 64
    )
    sensitivity: bool = about(
        "Say of every operator with 8-bit weights what rounding it alone costs, on at least 64 examples.",
        False,
    )


class BenchSection(Section):
    """What is timed: every batch with every token count."""

    batch: Annotated[
        tuple[Annotated[int, limited("bench.batch"), NUMBER], ...],
        Field(min_length=1, max_length=MAX_LIST),
        LISTED,
    ] = about("Batch sizes.", (1, 8))
    tokens: (
        Annotated[
            tuple[Annotated[int, limited("bench.tokens"), NUMBER], ...],
            Field(min_length=1, max_length=MAX_LIST),
            LISTED,
        ]
        | None
    ) = about("Tokens per text; default: as in `plan.tokens`.", None)
    runs: Annotated[int, limited("bench.runs"), NUMBER] = about("Timed rounds per setting.", 50)
    threads: Annotated[int, limited("bench.threads"), NUMBER] | None = about(
        "Threads; default: `plan.threads`.", None
    )
    device: Literal["cpu", "cuda"] = about("Where to measure.", "cpu")

    @model_validator(mode="after")
    def _rows(self) -> "BenchSection":
        _check_rows("bench", self.batch, self.tokens or (1,))
        return self


class Recipe(Section):
    """One whole run."""

    kind: Literal["run", "demo", "compress"] = about(
        "`compress` takes a model that holds zeros already: no data, train or prune needed.", "run"
    )
    model: ModelSection = about("Which model to prune.")
    dense: Text | None = about(
        "The folder of an earlier run with the same model, data and train sections, whose baseline is taken over; "
        "for `compress`, the unpruned model to compare with.",
        None,
    )
    data: DataSection | None = about("Where the examples come from.", None)
    metric: Text | None = about("What the models are judged by; default: the first metric of the task.", None)
    train: TrainSection = about("The training.", TrainSection())
    prune: PruneSection | None = about("The pruning.", None)
    distill: DistillSection | None = about("Learning from a teacher.", None)
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
        self._refuse_unused_keys()
        return self

    def _complete_compress(self) -> "Recipe":
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
