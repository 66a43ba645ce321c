"""Which kernel set a session takes: by name, or the one that a measurement prefers."""

import pytest

from platon_compress.errors import InputError
from platon_compress.library import (
    kernel_names,
    kernel_seconds,
    kernel_supported,
    preferred_kernel,
    selected_kernel,
    supported_kernels,
)


def test_kernel_selection(monkeypatch):
    assert kernel_names()[0] == "scalar"
    assert kernel_supported("scalar")
    assert not kernel_supported("mmx")
    monkeypatch.setenv("PLATON_FORCE_ISA", "scalar")
    assert selected_kernel() == "scalar"
    monkeypatch.setenv("PLATON_FORCE_ISA", "mmx")
    with pytest.raises(InputError, match="no 'mmx' kernels; PLATON_FORCE_ISA must be one of scalar"):
        selected_kernel()


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ([3.0], 0),
        ([1.0, 1.0], 1),
        ([1.0, 1.2], 1),
        ([1.0, 1.3], 0),
        ([2.0, 1.5, 1.0], 2),
        ([1.0, 1.5, 1.4], 0),
    ],
)
def test_an_earlier_set_is_taken_only_where_it_is_clearly_faster(seconds, taken):
    assert preferred_kernel(seconds) == taken


def test_sessions_choose_among_what_was_measured(monkeypatch):
    monkeypatch.delenv("PLATON_FORCE_ISA", raising=False)
    seconds = kernel_seconds()
    vectors = [name for name in supported_kernels() if name != "scalar"]
    assert list(seconds) == (vectors or ["scalar"])
    assert all(0 < value < 1 for value in seconds.values())
    assert selected_kernel() in seconds
    assert {selected_kernel() for _ in range(20)} == {selected_kernel()}
