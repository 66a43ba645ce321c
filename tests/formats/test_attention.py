"""Which attention modules can lose heads."""

import pytest
from torch import nn

from platon_compress.errors import InputError
from platon_compress.formats.attention import head_refusal, set_heads
from platon_compress.planning.coupling import attention_of
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer


def _attention(family):
    model, _ = tiny_transformer(family)
    return attention_of(model, find_couplings(model)[0])


def test_known_classes_pass_and_are_resized():
    attention = _attention("bert")
    assert head_refusal(attention, 4) is None
    set_heads(attention, before=4, after=3, head_size=8)
    assert (attention.num_attention_heads, attention.all_head_size) == (3, 24)


def test_head_count_that_does_not_fit_is_refused():
    assert "no attribute that says it has 5 heads" in head_refusal(_attention("bert"), 5)


def test_position_tables_per_head_are_refused():
    assert "MPNetSelfAttention is not among those known" in head_refusal(_attention("mpnet"), 4)


def test_a_class_of_the_same_name_from_elsewhere_is_refused():
    stranger = type("BertSelfAttention", (nn.Module,), {})()
    stranger.num_attention_heads = 4
    assert "BertSelfAttention is not among those known" in head_refusal(stranger, 4)
    with pytest.raises(
        InputError, match=r"cannot remove heads: the attention class BertSelfAttention .* plan this"
    ):
        set_heads(stranger, before=4, after=2, head_size=8)
