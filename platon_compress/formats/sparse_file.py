"""One safetensors file in which a matrix with many zeros takes three tensors: values, positions, shape."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from platon_compress.errors import InputError, first_line
from platon_compress.formats.csr import CsrWeight
from platon_compress.formats.storage import csr_of, decode_positions, encode_positions, encoded_bytes

__all__ = ["MOST_EXPANSION", "SparseFile", "not_finite", "read_sparse_file", "write_sparse_file"]

# The part that holds the positions, by encoding.
_POSITIONS = {"bitmask": "bitmask", "gaps": "columns"}
_VALUES = (torch.float32, torch.float16, torch.bfloat16)
_DECODERS = 4
_PARTS_BYTES = 300  # what two tensors more take in the file's header
_CURE = "save the model again with save_compressed, or fetch the whole folder"
# A file may not ask for more memory than this many times its own size, beside a fixed amount.
MOST_EXPANSION, _ALWAYS_ALLOWED = 256, 2**30


class CsrWeights(Mapping[str, CsrWeight]):
    """CSR arrays by name, built when they are first asked for: whoever trains or serves in torch needs none."""

    def __init__(self, builders: Mapping[str, Callable[[], CsrWeight]]) -> None:
        self._builders = dict(builders)
        self._built: dict[str, CsrWeight] = {}

    def __getitem__(self, name: str) -> CsrWeight:
        if name not in self._built:
            self._built[name] = self._builders[name]()
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._builders)

    def __len__(self) -> int:
        return len(self._builders)

    def renamed(self, names: Mapping[str, str]) -> "CsrWeights":
        """The same arrays under other names, `names` by the present ones."""
        return CsrWeights({names[name]: partial(self.__getitem__, name) for name in self})


@dataclass(frozen=True)
class SparseFile:
    """What a file holds: every tensor with its zeros, and the arrays of those that were asked for as CSR."""

    tensors: Mapping[str, Tensor]
    csr: CsrWeights


@dataclass(frozen=True)
class _Parts:
    """The three tensors of a sparse one, not yet trusted beyond their types."""

    name: str
    encoding: str
    values: Tensor
    codes: Tensor
    shape: tuple[int, int]

    def positions(self) -> np.ndarray:
        try:
            size = self.shape[0] * self.shape[1]
            return decode_positions(self.encoding, self.codes.numpy(), size, self.values.numel())
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error

    def dense(self, dtype: torch.dtype) -> Tensor:
        if bad := not_finite(self.values):
            raise InputError(f"{self.name} holds {bad} numbers that are not finite; {_CURE}")
        return _dense(self.positions(), self.values.to(dtype), self.shape)

    def csr(self) -> CsrWeight:
        return csr_of(self.positions(), self.values.float().numpy(), self.shape)


def write_sparse_file(
    path: Path, tensors: Mapping[str, Tensor], sparse: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Write every tensor bit by bit in the smaller of both forms; the encodings of the sparse ones by name.

    The matrices called `sparse` are written as such whatever their size.
    """
    from safetensors.torch import save_file

    stored: dict[str, Tensor] = {}
    encodings: dict[str, str] = {}
    for name, tensor in tensors.items():
        parts = _sparse_parts(tensor.detach().cpu(), always=name in sparse)
        if parts is None:
            stored[name] = tensor.detach().cpu().contiguous()
            continue
        encodings[name], values, codes = parts
        stored[f"{name}.values"] = values
        stored[f"{name}.{_POSITIONS[encodings[name]]}"] = codes
        stored[f"{name}.shape"] = torch.tensor(tensor.shape, dtype=torch.int64)
    if len(stored) != len(tensors) + 2 * len(encodings):
        raise InputError("a tensor is called like a part of another (NAME.values); rename it in the model")
    save_file(stored, path, metadata={"format": "pt"})
    return encodings


def read_sparse_file(
    path: Path, encodings: Mapping[str, str], csr: frozenset[str], dtype: torch.dtype
) -> SparseFile:
    """Read what :func:`write_sparse_file` wrote; sparse tensors become `dtype`.

    Raises:
        InputError: a file that is damaged, lacks a part, does not add up, holds numbers that are not finite, or asks
            for more than MOST_EXPANSION times its size in memory.
    """
    with _opened(path) as file:
        keys = set(file.keys())
        parts = [_parts(file, path, keys, name, encoding) for name, encoding in encodings.items()]
        tensors = {name: file.get_tensor(name) for name in sorted(keys)}
    _refuse_expansion(path, sum(p.shape[0] * p.shape[1] for p in parts) * dtype.itemsize)
    for name, tensor in tensors.items():
        if bad := not_finite(tensor):
            raise InputError(f"{name} in {path} holds {bad} numbers that are not finite; {_CURE}")
    with ThreadPoolExecutor(max_workers=_DECODERS) as pool:  # numpy lets go of the interpreter's lock
        dense = list(pool.map(lambda p: p.dense(dtype), parts))
    tensors |= {p.name: tensor for p, tensor in zip(parts, dense, strict=True)}
    return SparseFile(tensors, CsrWeights({p.name: p.csr for p in parts if p.name in csr}))


