"""The YAML recipe of a run: model, data, train, prune, plan, verify, bench. Unknown keys are refused."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from platon_compress.errors import InputError, first_line

__all__ = ["TRAINABLE_TASKS", "Recipe", "load_recipe", "parse_recipe", "recipe_digest", "shipped_recipe"]

TRAINABLE_TASKS = ("text-classification", "image-classification")
_RECIPES = Path(__file__).parent / "recipes"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """Which model: a folder, a hub id, or `package:NAME` for a pip package that carries a model folder.

    `config` builds an untrained model instead: a mapping with `model_type` and that type's own fields.
    """

    name: str | None = None
    config: dict[str, Any] | None = None
    task: str
    freeze: tuple[str, ...] = ()
    trust_remote_code: bool = False
    cache_dir: str | None = None

    @model_validator(mode="after")
    def _exactly_one_source(self) -> "ModelSection":
        if (self.name is None) == (self.config is None):
            raise ValueError("give exactly one of model.name and model.config")
        return self


class DataSection(_Section):
    """Where the examples come from.

    `train` and `validation` are files (.csv .tsv .json .jsonl .parquet), image folders (one sub-folder per
    class) or .npz files; `dataset` is a Hugging Face `datasets` name; `builtin:digits` is
    scikit-learn's handwritten digits. `*_rows` keeps a random slice (seeded) of that many rows.
    """

    train: str | None = None
    validation: str | None = None
    dataset: str | None = None
    dataset_config: str | None = None
    train_split: str = "train"
    validation_split: str = "validation"
    text: str = "text"
    text_pair: str | None = None
    image: str = "image"
    label: str = "label"
    max_length: int = Field(default=128, ge=2)
    train_rows: int | None = Field(default=None, ge=1)
    validation_rows: int | None = Field(default=None, ge=1)


class TrainSection(_Section):
    """The training steps, spent once on the dense model and once more with pruning."""

    epochs: float = Field(default=4, gt=0)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    evaluations: int = Field(default=6, ge=1)
    bf16: bool = False
    seed: int = Field(default=1, ge=0)


class DistillSection(_Section):
    """Learning from a teacher while pruning; see `platon_compress.tasks.distillation` for the loss.

    teacher: a fine-tuned model (folder, hub id or `package:NAME`); without it, the run's own dense baseline.
    weight: share of the teacher's answers in the loss, the labels have the rest. Default: one half; all of it
        without labels.
    temperature: softens both sides' answers.
    hidden: factor of the layer-wise error of the hidden states; 0 leaves them out.
    labels: False reads the training texts without a label column; then the teacher must be given, and the
        baseline learns from it too, for there is nothing else to learn from.
    """

    teacher: str | None = None
    weight: float | None = Field(default=None, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    hidden: float = Field(default=0.0, ge=0)
    labels: bool = True

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
    """PLATON's settings; names and values as in `PruneConfig`, warm-ups and freeze as fractions of all steps.

    `per_millisecond` divides the scores by the measured cost of a weight of the layer, from `plan.cost_table` or
    measured before the training (`plan.calibrate: false`: from the table that ships).
    """

    sparsity: float
    granularity: str = "element"
    criterion: str = "platon"
    mask_interval: int | None = None
    beta1: float = 0.85
    beta2: float = 0.95
    initial_warmup: float = Field(default=0.1, ge=0, le=1)
    final_warmup: float = Field(default=0.3, ge=0, le=1)
    freeze: float = Field(default=0, ge=0, le=1)
    rewind_to: float | None = None
    per_millisecond: bool = False
    schedule: str = "cubic"
    scope: str = "global"
    max_layer_sparsity: float | None = None
    group_multiple: int | None = None
    targets: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()


class BakeSection(_Section):
    """How masks become zeros. `values: float16` rounds the weights that stay, so that the file stores two bytes each."""

    values: Literal["float32", "float16"] = "float32"


class PlanSection(_Section):
    """The deployment the plan is made for: tokens per example, examples per batch, threads, device."""

    tokens: int | None = Field(default=None, ge=1)
    batch: int = Field(default=1, ge=1)
    threads: int | None = Field(default=None, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
    calibrate: bool = True
    cost_table: str | None = None
    force: Literal["dense", "structured", "csr"] | None = None


class ExportSection(_Section):
    """How the ONNX files are written; see `platon_compress.export.config.ExportConfig`."""

    opset: int = 18
    exporter: Literal["torchscript", "dynamo"] = "torchscript"
    remove_padding: bool = False


class VerifySection(_Section):
    """The parity check: absolute tolerance on the outputs, and how many examples."""

    atol: float = Field(default=1e-4, gt=0)
    examples: int = Field(default=64, ge=64)


class BenchSection(_Section):
    """What is timed: every batch with every token count, `runs` interleaved rounds each."""

    batch: tuple[int, ...] = Field(default=(1, 8), min_length=1)
    tokens: tuple[int, ...] | None = None
    runs: int = Field(default=50, ge=5)
    threads: int | None = Field(default=None, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"


class Recipe(_Section):
    """One whole run. `kind` "compress" takes a model that holds zeros already: no data, train or prune needed.

    `dense` is, for "compress", the unpruned model to compare with (without it the given one runs densely); for
    "run", the folder of an earlier run with the same model, data and train sections whose baseline is taken over.
    """

    kind: Literal["run", "demo", "compress"] = "run"
    model: ModelSection
    dense: str | None = None
    data: DataSection | None = None
    train: TrainSection = TrainSection()
    prune: PruneSection | None = None
    distill: DistillSection | None = None
    bake: BakeSection = BakeSection()
    plan: PlanSection = PlanSection()
    export: ExportSection = ExportSection()
    verify: VerifySection = VerifySection()
    bench: BenchSection = BenchSection()

    @property
    def has_labels(self) -> bool:
        """Whether the training rows carry labels."""
        return self.distill is None or self.distill.labels

    @model_validator(mode="after")
    def _complete(self) -> "Recipe":
        data = self.data
        if self.kind == "compress":
            if self.distill is not None:
                raise ValueError("compress trains nothing, so it cannot distill; leave the section out")
            if data is not None and (data.validation is None) == (data.dataset is None):
                raise ValueError("give data.validation or data.dataset")
            return self
        if data is None or self.prune is None:
            raise ValueError(f"the section {'data' if data is None else 'prune'} is missing; add it")
        if self.model.task not in TRAINABLE_TASKS:
            raise ValueError(f"model.task is {self.model.task!r}; use one of {', '.join(TRAINABLE_TASKS)}")
        if (data.train is not None and data.validation is not None) == (data.dataset is not None):
            raise ValueError("give data.train with data.validation, or data.dataset")
        if not self.has_labels and self.model.task != "text-classification":
            raise ValueError(f"distill.labels false reads texts, but model.task is {self.model.task!r}")
        return self


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a YAML recipe and apply `section.key=value` overrides (values are YAML).

    Relative `data.train` and `data.validation` paths count from the current folder.
    Raises InputError, in one line, for a missing or broken file, unknown keys and wrong values.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"cannot read the recipe {path}: {first_line(error)}; check the path") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place else ""
        raise InputError(
            f"the recipe {path} is no valid YAML{where}: {_problem(error)}; mend that line"
        ) from error
    if not isinstance(raw, dict):
        raise InputError(
            f"the recipe {path} holds {type(raw).__name__}, not sections; see `platon-compress run --help`"
        )
    for override in overrides:
        _apply_override(raw, override)
    return parse_recipe(raw, source=str(path))


def parse_recipe(raw: dict[str, Any], source: str = "recipe") -> Recipe:
    """Validate a recipe given as nested mappings. Raises InputError in one line."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{source}: {_explain(error)}") from error


def recipe_digest(recipe: Recipe) -> str:
    """A short hash of the recipe's meaning; key order, comments and spelled-out defaults do not change it."""
    text = json.dumps(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shipped_recipe(name: str) -> Path:
    """The path of a recipe that ships with the package, by its name without `.yaml`."""
    path = _RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in _RECIPES.glob("*.yaml")))
        raise InputError(f"no shipped recipe is called {name!r}; there are: {known}")
    return path


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise InputError(f"--set {override!r} is not section.key=value; for example --set prune.sparsity=0.8")
    target: Any = raw
    for part in parts[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise InputError(f"--set {override!r}: {part!r} is a plain value in the recipe, not a section")
    try:
        target[parts[-1]] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override!r}: the value is no valid YAML; quote it") from error


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "recipe"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {place}{_suggestion(first['loc'])}{more}"
    if first["type"] == "missing":
        return f"{place} is missing; add it{more}"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
    return f"{place}: {message}{shown}{more}"


def _suggestion(location: tuple[int | str, ...]) -> str:
    section: Any = Recipe
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        section = field.annotation if field else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return ""
    return f"; known: {', '.join(section.model_fields)}"


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or first_line(error))
