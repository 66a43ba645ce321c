"""Slices of linear layers."""

import pytest
import torch
from torch import nn

from platon_compress.errors import InputError
from platon_compress.formats.structured import unit_features, without_columns, without_rows


def test_features_of_units():
    assert unit_features((0, 2), 3).tolist() == [0, 1, 2, 6, 7, 8]


@pytest.mark.parametrize("bias", [True, False])
def test_rows_take_their_biases_along(bias):
    linear, x = nn.Linear(5, 6, bias=bias).double().eval(), torch.randn(2, 5, dtype=torch.float64)
    kept = torch.tensor([1, 4])
    small = without_rows(linear, kept)
    assert (small.in_features, small.out_features, small.training) == (5, 2, False)
    assert torch.allclose(small(x), linear(x)[:, kept])


@pytest.mark.parametrize("bias", [True, False])
def test_columns_keep_the_bias(bias):
    linear = nn.Linear(5, 6, bias=bias)
    kept, x = torch.tensor([0, 3, 4]), torch.randn(2, 5)
    x[:, [1, 2]] = 0
    small = without_columns(linear, kept)
    assert torch.allclose(small(x[:, kept]), linear(x), atol=1e-6)


def test_the_original_is_untouched_and_not_aliased():
    linear = nn.Linear(4, 4)
    before = linear.weight.detach().clone()
    small = without_rows(linear, torch.arange(4))
    with torch.no_grad():
        small.weight.zero_()
    assert torch.equal(linear.weight, before)


@pytest.mark.parametrize("kept", [[], [4], [-1]])
def test_features_that_do_not_exist_are_refused(kept):
    features = torch.tensor(kept, dtype=torch.int64)
    with pytest.raises(InputError, match="of 4 output features; keep at least one"):
        without_rows(nn.Linear(3, 4), features)
    with pytest.raises(InputError, match="of 4 input features; keep at least one"):
        without_columns(nn.Linear(4, 3), features)
