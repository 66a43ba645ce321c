"""The operator library as a file: missing, damaged, of another version."""

import ctypes

import pytest

from platon_compress import library
from platon_compress.errors import InputError
from platon_compress.library import (
    declare,
    kernel_names,
    kernel_supported,
    load_library,
    selected_kernel,
    supported_kernels,
)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A library file that a test may damage, in place of the installed one."""
    path = tmp_path / library.library_path().name
    monkeypatch.setattr(library, "library_path", lambda: path)
    load_library.cache_clear()
    yield path
    load_library.cache_clear()


def test_it_names_kernels_slowest_first():
    assert kernel_names()[0] == "scalar"
    assert supported_kernels() == tuple(filter(kernel_supported, kernel_names()))
    assert selected_kernel() in supported_kernels()


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"MZ" + bytes(4096)], ids=["empty", "cut", "foreign"])
def test_a_library_that_cannot_be_loaded(elsewhere, content):
    elsewhere.write_bytes(content)
    with pytest.raises(
        InputError, match=r"the operator library cannot be loaded: .*; run `pip install \.` again"
    ):
        load_library()


def test_a_library_of_another_version():
    with pytest.raises(
        InputError, match=r"of another version: .*platon_no_such.*; run `pip install \.` again"
    ):
        declare(load_library(), {"platon_no_such": (ctypes.c_int, [])})
