"""What a recipe may say: sections, keys, types, ranges. The descriptions here are the reference in docs/recipe.md."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from platon_compress.errors import shown
from platon_compress.limits import LIMITS, MAX_LIST, MAX_ROWS
from platon_compress.pruning.config import Criterion, Granularity, Scope, Shape

__all__ = [
    "TRAINABLE_TASKS",
    "BakeSection",
    "BenchSection",
    "DataSection",
    "DistillSection",
    "ExportSection",
    "ModelSection",
    "PlanSection",
    "PruneSection",
    "Recipe",
    "TrainSection",
    "VerifySection",
]

TRAINABLE_TASKS = ("text-classification", "image-classification")


def _number(value: Any) -> Any:
    """YAML's yes and no are no numbers, although Python counts with them."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _listed(value: Any) -> Any:
    """One value where a list is asked for is a list of one."""
    return value if isinstance(value, list | tuple) or value is None else (value,)


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested mappings and lists, with the key it stands under."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def _limited(key: str) -> Any:
    """The range of `key` for pydantic and for the JSON schema."""
    limit = LIMITS[key]
    kind = int if limit.whole else float
    bounds: dict[str, Any] = {
        "gt" if limit.above else "ge": kind(limit.least),
        "lt" if limit.below else "le": kind(limit.most),
    }
    return Field(**bounds)


def _about(text: str, default: Any = ..., **more: Any) -> Any:
    return Field(default, description=text, **more)


