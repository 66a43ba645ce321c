"""Loads a Hugging Face model with its tokenizer or image processor, or builds one from a config."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError, MissingExtraError, first_line, shown
from platon_compress.files import inner
from platon_compress.runtime.modules import MODULES_FILE
from platon_compress.tasks.checkpoint import TASKS, Checkpoint, TaskSpec
from platon_compress.tasks.dimensions import positions
from platon_compress.tasks.families import refuse_adapter, refuse_config, saved_as
from platon_compress.tasks.hub import hub_is_offline, is_fault_of_this_machine, offline_hint, resolve_name
from platon_compress.tasks.sentence_files import (
    bi_encoder_files,
    cross_encoder_files,
    local_folder,
    mean_pooling,
    says_cross_encoder,
)

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "classifier_head",
    "infer_task",
    "label_fields",
    "load_checkpoint",
    "problem_of",
    "read_config",
    "spec_of",
    "transformers_module",
    "with_sentence_files",
]


_PROBLEMS = {
    "single_label_classification": "single-label",
    "multi_label_classification": "multi-label",
    "regression": "regression",
}

_PROCESSOR_FILES = {
    "text": (
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "vocab.json",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tokenizer.model",
    ),
    "image": ("preprocessor_config.json", "processor_config.json"),
}


def classifier_head(labels: Sequence[str]) -> dict[str, Any]:
    """The config's fields of a classifier of one class a row."""
    # The checkpoint may come from another problem: labels are class numbers, whatever it was trained on.
    return {"problem_type": "single_label_classification", **label_fields(labels)}


def label_fields(labels: Sequence[str]) -> dict[str, Any]:
    """The config's fields that name a model's outputs."""
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def problem_of(config: Any) -> str:
    """What a text classifier learnt, by the rule of transformers: its `problem_type`, else the number of its outputs."""
    if config.problem_type is None:
        return "regression" if config.num_labels == 1 else "single-label"
    return _PROBLEMS.get(config.problem_type, "single-label")


def load_checkpoint(
    name: str,
    task: str,
    *,
    head: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
    cache_dir: str | None = None,
) -> Checkpoint:
    """Load `name` (folder, hub id or `package:NAME`) for `task`, with eager attention, float32, eval mode.

    Masks that a pruning tool left beside its weights are applied. `head` holds the config's fields of a head that may
    be new; without it the checkpoint must hold every weight of the task's model.
    Raises InputError for an unknown task or model, and for weights that are missing or not finite.
    """
    from platon_compress.incoming import check_finite
    from platon_compress.structure import check_depth
    from platon_compress.tasks.weights import drawn_weights

    spec = spec_of(task)
    source = resolve_name(name)
    options = _options(source, trust_remote_code, cache_dir)
    folder = _sentence_folder(source, task, options)
    sentence = bi_encoder_files(folder) if task == "sentence-similarity" else None
    if sentence is not None and sentence.modules is not None and sentence.modules.encoder:
        name = source = _encoder_folder(source, sentence.modules.encoder)
    config = read_config(name, head=head, trust_remote_code=trust_remote_code, cache_dir=cache_dir)
    refuse_config(config, name)
    check_depth(config, name)
    try:
        model, info = _load_model(source, spec.auto_class, config, head is not None, options)
    except Exception as error:  # a damaged checkpoint fails in many ways inside transformers
        if isinstance(error, InputError) or is_fault_of_this_machine(error):
            raise
        raise _unreadable(name, source, f" for {task}", error) from error
    drawn = drawn_weights(model, info, name, task, new_head=head is not None)
    check_finite(model)
    checkpoint = Checkpoint(
        model.eval(), _load_processor(source, spec.modality, options), task, drawn, sentence
    )
    return with_sentence_files(checkpoint, folder)


def _sentence_folder(source: str, task: str, options: Mapping[str, Any]) -> Path | None:
    """Where the files of sentence-transformers lie, for the tasks that have any."""
    if task not in ("sentence-similarity", "text-ranking"):
        return None
    return local_folder(source, options["cache_dir"], options.get("local_files_only", False))


def _encoder_folder(source: str, encoder: str) -> str:
    place = inner(Path(source), encoder, Path.is_dir)
    if place is None:
        raise InputError(
            f"the model {source!r} keeps its encoder in {shown(encoder)}; download the model, and give its folder"
        )
    return str(place)


def with_sentence_files(checkpoint: Checkpoint, folder: Path | None) -> Checkpoint:
    """A bi-encoder knows how its vectors are pooled, a plain encoder by the mean; a cross-encoder says that it is one."""
    model: Any = checkpoint.model
    if checkpoint.task == "text-ranking":
        return replace(checkpoint, sentence=cross_encoder_files(folder, model.config))
    if checkpoint.task != "sentence-similarity":
        return checkpoint
    sentence = checkpoint.sentence or mean_pooling(model.config.hidden_size, positions(model))
    model.sentence_modules = sentence.modules
    return replace(checkpoint, sentence=sentence)


def read_config(
    name: str,
    *,
    head: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
    cache_dir: str | None = None,
) -> Any:
    """The model's config, with the fields of `head` in place of its own. Raises InputError."""
    source = resolve_name(name)
    refuse_adapter(Path(source))
    options = _options(source, trust_remote_code, cache_dir)
    try:
        return transformers_module().AutoConfig.from_pretrained(source, **(head or {}), **options)
    except Exception as error:  # a damaged config fails in many ways inside transformers
        if is_fault_of_this_machine(error):
            raise
        raise _unreadable(name, source, "", error) from error


def _options(source: str, trust_remote_code: bool, cache_dir: str | None) -> dict[str, Any]:
    """Keywords of every `from_pretrained`; a hub that is out of reach is not asked again and again."""
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "cache_dir": cache_dir}
    return {**options, "local_files_only": True} if hub_is_offline(source) else options


