"""Fuzz targets of what a model's folder holds: weights, masks, configs, ONNX files."""

import json
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fuzzing.reader import Reader, as_json, compressed, is_json

from platon_compress.errors import InputError
from platon_compress.files import read_json

__all__ = ["MODEL_READERS"]

_CURE = "give another"


def _is_any_json(path: Path) -> object:
    return read_json(path, _CURE, finite=False)


def _mask_files() -> tuple[bytes, ...]:
    from safetensors.torch import save

    return (save(dict(list(compressed()[0].items())[:3])),)


def _read_masks(path: Path) -> object:
    from platon_compress.pruning.held import read_masks

    return read_masks(path, _CURE)


def _parts() -> tuple[bytes, ...]:
    from platon_compress.formats.sparse_file import write_sparse_file

    state = compressed()[2].model.state_dict()
    tensors = {name: state[name] for name in list(state)[-8:]}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "parts.safetensors"
        write_sparse_file(path, tensors)
        return (path.read_bytes(),)


@cache
def _encodings() -> Mapping[str, str]:
    from safetensors.torch import load

    names = load(_parts()[0])
    found = {}
    for name in names:
        stem, _, part = name.rpartition(".")
        if part in ("bitmask", "columns"):
            found[stem] = "bitmask" if part == "bitmask" else "gaps"
    return found


def _read_parts(path: Path) -> object:
    import torch

    from platon_compress.formats.sparse_file import read_sparse_file

    content = read_sparse_file(path, _encodings(), frozenset(_encodings()), torch.float32)
    return [content.csr[name] for name in content.csr]


def _is_safetensors(path: Path) -> object:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return file.keys()
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(str(error)) from error


def _compression_configs() -> tuple[bytes, ...]:
    from platon_compress.compressed import write_compressed

    with tempfile.TemporaryDirectory() as name:
        write_compressed(compressed()[2], Path(name))
        config = json.loads((Path(name) / "config.json").read_text())["compression_config"]
    units = {
        "kind": "neurons",
        "units": 8,
        "unit_size": 1,
        "stacks": 1,
        "kept": [0, 3],
        "producers": ["a"],
        "consumer": "b",
    }
    return as_json(config, {**config, "removed": [units], "int8": config["csr"][:2]})


def _read_compression_config(path: Path) -> object:
    from platon_compress.formats.compression_config import CompressionConfig

    return CompressionConfig.from_dict(read_json(path, _CURE)).to_dict()


def _baked() -> tuple[bytes, ...]:
    weights = [
        {"name": "a.weight", "shape": [4, 8], "nnz": 5},
        {"name": "b.weight", "shape": [8, 4], "nnz": 32},
    ]
    skipped = [["c.weight", "a reason"]]
    return as_json({"weights": weights, "sparsity": 0.4, "target_sparsity": None, "skipped": skipped})


def _read_baked(path: Path) -> object:
    import torch

    from platon_compress.baking import read_baked

    model = torch.nn.ModuleDict({"a": torch.nn.Linear(8, 4), "b": torch.nn.Linear(4, 8)})
    with torch.no_grad():
        model.get_parameter("a.weight").flatten()[5:] = 0
        model.get_parameter("b.weight").fill_(1)
    return read_baked(model, read_json(path, _CURE)).to_dict()


def _runtime_configs() -> tuple[bytes, ...]:
    labels = {"0": "negative", "1": "positive"}
    config = {
        "architectures": ["RobertaForSequenceClassification"], "model_type": "roberta", "id2label": labels,
        "max_position_embeddings": 514, "pad_token_id": 1, "task": "text-classification",
    }  # fmt: skip
    return as_json(config, {**config, "model_type": "bert", "task": None})


def _write_model_folder(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')


def _read_runtime_config(path: Path) -> object:
    from platon_compress.runtime.folder import open_folder, task_of

    folder = open_folder(path.parent)
    return task_of(folder), folder.labels(2), folder.positions, folder.max_tokens


def _pruner_states() -> tuple[bytes, ...]:
    import torch

    from platon_compress import PruneConfig, Pruner
    from platon_compress.pruning.state.checkpoint import save_pruner

    layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 4))
    pruner = Pruner(layers, PruneConfig(sparsity=0.5, total_steps=1000, mask_interval=5, targets=["0", "1"]))
    with tempfile.TemporaryDirectory() as name:
        save_pruner(pruner, Path(name))
        return ((Path(name) / "pruner.safetensors").read_bytes(),)