def _check_rows(section: str, batch: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    if max(batch) * max(tokens) > MAX_ROWS:
        raise ValueError(
            f"{section}.batch {max(batch)} times {section}.tokens {max(tokens)} is more than {MAX_ROWS:,} rows; lower one"
        )


# Behind the limits, or pydantic would not know them as a range in the JSON schema.
_NUMBER, _LISTED = BeforeValidator(_number), BeforeValidator(_listed)
_Text = Annotated[str, Field(min_length=1, max_length=4096)]
_Texts = Annotated[tuple[_Text, ...], Field(max_length=10_000), _LISTED]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(_Section):
    """Which model to prune: `name`, or `config` for one that starts untrained."""

    name: _Text | None = _about(
        "A folder, a hub id, or `package:NAME` for a pip package that carries a model folder.", None
    )
    config: dict[str, Any] | None = _about(
        "Builds an untrained model instead: a mapping with `model_type` and that type's own fields.", None
    )
    task: _Text = _about(f"What the model is for. Training takes {' and '.join(TRAINABLE_TASKS)}.")
    freeze: _Texts = _about("Parts of parameter names that are not trained, such as `word_embeddings`.", ())
    # Only a call may trust: the flag sets it on a parsed recipe, and it is never written down.
    trust_remote_code: SkipJsonSchema[bool] = Field(default=False, exclude=True)
    cache_dir: _Text | None = _about("Where downloads are kept; default: the hub's cache.", None)

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
        for key, number in _numbers(value):
            if number not in LIMITS["model.size"]:
                raise ValueError(f"{key} is {shown(number)}; give {LIMITS['model.size']}")
        return value

    @model_validator(mode="after")
    def _exactly_one_source(self) -> "ModelSection":
        if (self.name is None) == (self.config is None):
            both = "both given; leave one out" if self.name is not None else "both missing; give one of them"
            raise ValueError(f"model.name and model.config are {both}")
        return self


class DataSection(_Section):
    """Where the examples come from: `train` with `validation`, or `dataset`."""

    train: _Text | None = _about(
        "Training rows: a file (.csv .tsv .json .jsonl .parquet), an .npz file, or a folder of images with "
        "one sub-folder per class. Relative paths count from the current folder.",
        None,
    )
    validation: _Text | None = _about("Validation rows, as `train`.", None)
    dataset: _Text | None = _about(
        "A Hugging Face `datasets` name instead of files; `builtin:digits` is scikit-learn's handwritten digits.",
        None,
    )
    dataset_config: _Text | None = _about("The configuration of `dataset`, such as `sst2` of GLUE.", None)
    train_split: _Text = _about("The split of `dataset` to train on.", "train")
    validation_split: _Text = _about("The split of `dataset` to measure the metric on.", "validation")
    text: _Text = _about("Column of the texts.", "text")
    text_pair: _Text | None = _about("Column of the second texts, for pairs of sentences.", None)
    image: _Text = _about("Column of the images of `dataset`.", "image")
    label: _Text = _about("Column of the labels.", "label")
    max_length: Annotated[int, _limited("data.max_length"), _NUMBER] = _about(
        "Texts are cut to this many tokens.", 128
    )
    train_rows: Annotated[int, _limited("data.train_rows"), _NUMBER] | None = _about(
        "Keep a random slice (by `train.seed`) of that many training rows; default: all.", None
    )
    validation_rows: Annotated[int, _limited("data.validation_rows"), _NUMBER] | None = _about(
        "The same for the validation rows.", None
    )

    def check_sources(self) -> None:
        """Raises ValueError unless the rows of a training come from files, or from a data set."""
        files = {"data.train": self.train, "data.validation": self.validation}
        given = [key for key, value in files.items() if value is not None]
        if self.dataset is not None and given:
            raise ValueError(f"data.dataset and {given[0]} are both given; leave one out")
        if self.dataset is None and not given:
            raise ValueError(
                "the data section names no rows; give data.train with data.validation, or data.dataset"
            )
        if self.dataset is None and len(given) == 1:
            missing = next(key for key in files if key not in given)
            raise ValueError(f"{given[0]} is given without {missing}; give that too")


class TrainSection(_Section):
    """The training, done once dense and once more with pruning."""

    epochs: Annotated[float, _limited("train.epochs"), _NUMBER] = _about("Passes over the training rows.", 4)
    batch_size: Annotated[int, _limited("train.batch_size"), _NUMBER] = _about("Rows per step.", 32)
    learning_rate: Annotated[float, _limited("train.learning_rate"), _NUMBER] = _about(
        "AdamW's, at the end of the warm-up; it falls linearly to zero.", 5e-5
    )
    weight_decay: Annotated[float, _limited("train.weight_decay"), _NUMBER] = _about("AdamW's.", 0.01)
    warmup_ratio: Annotated[float, _limited("train.warmup_ratio"), _NUMBER] = _about(
        "Share of the steps in which the learning rate rises.", 0.1
    )
    max_grad_norm: Annotated[float, _limited("train.max_grad_norm"), _NUMBER] = _about(
        "Gradients are clipped to this norm.", 1.0
    )
    gradient_accumulation_steps: Annotated[int, _limited("train.gradient_accumulation_steps"), _NUMBER] = (
        _about("Batches per optimiser step.", 1)
    )
    evaluations: Annotated[int, _limited("train.evaluations"), _NUMBER] = _about(
        "How often the metric is taken and a checkpoint written during a training.", 6
    )
    bf16: bool = _about("Compute in bfloat16.", False)
    seed: Annotated[int, _limited("train.seed"), _NUMBER] = _about(
        "Of the order of the rows, of dropout and of new weights.", 1
    )


class DistillSection(_Section):
    """Learning from a teacher while pruning. Leave the section out to learn from the labels alone."""

    teacher: _Text | None = _about(
        "A fine-tuned model (folder, hub id or `package:NAME`); default: the run's own dense baseline.", None
    )
    weight: Annotated[float, _limited("distill.weight"), _NUMBER] | None = _about(
        "Share of the teacher's answers in the loss, the labels have the rest; default: 0.5, or 1 without labels.",
        None,
    )
    temperature: Annotated[float, _limited("distill.temperature"), _NUMBER] = _about(
        "Softens both sides' answers.", 2.0
    )
    hidden: Annotated[float, _limited("distill.hidden"), _NUMBER] = _about(
        "Factor of the layer-wise error of the hidden states; 0 leaves them out.", 0.0
    )
    labels: bool = _about(
        "False reads the training texts without a label column; then `teacher` must be given, and the baseline "
        "learns from it too.",
        True,
    )

    @model_validator(mode="after")
    def _consistent(self) -> "DistillSection":
        if not self.labels and self.teacher is None:
            raise ValueError("without labels there is no baseline to learn from; name a fine-tuned teacher")
        if not self.labels and self.weight not in (None, 1):
            raise ValueError(f"weight is {self.weight}, but without labels it is 1; leave it out")
        if self.weight == 0 and self.hidden == 0:
            raise ValueError("weight and hidden are both 0, so nothing is learnt; raise one of them")
        return self

    @property
    def share(self) -> float:
        """`weight` with its default filled in."""
        return self.weight if self.weight is not None else (0.5 if self.labels else 1.0)


class PruneSection(_Section):
    """PLATON's settings. Warm-ups, freeze and rewind are fractions of all steps."""

    sparsity: Annotated[float, _limited("prune.sparsity"), _NUMBER] = _about(
        "Share of the prunable weights that ends as zeros; 0.9 keeps one in ten."
    )
    granularity: Granularity = _about(
        "What lives or dies as one: a weight, four rows of a column (`4x1`), two of four (`2:4`), an attention "
        "head, a neuron of the feed-forward.",
        "element",
    )
    criterion: Criterion = _about("How weights are scored.", "platon")
    mask_interval: Annotated[int, _limited("prune.mask_interval"), _NUMBER] | None = _about(
        "Steps between two masks; default: 10, or less in a short run.", None
    )
    beta1: Annotated[float, _limited("prune.beta1"), _NUMBER] = _about("Smoothing of the sensitivity.", 0.85)
    beta2: Annotated[float, _limited("prune.beta2"), _NUMBER] = _about("Smoothing of its uncertainty.", 0.95)
    initial_warmup: Annotated[float, _limited("prune.initial_warmup"), _NUMBER] = _about(
        "Fraction of the steps before the first mask.", 0.1
    )
    final_warmup: Annotated[float, _limited("prune.final_warmup"), _NUMBER] = _about(
        "Fraction of the steps at the end, at the full sparsity.", 0.3
    )
    freeze: Annotated[float, _limited("prune.freeze"), _NUMBER] = _about(
        "Fraction of the steps at the end in which the mask stays as it is; at most `final_warmup`.", 0.0
    )
    rewind_to: Annotated[float, _limited("prune.rewind_to"), _NUMBER] | None = _about(
        "When the mask freezes, the learning rate goes back to where it was at this fraction of the run.",
        None,
    )
    per_millisecond: bool = _about(
        "Divide the scores by the measured cost of a weight of the layer, from `plan.cost_table` or measured "
        "before the training (`plan.calibrate: false`: from the table that ships).",
        False,
    )
    schedule: Shape = _about(
        "How the sparsity rises: `cubic`, or at once after the warm-up with a ranking that goes on (`constant`) or is "
        "made once (`one_shot`).",
        "cubic",
    )
    scope: Scope = _about(
        "One ranking for all weights, one per weight matrix, or one per role in the block.", "global"
    )
    max_layer_sparsity: Annotated[float, _limited("prune.max_layer_sparsity"), _NUMBER] | None = _about(
        "No single weight matrix loses more than this share (scope `global`).", None
    )
    group_multiple: Annotated[int, _limited("prune.group_multiple"), _NUMBER] | None = _about(
        "Heads or neurons kept per layer are a multiple of this; default: 1 head, 8 neurons.", None
    )
    targets: _Texts | None = _about(
        "Names of modules or parameters to prune, or patterns that begin with `re:`; default: the linear layers of "
        "the transformer blocks.",
        None,
    )
    ignore: _Texts = _about("The same, to leave alone.", ())

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
                f"rewind_to {self.rewind_to:g} lies not before the frozen steps, which begin at {1 - self.freeze:g}; "
                "lower rewind_to or freeze"
            )
        return self


