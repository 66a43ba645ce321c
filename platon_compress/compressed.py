"""A compressed model as a folder that is small because neither zeros nor removed units are stored.

    compressed.safetensors   every tensor under the name that transformers gives it in files, whatever its version
    config.json              the model's own, with `compression_config`
    README.md                the model card, on the hub
    tokenizer or image processor, where one was given

The file is not called model.safetensors, so that nothing that cannot decode it starts from random weights.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from platon_compress import files
from platon_compress.conversion import CompressedModel, RemovedUnits, shrink
from platon_compress.errors import InputError, MissingExtraError, first_line
from platon_compress.file_names import names_in_files, names_in_model, without_advice
from platon_compress.formats.compression_config import DTYPES, CompressionConfig, GroupRecord
from platon_compress.formats.sparse_file import SparseFile, not_finite, read_sparse_file, write_sparse_file
from platon_compress.formats.structured import unit_features
from platon_compress.structure import Coupling, check_depth, find_couplings, lacks_only_a_pooler

__all__ = ["FILE", "load_compressed", "save_compressed", "write_compressed"]

FILE = "compressed.safetensors"
_KEY = "compression_config"


def save_compressed(compressed: CompressedModel, folder: str | Path, *, processor: Any = None) -> Path:
    """Write ``compressed`` as its weights are now; ``processor`` is its tokenizer or image processor.

    The folder appears whole or not at all; one that holds a compressed model is replaced.

    Raises:
        InputError: no result of `convert`, a model that is not transformers' own, parameters of several types or
            not finite, or a folder that holds anything else.
    """
    if not isinstance(compressed, CompressedModel):
        raise InputError(
            f"save_compressed takes the result of convert(), got {type(compressed).__name__}; convert it first"
        )
    target = Path(folder)
    if target.exists() and not _is_ours(target):
        raise InputError(f"{target} holds something other than a compressed model; give a new folder")
    with files.new_folder(target) as temporary:
        write_compressed(compressed, temporary, processor)
    return target


def load_compressed(
    folder: str | Path, *, attn_implementation: str | None = None, model_class: type | None = None
) -> CompressedModel:
    """Open a folder of :func:`save_compressed`, or one on the hub by its name (`user/model`).

    ``.model`` is an ordinary transformers model in eval mode, which can be trained on; `export_onnx` takes the
    result as it is. Written and read by different versions of transformers the weights are the same bit by bit.
    No code of the folder is run; ``model_class`` is for a model whose class transformers lacks.

    Raises:
        InputError: no such folder, or files that are damaged, do not fit each other, or do not fit the model that
            this version of transformers builds.
    """
    source = _local_folder(str(folder))
    raw = files.read_json(source / "config.json", "give a folder of save_compressed", finite=False)
    if _KEY not in raw:
        raise InputError(f"{source} holds no compressed model; read a plain one with from_pretrained")
    config = CompressionConfig.from_dict(raw[_KEY])
    dtype = getattr(torch, config.dtype)
    content = read_sparse_file(source / FILE, config.encodings, frozenset(config.csr), dtype)
    kind = _class_of(config) if model_class is None else model_class
    options = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    model = _build(source, kind, _expanded(content, config), {"dtype": dtype, **options})
    paths = names_in_model(model, content.tensors)
    removed = tuple(_shrink_again(model, record, paths, config) for record in config.removed)
    if unknown := [name for name in config.csr if name not in paths]:
        raise _built_differently(f"{unknown[0]:.120} in one piece", config)
    int8 = frozenset(paths[name] for name in config.int8)
    return CompressedModel(model=model, csr=content.csr.renamed(paths), removed=removed, int8=int8)


def write_compressed(compressed: CompressedModel, folder: Path, processor: Any = None) -> None:
    """The files of :func:`save_compressed` into a folder that is there already, beside whatever it holds."""
    model, kind = compressed.model, type(compressed.model)
    if not isinstance(model, _transformers().PreTrainedModel):
        raise InputError(f"{kind.__name__} is no model of transformers; keep its state_dict instead")
    own = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    _refuse_not_finite(own)
    names = names_in_files(model, folder)
    csr = tuple(names[name] for name in compressed.csr)
    encodings = write_sparse_file(
        folder / FILE, {file: own[name] for name, file in names.items()}, frozenset(csr)
    )
    record = CompressionConfig(
        model_class=kind.__name__,
        transformers=_transformers().__version__,
        dtype=_one_dtype(model),
        encodings=encodings,
        csr=csr,
        removed=tuple(_record_of(entry, names) for entry in compressed.removed),
        int8=tuple(names[name] for name in compressed.csr if name in compressed.int8),
    )
    path = folder / "config.json"
    files.write_json(
        path, {**files.read_json(path, "save the model again", finite=False), _KEY: record.to_dict()}
    )
    if processor is not None:
        processor.save_pretrained(folder)


def _record_of(removed: RemovedUnits, names: Mapping[str, str]) -> GroupRecord:
    coupling = removed.coupling
    return GroupRecord(
        kind=coupling.kind,
        units=coupling.units,
        unit_size=coupling.unit_size,
        stacks=coupling.stacks,
        kept=removed.kept,
        producers=tuple(_stem(names[f"{path}.weight"]) for path in coupling.producers),
        consumer=_stem(names[f"{coupling.consumer}.weight"]),
    )


def _expanded(content: SparseFile, config: CompressionConfig) -> dict[str, Tensor]:
    """The tensors with zeros where units were removed: what the class of the model expects."""
    tensors = dict(content.tensors)
    for record in config.removed:
        for path in record.producers:
            for name in (f"{path}.weight", f"{path}.bias"):
                if name in tensors:
                    tensors[name] = _with_units(tensors[name], record, name, axis=0)
        name = f"{record.consumer}.weight"
        if name not in tensors:
            raise InputError(
                f"compression_config shrinks {name!r}, which {FILE} lacks; fetch the whole folder"
            )
        tensors[name] = _with_units(tensors[name], record, name, axis=1)
    return tensors


def _with_units(tensor: Tensor, record: GroupRecord, name: str, *, axis: int) -> Tensor:
    stacks = record.stacks if axis == 0 else 1
    if tensor.dim() <= axis or tensor.shape[axis] != stacks * len(record.kept) * record.unit_size:
        raise InputError(
            f"{name!r} has shape {list(tensor.shape)}, which does not fit the {len(record.kept)} {record.kind} that "
            "compression_config says are left; fetch the whole folder"
        )
    if record.units > 256 * len(record.kept) + 2**16:
        raise InputError(
            f"{name!r} would grow from {len(record.kept)} to {record.units} units; fetch the folder"
        )
    shape = list(tensor.shape)
    shape[axis] = stacks * record.units * record.unit_size
    features = unit_features(record.kept, record.unit_size, units=record.units, stacks=stacks)
    return torch.zeros(shape, dtype=tensor.dtype).index_copy_(axis, features, tensor)


def _class_of(config: CompressionConfig) -> type:
    transformers = _transformers()
    kind = getattr(transformers, config.model_class, None)
    if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
        return kind
    raise InputError(
        f"transformers {transformers.__version__} has no model {config.model_class!r:.80}; the folder was written "
        f"with transformers {config.transformers:.20}: read it with that, or give the class as model_class"
    )


def _build(folder: Path, kind: Any, tensors: dict[str, Tensor], options: Mapping[str, Any]) -> nn.Module:
    """The model of config.json with exactly these tensors."""
    try:
        with without_advice():
            config = kind.config_class.from_pretrained(folder)
            vars(config).pop(_KEY, None)
            check_depth(config, str(folder))
            common = {"config": config, "state_dict": tensors, "output_loading_info": True, **options}
            model, info = kind.from_pretrained(None, **common)
            if lacks_only_a_pooler(kind, info["missing_keys"]):
                model, info = kind.from_pretrained(None, add_pooling_layer=False, **common)
    except InputError:
        raise
    except Exception as error:  # a config that makes no sense fails in many ways inside transformers
        raise InputError(
            f"cannot build {kind.__name__} from {folder}: {first_line(error)}; fetch the whole folder"
        ) from error
    for problem, what in (
        ("missing_keys", "lacks"),
        ("unexpected_keys", "holds"),
        ("mismatched_keys", "misfits"),
    ):
        if info.get(problem):
            first = sorted(map(str, info[problem]))[0]
            raise InputError(
                f"{folder / FILE} {what} {first:.200}, unlike {kind.__name__}; fetch the whole folder"
            )
    return model.eval()


def _shrink_again(
    model: nn.Module, record: GroupRecord, paths: Mapping[str, str], config: CompressionConfig
) -> RemovedUnits:
    """Take the units out of the module that this version of transformers builds for them."""
    wanted = tuple(_stem(paths.get(f"{path}.weight", "")) for path in (*record.producers, record.consumer))
    for coupling in find_couplings(model):
        if (*coupling.producers, coupling.consumer) == wanted and _same_units(coupling, record):
            return shrink(model, coupling, record.kept)
    raise _built_differently(f"{record.units} {record.kind} of {record.consumer:.120}", config)


def _built_differently(what: str, config: CompressionConfig) -> InputError:
    return InputError(
        f"transformers {_transformers().__version__} does not build {what}; the folder was written with transformers "
        f"{config.transformers:.20}, so read it with that"
    )


def _same_units(coupling: Coupling, record: GroupRecord) -> bool:
    return (coupling.kind, coupling.units, coupling.unit_size, coupling.stacks) == (
        record.kind,
        record.units,
        record.unit_size,
        record.stacks,
    )


def _refuse_not_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if bad := not_finite(tensor.cpu()):
            raise InputError(
                f"{name} holds {bad} numbers that are not finite; take a checkpoint from before that"
            )


def _one_dtype(model: nn.Module) -> str:
    found = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()})
    if len(found) != 1 or found[0] not in DTYPES:
        raise InputError(
            f"the parameters are {' and '.join(found)}; bring them to one of {', '.join(DTYPES)} first"
        )
    return found[0]


def _is_ours(folder: Path) -> bool:
    """An empty folder, or a compressed model."""
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / FILE).is_file())


def _local_folder(name: str) -> Path:
    if name.strip() and Path(name).is_dir():
        return Path(name)
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or not name.strip():
        raise InputError(f"there is no folder {name!r}; give one of save_compressed, or a name on the hub")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", FILE]))
    except Exception as error:  # no network, no such name, no permission: each with its own error class
        raise InputError(
            f"{name!r} is no folder, and cannot be fetched from the hub: {first_line(error)}; check the name"
        ) from error


def _stem(name: str) -> str:
    return name.removesuffix(".weight")


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            "transformers is not installed; pip install 'platon-compress[train]'"
        ) from error
    return transformers