def _refuse_expansion(path: Path, wanted_bytes: int) -> None:
    if wanted_bytes > MOST_EXPANSION * path.stat().st_size + _ALWAYS_ALLOWED:
        raise InputError(
            f"{path} would take {wanted_bytes:,} bytes, over {MOST_EXPANSION} times its size; {_CURE}"
        )


def _parts(file: Any, path: Path, keys: set[str], name: str, encoding: str) -> _Parts:
    """Read and check the three tensors of one, and cross them off `keys`."""
    names = [f"{name}.{part}" for part in ("values", _POSITIONS[encoding], "shape")]
    if not keys.issuperset(names):
        raise InputError(f"{path} lacks {next(n for n in names if n not in keys)!r}; {_CURE}")
    keys.difference_update(names)
    values, codes, shape = (file.get_tensor(part) for part in names)
    if values.dim() != 1 or values.dtype not in _VALUES:
        raise InputError(
            f"{name}.values is {values.dtype} {list(values.shape)}, not a list of numbers; {_CURE}"
        )
    if codes.dtype != torch.uint8:
        raise InputError(f"the positions of {name!r} are {codes.dtype}, not bytes; {_CURE}")
    return _Parts(name, encoding, values, codes, _checked_shape(name, shape))


def _sparse_parts(tensor: Tensor, *, always: bool) -> tuple[str, Tensor, Tensor] | None:
    """Encoding, values and codes of a matrix that gets smaller by it, or of any."""
    if tensor.dim() != 2 or not tensor.is_floating_point() or tensor.numel() == 0:
        return None
    flat = tensor.contiguous().reshape(-1)
    # A negative zero is a value: what is read back is the same bit by bit.
    bits = flat.view(torch.int32 if flat.element_size() == 4 else torch.int16).numpy()
    nnz, size = int(np.count_nonzero(bits)), flat.numel()
    sparse_bytes = encoded_bytes(nnz, size) + nnz * flat.element_size() + _PARTS_BYTES
    if not always and sparse_bytes >= size * flat.element_size():
        return None
    positions = np.flatnonzero(bits)
    encoding, codes = encode_positions(positions, size)
    values = torch.from_numpy(bits[positions]).view(flat.dtype)
    return encoding, _narrowed(values), torch.from_numpy(codes)


def _narrowed(values: Tensor) -> Tensor:
    """As float16 where that loses nothing: baking may have rounded the values to it."""
    half = values.half()
    return half if values.dtype == torch.float32 and torch.equal(half.float(), values) else values


def _checked_shape(name: str, shape: Tensor) -> tuple[int, int]:
    if (
        shape.dtype != torch.int64
        or list(shape.shape) != [2]
        or not bool(((shape > 0) & (shape < 2**31)).all())
    ):
        raise InputError(f"the shape of {name!r} is {shape.tolist()!r:.60}, not two sizes; {_CURE}")
    return int(shape[0]), int(shape[1])


def _dense(positions: np.ndarray, values: Tensor, shape: tuple[int, int]) -> Tensor:
    # numpy's zeros are pages that the system clears when they are touched, and it knows no bfloat16.
    bits = np.int32 if values.element_size() == 4 else np.int16
    dense = np.zeros(shape, dtype=bits)
    dense.reshape(-1)[positions] = values.view(torch.int32 if bits is np.int32 else torch.int16).numpy()
    return torch.from_numpy(dense).view(values.dtype)


def not_finite(tensor: Tensor) -> int:
    """How many numbers of a tensor on the CPU are NaN or infinite.

    A finite sum has finite parts; only where it is not every number is looked at. numpy's single thread is faster
    here than torch's several on a machine that has other work.
    """
    if not tensor.is_floating_point():
        return 0
    if tensor.dtype == torch.bfloat16:
        return int((~torch.isfinite(tensor)).sum())
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(tensor.numpy().sum()):
            return 0
    return int(tensor.numel() - np.count_nonzero(np.isfinite(tensor.numpy())))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path}: {first_line(error)}; {_CURE}") from error