class BakeSection(_Section):
    """How masks become zeros."""

    values: Literal["float32", "float16"] = _about(
        "`float16` rounds the weights that stay, so that the file stores two bytes each.", "float32"
    )


class PlanSection(_Section):
    """The deployment that the forms of the layers are chosen for."""

    tokens: Annotated[int, _limited("plan.tokens"), _NUMBER] | None = _about(
        "Tokens per example; default: `data.max_length`, at most 128, or the model's patches.", None
    )
    batch: Annotated[int, _limited("plan.batch"), _NUMBER] = _about("Examples per batch.", 1)
    threads: Annotated[int, _limited("plan.threads"), _NUMBER] | None = _about(
        "Threads; default: all cores.", None
    )
    device: Literal["cpu", "cuda"] = _about("Where the model will run.", "cpu")
    calibrate: bool = _about("Measure this model's layer shapes on this machine first.", True)
    cost_table: _Text | None = _about(
        "A cost table that `platon-compress calibrate` wrote, instead of measuring now.", None
    )
    force: Literal["dense", "structured", "csr"] | None = _about(
        "One form for every layer that can take it.", None
    )

    @model_validator(mode="after")
    def _rows(self) -> "PlanSection":
        _check_rows("plan", (self.batch,), (self.tokens or 1,))
        return self