def _load_model(
    source: str, auto_class: str, config: Any, new_head: bool, options: Mapping[str, Any]
) -> "tuple[nn.Module, Mapping[str, Any]]":
    """The model and what transformers says of its weights; from folded weights where the files need that."""
    from platon_compress.tasks.weights import folded_weights

    auto = getattr(transformers_module(), auto_class)
    common = {
        "config": config,
        "attn_implementation": "eager",
        "dtype": "float32",
        "ignore_mismatched_sizes": new_head,
        "output_loading_info": True,
        **options,
    }
    folded = folded_weights(Path(source)) if Path(source).is_dir() else None
    if folded is not None:
        return _from_state(auto, folded, common)
    model, info = auto.from_pretrained(source, **common)
    if info["missing_keys"] and not Path(source).is_dir():
        downloaded = transformers_module().utils.cached_file(
            source, "config.json", cache_dir=options["cache_dir"]
        )
        folded = folded_weights(Path(downloaded).parent)
        if folded is not None:
            return _from_state(auto, folded, common)
    return _without_pooler(auto, source, common, model, info)


def _from_state(
    auto: Any, state: Mapping[str, Any], common: Mapping[str, Any]
) -> "tuple[nn.Module, Mapping[str, Any]]":
    """The auto classes take no state dict without a folder, but the class that they would choose does."""
    import torch

    with torch.device("meta"):
        chosen: Any = type(auto.from_config(common["config"]))
    own = {key: value for key, value in common.items() if key != "trust_remote_code"}
    return chosen.from_pretrained(None, state_dict=state, **own)


def _without_pooler(
    auto: Any, source: str, common: Mapping[str, Any], model: "nn.Module", info: Mapping[str, Any]
) -> "tuple[nn.Module, Mapping[str, Any]]":
    from platon_compress.structure import lacks_only_a_pooler

    if not lacks_only_a_pooler(type(model), info["missing_keys"]):
        return model, info
    return auto.from_pretrained(source, add_pooling_layer=False, **common)


def _unreadable(name: str, source: str, purpose: str, error: Exception) -> InputError:
    if "trust_remote_code" in str(error):
        return InputError(
            f"the model {name!r} brings code of its own, which runs only with --trust-remote-code; "
            "give the flag if you trust it"
        )
    cure = "give a model folder or a hub id that exists"
    if (Path(source) / "config.json").is_file():
        cure = f"give a model that transformers {transformers_module().__version__} loads{purpose}"
    return InputError(
        f"cannot load the model {name!r}{purpose}: {first_line(error).rstrip('.')}{offline_hint(source)}; {cure}"
    )


def infer_task(name: str, *, trust_remote_code: bool = False, cache_dir: str | None = None) -> str:
    """The task that a checkpoint's files of sentence-transformers say, or else its `architectures`.

    Raises InputError when it names none we know, or a model that cannot go through.
    """
    source = resolve_name(name)
    folder = local_folder(source, cache_dir, hub_is_offline(source))
    if folder is not None and says_cross_encoder(folder):
        return "text-ranking"
    if folder is not None and (folder / MODULES_FILE).is_file():
        return "sentence-similarity"
    config = read_config(name, trust_remote_code=trust_remote_code, cache_dir=cache_dir)
    refuse_config(config, name)
    architecture = saved_as(config)
    if getattr(config, "sentence_transformers", None) and config.num_labels == 1:
        return "text-ranking"
    for task, spec in TASKS.items():
        if spec.auto_class != "AutoModel" and architecture.endswith(spec.suffix):
            return task
    if _is_bare(architecture, config):
        return "image-feature-extraction" if hasattr(config, "image_size") else "feature-extraction"
    raise InputError(
        f"model {name!r} is a {architecture or 'model of unknown kind'}; name its task with --task"
    )


def _is_bare(architecture: str, config: Any) -> bool:
    """Whether AutoModel loads it: BertModel, not BertLMHeadModel. Code of a checkpoint's own is known by its name."""
    mapping = importlib.import_module("transformers.models.auto.modeling_auto").MODEL_MAPPING_NAMES
    known = mapping.get(config.model_type)
    if known is None:
        return architecture.endswith("Model")
    return architecture in ((known,) if isinstance(known, str) else known)


def spec_of(task: str) -> TaskSpec:
    if task not in TASKS:
        raise InputError(f"task {task!r} is unknown; use one of: {', '.join(TASKS)}")
    return TASKS[task]


def _load_processor(source: str, modality: str, options: Mapping[str, Any]) -> Any:
    """The tokenizer or image processor; None where the checkpoint has none.

    Raises InputError where its files are there, but damaged or in need of a package.
    """
    transformers = transformers_module()
    auto = transformers.AutoTokenizer if modality == "text" else transformers.AutoImageProcessor
    extra = {} if modality == "text" else {"use_fast": False}
    present = [name for name in _PROCESSOR_FILES[modality] if (Path(source) / name).is_file()]
    if Path(source).is_dir() and not present:
        return None
    try:
        return auto.from_pretrained(source, **options, **extra)
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        if is_fault_of_this_machine(error):
            raise
        if not present and isinstance(error, OSError):
            return None
        kind = "tokenizer" if modality == "text" else "image processor"
        cure = "install the package it names" if isinstance(error, ImportError) else "save it again"
        raise InputError(
            f"the {kind} of {source} ({', '.join(present) or 'its files'}) cannot be read: {first_line(error)}; {cure}"
        ) from error


def transformers_module() -> ModuleType:
    """The library. Raises MissingExtraError where it is not installed."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtraError(
            "transformers is not installed; pip install 'platon-compress[train]'"
        ) from error
