"""DeBERTa-v2 and v3: disentangled attention traced in an equal form that costs less.

transformers projects the position embeddings in every layer of every run, multiplies queries and keys with all of
them and gathers number by number. Here, per layer (H heads of d, S tokens, R position buckets):

[constant]  the projected position embeddings [H, R, d] depend on weights only and enter the graph as numbers;
[distance]  their rows are gathered by distance, whole rows at a time: 2 S columns of scores instead of R;
[skew]      entry (i, j) of a score matrix by distance stands in row i at column S - 1 - i + j, so that reading the
            rows with a stride of 2 S - 1 from element S - 1 on puts it at column j: two slices, no gather;
[mask]      hiding adds -1e30, which leaves nothing of a score in float32.
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from platon_compress.export.attention_body import HIDDEN

if TYPE_CHECKING:
    import torch

__all__ = ["constant_projections", "disentangled_attention_for_export"]


@contextlib.contextmanager
def disentangled_attention_for_export(model: "torch.nn.Module") -> Iterator[int]:
    """Let every DeBERTa-v2/v3 attention of `model` compute the same in the cheaper form, for the time of an export.

    Yields the number of layers; 0 for every other architecture.
    """
    changed = []
    try:
        for attention, embeddings in _layers(model):
            attention.forward = _Disentangled(attention, embeddings).forward
            changed.append(attention)
        yield len(changed)
    finally:
        for attention in changed:
            del attention.forward


def constant_projections(model: "torch.nn.Module") -> frozenset[str]:
    """Names of the weights that only project position embeddings: of them the export keeps the products alone."""
    own = {
        id(_projection(attention, kind))
        for attention, _ in _layers(model)
        for kind in ("c2p", "p2c")
        if kind in attention.pos_att_type and not attention.share_att_key
    }
    return frozenset(f"{name}.weight" for name, module in model.named_modules() if id(module) in own)


def _layers(model: "torch.nn.Module") -> Iterator[tuple[Any, "torch.Tensor"]]:
    """(attention module, position embeddings [R, hidden]) of each layer."""
    encoder: Any
    for encoder in model.modules():
        if type(encoder).__name__ != "DebertaV2Encoder" or not getattr(encoder, "relative_attention", False):
            continue
        embeddings = encoder.get_rel_embedding().detach()
        for layer in encoder.layer:
            yield layer.attention.self, embeddings


class _Disentangled:
    """One layer; the constants are computed once, here."""

    def __init__(self, attention: Any, embeddings: "torch.Tensor") -> None:
        import torch

        self.attention = attention
        self.original: Callable[..., Any] = attention.forward
        self.heads, self.size = attention.num_attention_heads, attention.attention_head_size
        kinds = [kind for kind in ("c2p", "p2c") if kind in attention.pos_att_type]
        self.scale = 1 / math.sqrt(self.size * (1 + len(kinds)))
        self.span = attention.pos_ebd_size
        used = embeddings[: 2 * self.span]
        with torch.no_grad():
            self.tables = {kind: self._table(_projection(attention, kind)(used)) for kind in kinds}

    def _table(self, projected: "torch.Tensor") -> "torch.Tensor":
        """[R, H * d] -> [H, R, d], the scale of the scores included."""
        return (projected.view(-1, self.heads, self.size).transpose(0, 1) * self.scale).contiguous()

    def forward(
        self,
        hidden_states: "torch.Tensor",
        attention_mask: "torch.Tensor",
        output_attentions: bool = False,
        query_states: "torch.Tensor | None" = None,
        relative_pos: "torch.Tensor | None" = None,
        rel_embeddings: "torch.Tensor | None" = None,
    ) -> Any:
        """[batch, tokens, hidden] -> (the same, None). Calls with other positions take the original way."""
        import torch

        if output_attentions or query_states is not None:
            return self.original(
                hidden_states, attention_mask, output_attentions, query_states, relative_pos, rel_embeddings
            )
        tokens = hidden_states.shape[1]
        queries, keys, values = (
            self._split(projection(hidden_states))
            for projection in (self.attention.query_proj, self.attention.key_proj, self.attention.value_proj)
        )
        term = torch.where(attention_mask.bool(), 0.0, HIDDEN)
        rising = torch.arange(1 - tokens, tokens + 1, device=hidden_states.device)
        if "c2p" in self.tables:  # entry (i, j) has the distance i - j, which falls along the row
            table = self.tables["c2p"].index_select(1, self._rows(-rising))
            term = _skewed(queries @ table.transpose(-1, -2), tokens) + term
        if "p2c" in self.tables:  # entry (j, i) has it too: here it rises
            table = self.tables["p2c"].index_select(1, self._rows(rising))
            term = _skewed(keys @ table.transpose(-1, -2), tokens).transpose(-1, -2) + term
        scores = queries @ keys.transpose(-1, -2) * self.scale + term
        context = torch.softmax(scores, dim=-1) @ values
        return context.transpose(1, 2).reshape(*hidden_states.shape[:2], self.heads * self.size), None

    def _split(self, projected: "torch.Tensor") -> "torch.Tensor":
        """[batch, tokens, H * d] -> [batch, H, tokens, d]."""
        return projected.view(*projected.shape[:2], self.heads, self.size).transpose(1, 2)

    def _rows(self, distances: "torch.Tensor") -> "torch.Tensor":
        """Row of the table for each distance, int64."""
        import torch

        if self.attention.position_buckets > 0:
            bucket = sys.modules[type(self.attention).__module__].make_log_bucket_position
            distances = bucket(
                distances, self.attention.position_buckets, self.attention.max_relative_positions
            )
        return torch.clamp(distances.long() + self.span, 0, 2 * self.span - 1)


def _projection(attention: Any, kind: str) -> Any:
    """The layer that projects position embeddings."""
    if attention.share_att_key:
        return attention.key_proj if kind == "c2p" else attention.query_proj
    return attention.pos_key_proj if kind == "c2p" else attention.pos_query_proj


def _skewed(scores: "torch.Tensor", tokens: int) -> "torch.Tensor":
    """[batch, H, tokens, 2 * tokens] by distance -> [batch, H, tokens, tokens] by position."""
    batch, heads = scores.shape[:2]
    start, width = tokens - 1, 2 * tokens - 1
    flat = scores.reshape(batch, heads, -1)[:, :, start : start + tokens * width]
    return flat.reshape(batch, heads, -1, width)[..., :tokens]