def _read_pruner_state(path: Path) -> object:
    from platon_compress.pruning.state.files import SavedState

    state = SavedState(path.parent)
    for key in state.keys():  # noqa: SIM118 - it is no mapping
        state.read(key, 0, state.shape(key)[0] if state.shape(key) else 0)
    return state.record


def _onnx_models() -> tuple[bytes, ...]:
    """A table, and sparse weights in both kinds of values; small, because an input takes as long as it is large."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    from platon_compress.export.int8 import Int8Choice
    from platon_compress.export.operators import OPERATORS
    from platon_compress.export.quantize import gap_arrays, quantize_rows
    from platon_compress.formats.csr import CsrWeight

    csr = CsrWeight.from_dense(np.eye(6, 8, dtype=np.float32))
    values, columns, starts, scales = quantize_rows(csr.values, csr.columns, csr.row_starts)
    packed, gaps, bits = gap_arrays(values, columns, starts, 8)
    arrays = {
        "table": np.ones((5, 8), np.float32), "values": csr.values, "columns": csr.columns, "row_starts": csr.row_starts,
        "bias": np.zeros(6, np.float32), "packed": packed, "gaps": gaps, "row_scales": scales,
    }  # fmt: skip
    sizes: dict[str, Any] = {"in_features": 8, "out_features": 6}
    plain, rounded = (OPERATORS[f"PlatonLinear_plain_{encoding}"].name for encoding in ("csr", "gaps_int8"))
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node(
            plain, ["x", "values", "columns", "row_starts", "bias"], ["y"], domain="platon", **sizes
        ),
        helper.make_node(
            rounded,
            ["x", "packed", "gaps", "row_scales", "bias"],
            ["z"],
            domain="platon",
            gap_bits=bits,
            **sizes,
        ),
    ]
    ends = (
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 6]) for name in "yz"],
    )
    graph = helper.make_graph(nodes, "g", *ends, [numpy_helper.from_array(a, n) for n, a in arrays.items()])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("platon", 1)]
    )
    choice = Int8Choice(setting="per channel", chosen_by="accuracy", scores={"a": 0.5}, failed={})
    model.metadata_props.add(key="platon_compress.int8", value=json.dumps(choice.to_dict()))
    return (model.SerializeToString(),)


def _is_onnx(path: Path) -> object:
    from platon_compress.export.reading import load_proto

    return load_proto(path)


def _read_onnx(path: Path) -> object:
    """All that looks into a file before ONNX Runtime does."""
    from platon_compress.export.int8 import read_int8_choice
    from platon_compress.measure.size import measure_size, model_files

    return measure_size(path), model_files(path), read_int8_choice(path)


MODEL_READERS = (
    Reader("masks", "masks.safetensors", "safetensors", "masks.safetensors", _mask_files, _is_safetensors, _read_masks),
    Reader("parts", "sparse parts of a checkpoint", "safetensors", "compressed.safetensors", _parts, _is_safetensors,
               _read_parts),
    Reader("compression-config", "compression_config in config.json", "json", "config.json", _compression_configs,
               is_json, _read_compression_config),
    Reader("pruner-state", "the pruner's state in a checkpoint", "safetensors", "pruner.safetensors", _pruner_states,
               _is_safetensors, _read_pruner_state),
    Reader("bake", "bake.json", "json", "bake.json", _baked, is_json, _read_baked),
    Reader("runtime-config", "config.json of an exported folder", "json", "config.json", _runtime_configs, _is_any_json,
               _read_runtime_config, _write_model_folder),
    Reader("onnx", "an ONNX file, before it is opened", "onnx", "model.onnx", _onnx_models, _is_onnx, _read_onnx),
)  # fmt: skip