class ExportSection(_Section):
    """How the ONNX files are written."""

    opset: Annotated[int, _limited("export.opset"), _NUMBER] = _about(
        "Version of the standard operators.", 18
    )
    exporter: Literal["torchscript", "dynamo"] = _about(
        "PyTorch's tracing exporter, or its slower successor.", "torchscript"
    )
    remove_padding: bool = _about("Compute on the valid tokens of a padded batch only.", False)


class VerifySection(_Section):
    """The parity check."""

    atol: Annotated[float, _limited("verify.atol"), _NUMBER] = _about(
        "Largest allowed difference of the outputs.", 1e-4
    )
    examples: Annotated[int, _limited("verify.examples"), _NUMBER] = _about(
        "Least number of examples to compare on.", 64
    )


class BenchSection(_Section):
    """What is timed: every batch with every token count."""

    batch: Annotated[
        tuple[Annotated[int, _limited("bench.batch"), _NUMBER], ...],
        Field(min_length=1, max_length=MAX_LIST),
        _LISTED,
    ] = _about("Batch sizes.", (1, 8))
    tokens: (
        Annotated[
            tuple[Annotated[int, _limited("bench.tokens"), _NUMBER], ...],
            Field(min_length=1, max_length=MAX_LIST),
            _LISTED,
        ]
        | None
    ) = _about("Tokens per text; default: as in `plan.tokens`.", None)
    runs: Annotated[int, _limited("bench.runs"), _NUMBER] = _about("Timed rounds per setting.", 50)
    threads: Annotated[int, _limited("bench.threads"), _NUMBER] | None = _about(
        "Threads; default: `plan.threads`.", None
    )
    device: Literal["cpu", "cuda"] = _about("Where to measure.", "cpu")

    @model_validator(mode="after")
    def _rows(self) -> "BenchSection":
        _check_rows("bench", self.batch, self.tokens or (1,))
        return self


class Recipe(_Section):
    """One whole run."""

    kind: Literal["run", "demo", "compress"] = _about(
        "`compress` takes a model that holds zeros already: no data, train or prune needed.", "run"
    )
    model: ModelSection = _about("Which model to prune.")
    dense: _Text | None = _about(
        "The folder of an earlier run with the same model, data and train sections, whose baseline is taken over; "
        "for `compress`, the unpruned model to compare with.",
        None,
    )
    data: DataSection | None = _about("Where the examples come from.", None)
    train: TrainSection = _about("The training.", TrainSection())
    prune: PruneSection | None = _about("The pruning.", None)
    distill: DistillSection | None = _about("Learning from a teacher.", None)
    bake: BakeSection = _about("How masks become zeros.", BakeSection())
    plan: PlanSection = _about("The deployment.", PlanSection())
    export: ExportSection = _about("How the ONNX files are written.", ExportSection())
    verify: VerifySection = _about("The parity check.", VerifySection())
    bench: BenchSection = _about("What is timed.", BenchSection())

    @property
    def has_labels(self) -> bool:
        """Whether the training rows carry labels."""
        return self.distill is None or self.distill.labels

    @model_validator(mode="after")
    def _complete(self) -> "Recipe":
        if self.kind == "compress":
            return self._complete_compress()
        data = self.data
        if data is None or self.prune is None:
            raise ValueError(f"the section {'data' if data is None else 'prune'} is missing; add it")
        if self.model.task not in TRAINABLE_TASKS:
            raise ValueError(f"model.task is {self.model.task!r}; use one of {', '.join(TRAINABLE_TASKS)}")
        data.check_sources()
        if not self.has_labels and self.model.task != "text-classification":
            raise ValueError(
                f"distill.labels false reads texts, but model.task is {self.model.task!r}; leave distill.labels out"
            )
        return self

    def _complete_compress(self) -> "Recipe":
        if self.distill is not None:
            raise ValueError("compress trains nothing, so it cannot distill; leave the section out")
        if self.data is not None and (self.data.validation is None) == (self.data.dataset is None):
            raise ValueError("the data is data.validation or data.dataset; give one of them")
        return self
