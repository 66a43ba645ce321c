"""The safetensors file with sparse parts: bit-exact, small, and safe against files of strangers."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from platon_compress.errors import InputError
from platon_compress.formats.csr import CsrWeight
from platon_compress.formats.sparse_file import read_sparse_file, write_sparse_file


def _pruned(density, shape=(96, 70), dtype=torch.float32):
    generator = torch.Generator().manual_seed(int(density * 100))
    values = torch.randn(shape, generator=generator)
    return values.masked_fill(torch.rand(shape, generator=generator) >= density, 0).to(dtype)


def _read(path, encodings, csr=(), dtype=torch.float32):
    return read_sparse_file(path, encodings, frozenset(csr), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("density", "encoding"), [(0.0, "gaps"), (0.1, "gaps"), (0.3, "bitmask"), (1.0, None)]
)
def test_every_bit_comes_back(tmp_path, dtype, density, encoding):
    weight = _pruned(density, dtype=dtype)
    tensors = {"w": weight, "bias": torch.zeros(70), "count": torch.arange(5), "empty": torch.zeros(0, 4)}
    encodings = write_sparse_file(tmp_path / "f", tensors)
    assert encodings == ({"w": encoding} if encoding else {})
    back = _read(tmp_path / "f", encodings, encodings, dtype)
    assert back.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back.tensors[name].dtype == tensor.dtype
        assert torch.equal(back.tensors[name].view(torch.uint8), tensor.view(torch.uint8))
    for name, csr in back.csr.items():
        expected = CsrWeight.from_dense(weight.float().numpy())
        assert [
            np.array_equal(getattr(csr, f), getattr(expected, f)) for f in ("values", "columns", "row_starts")
        ] == [True] * 3, name


def test_negative_zeros_and_chosen_matrices(tmp_path):
    weight = _pruned(0.1)
    weight[3, 4] = -0.0
    encodings = write_sparse_file(tmp_path / "f", {"w": weight, "full": _pruned(1.0)}, frozenset({"full"}))
    assert encodings.keys() == {"w", "full"}
    back = _read(tmp_path / "f", encodings)
    assert torch.equal(back.tensors["w"].view(torch.int32), weight.view(torch.int32))


def test_values_that_float16_holds_take_two_bytes(tmp_path):
    weight = _pruned(0.1).half().float()
    encodings = write_sparse_file(tmp_path / "f", {"w": weight})
    assert load_file(tmp_path / "f")["w.values"].dtype == torch.float16
    assert torch.equal(_read(tmp_path / "f", encodings).tensors["w"], weight)


def _changed(name, change):
    def apply(parts):
        parts[name] = change(parts[name])

    return apply


_DAMAGE = {
    "no values": (lambda parts: parts.pop("w.values"), "lacks 'w.values'"),
    "no shape": (lambda parts: parts.pop("w.shape"), "lacks 'w.shape'"),
    "fewer values": (_changed("w.values", lambda v: v[:-1].clone()), "w: the gaps place"),
    "whole numbers": (_changed("w.values", lambda v: v.int()), r"w\.values is torch\.int32"),
    "a matrix of values": (_changed("w.values", lambda v: v[None]), "not a list of numbers"),
    "not finite": (_changed("w.values", lambda v: v / 0), "w holds .* numbers that are not finite"),
    "codes of another type": (_changed("w.columns", lambda c: c.int()), "are torch.int32, not bytes"),
    "codes reshaped": (_changed("w.columns", lambda c: c[None]), "a code is bytes in one dimension"),
    "codes cut": (_changed("w.columns", lambda c: c[:-9].clone()), "w: the gaps cover"),
    "codes too far": (_changed("w.columns", lambda c: c + 1), "w: the gaps cover"),
    "negative shape": (_changed("w.shape", lambda s: -s), "shape of 'w' is"),
    "three sizes": (_changed("w.shape", lambda s: torch.cat([s, s[:1]])), "shape of 'w' is"),
    "another shape": (_changed("w.shape", lambda s: s + 1), "w: the gaps cover"),
    "a terabyte": (_changed("w.shape", lambda s: s * 0 + 2**19), "would take 1,099,511,627,776 bytes"),
    "beyond 64 bits": (_changed("w.shape", lambda s: s * 0 + 2**31 - 1), "would take"),
    "a dense NaN": (
        lambda parts: parts.update(b=torch.tensor([1, float("nan")])),
        "b in .* holds 1 numbers that are",
    ),
}


@pytest.mark.parametrize("damage", _DAMAGE)
def test_damaged_parts_get_one_line(tmp_path, damage):
    encodings = write_sparse_file(tmp_path / "f", {"w": _pruned(0.1)})
    parts = load_file(tmp_path / "f")
    change, message = _DAMAGE[damage]
    change(parts)
    save_file(parts, tmp_path / "f")
    with pytest.raises(InputError, match=message) as error:
        _read(tmp_path / "f", encodings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"{" * 1000, None])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*; save the model again"):
        _read(tmp_path / "f", {"w": "gaps"})


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_is_refused_or_harmless(tmp_path, seed):
    """Bytes changed anywhere: an InputError, or tensors of the right shape; never anything else."""
    random = np.random.default_rng(seed)
    encodings = write_sparse_file(tmp_path / "f", {"w": _pruned(0.1), "v": _pruned(0.4), "b": torch.ones(9)})
    content = bytearray((tmp_path / "f").read_bytes())
    for place in random.integers(0, len(content), 1 + seed % 7):
        content[place] = random.integers(0, 256)
    (tmp_path / "f").write_bytes(content[: len(content) - (seed % 5 == 0) * 17])
    try:
        back = _read(tmp_path / "f", encodings, encodings)
    except InputError:
        return
    for name, csr in back.csr.items():
        csr.validate()
        assert np.array_equal(csr.to_dense(), back.tensors[name].numpy())
