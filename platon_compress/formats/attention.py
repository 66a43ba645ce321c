"""Attention modules that can lose heads: which ones, and what to update beside their linear layers."""

from torch import nn

from platon_compress.errors import InputError
from platon_compress.pruning.state.record import transformers_major

__all__ = ["averages_values", "head_refusal", "multiplies_queries_and_keys", "set_heads"]

# Classes of transformers 4.57 and 5.x whose forward pass takes its shapes from the attributes below and holds
# nothing else of one entry a head (no relative-position table as in MPNet or BEiT, no ALiBi slopes).
_BERT_LIKE = ("Bert", "Camembert", "Electra", "Roberta", "XLMRoberta")
_VIT_LIKE = ("DeiT", "Dinov2", "Dinov2WithRegisters", "ViT", "ViTMSN")
_KNOWN = frozenset(
    [f"{family}{kind}" for family in _BERT_LIKE for kind in ("SelfAttention", "SdpaSelfAttention")]
    + [f"{family}{kind}" for family in _VIT_LIKE for kind in ("SelfAttention", "Attention")]
    + ["MultiHeadSelfAttention", "DistilBertSdpaAttention", "DistilBertSelfAttention"]
    + ["DisentangledSelfAttention", "ModernBertAttention"]
)
# DeBERTa multiplies queries with positions too, and gives rows of padding no weights; ModernBERT turns pairs of features.
_OTHER_SCORES = frozenset({"DisentangledSelfAttention", "ModernBertAttention"})
_OTHER_SUMS = frozenset({"DisentangledSelfAttention"})
# Before 5.0 their forward passes take the width of the result from that of the input.
_KNOWN_FROM_5 = frozenset({"CLIPAttention", "SiglipAttention"})
# Its forward pass in transformers 5.x keeps no head count: it divides the width by the size of a head.
_COUNTLESS = ("ModernBertAttention",)
_HEADS = ("num_attention_heads", "n_heads", "num_heads")
_WIDTHS = ("all_head_size", "dim")


def head_refusal(attention: nn.Module, heads: int) -> str | None:
    """Why ``attention``, which has ``heads`` heads, cannot lose some of them; None when it can."""
    kind = type(attention)
    if not _is_ours(attention):
        return f"the attention class {kind.__name__} is not among those known to work with fewer heads"
    counts = [getattr(attention, name) for name in _HEADS if hasattr(attention, name)]
    if heads not in counts and (counts or kind.__name__ not in _COUNTLESS):
        return f"{kind.__name__} has no attribute that says it has {heads} heads"
    return None


def averages_values(attention: nn.Module) -> bool:
    """Whether the result is known to be a mean of the values, with weights that add up to one."""
    return _is_ours(attention) and type(attention).__name__ not in _OTHER_SUMS


def multiplies_queries_and_keys(attention: nn.Module) -> bool:
    """Whether the weights are known to be softmax(Q K^T * scale + mask), and Q and K to have no other use."""
    plain = getattr(attention, "position_embedding_type", None) in (None, "absolute")
    return _is_ours(attention) and plain and type(attention).__name__ not in _OTHER_SCORES


def _is_ours(attention: nn.Module) -> bool:
    kind = type(attention)
    return _is_known(kind.__name__) and kind.__module__.startswith("transformers.")


def _is_known(name: str) -> bool:
    return name in _KNOWN or (name in _KNOWN_FROM_5 and (transformers_major() or 0) >= 5)


def set_heads(attention: nn.Module, *, before: int, after: int, head_size: int) -> None:
    """Write the new head count and width into every attribute of ``attention`` that held the old ones."""
    refusal = head_refusal(attention, before)
    if refusal:
        raise InputError(f"cannot remove heads: {refusal}; plan this model again")
    for names, old, new in ((_HEADS, before, after), (_WIDTHS, before * head_size, after * head_size)):
        for name in names:
            if getattr(attention, name, None) == old:
                setattr(attention, name, new)
