"""Padded batches on valid tokens only: the same numbers wherever the mask lets anybody look."""

from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from platon_compress.export import export_onnx, open_session
from platon_compress.export.attention_op import is_attention
from platon_compress.export.config import ExportConfig
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.remove_padding import remove_padding
from platon_compress.export.passes.swap_attention import SwapAttention
from platon_compress.export.testing import run_sparse_graph, sparse_graph
from platon_compress.formats.csr import CsrWeight
from platon_compress.structure import find_blocks
from platon_compress.testing import tiny_transformer

_UNPADDED = ExportConfig(remove_padding=True)
_LATER = ExportConfig(remove_padding=True, opset=23)  # the standard Attention, for dense models


def _batch(rows, tokens, left=True):
    """Lengths from 2 to all tokens, padded on the right; one row has a hole, one may be padded on the left."""
    lengths = torch.linspace(2, tokens, rows).long()
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    mask[-1, 1] = 0
    if left:
        mask[0] = mask[0].flip(0)
    ids = torch.randint(3, 80, (rows, tokens), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "deberta-v3", "modernbert"])
def test_every_visible_number_is_the_same(family, tmp_path):
    model, inputs = tiny_transformer(family)
    model = model.base_model
    path = export_onnx(model, tmp_path / "m.onnx", inputs, _LATER).path
    session = open_session(path, use_library=False)
    for rows, tokens in ((1, 5), (3, 9), (6, 30)):
        batch = _batch(rows, tokens, left=family != "bert")  # which has a pooler
        with torch.no_grad():
            wanted = model(**batch).last_hidden_state.numpy()
        got = session.run(["last_hidden_state"], {name: value.numpy() for name, value in batch.items()})[0]
        visible = batch["attention_mask"].numpy().astype(bool)
        np.testing.assert_allclose(got[visible], wanted[visible], atol=2e-5)


def test_layers_run_on_valid_tokens_and_attention_on_padded_ones(tmp_path):
    model, inputs = tiny_transformer("bert")
    result = export_onnx(model, tmp_path / "m.onnx", inputs, _LATER)
    # Per block: 6 products, 6 biases, 2 sums, 2 norms, 1 activation; the GELU is one node by then.
    assert dict(result.passes)["remove_padding"] == 2 * 17
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in onnx.load(result.path).graph.value_info
    }
    products = [n for n in onnx.load(result.path).graph.node if n.op_type == "MatMul"]
    assert {tuple(shapes[node.output[0]][:2]) for node in products} == {(1, "valid_tokens")}


def test_dense_attention_of_an_earlier_opset_keeps_its_padding(tmp_path):
    model, inputs = tiny_transformer("bert")
    result = export_onnx(model, tmp_path / "m.onnx", inputs, _UNPADDED)
    assert dict(result.passes)["remove_padding"] == 0
    assert any("use opset 23 or later" in reason for _, _, reason in result.refusals)


def test_models_without_a_mask_are_left_alone(tmp_path):
    model, inputs = tiny_transformer("vit")
    result = export_onnx(model, tmp_path / "m.onnx", inputs, _UNPADDED)
    assert dict(result.passes)["remove_padding"] == 0
    assert any("there is no attention_mask" in reason for _, _, reason in result.refusals)


def _compressed(family):
    model, inputs = tiny_transformer(family)
    model, csr = model.base_model, {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.startswith(find_blocks(model)):
            module.weight.data *= torch.rand(module.weight.shape) < 0.3
            csr[f"{name}.weight"] = CsrWeight.from_dense(module.weight.detach().numpy())
    return SimpleNamespace(model=model, csr=csr, plan=None), inputs


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_sparse_layers_and_attention_run_on_valid_tokens(family, tmp_path):
    compressed, inputs = _compressed(family)
    path = export_onnx(compressed, tmp_path / "m.onnx", inputs, _UNPADDED).path
    attentions = [node.op_type for node in onnx.load(path).graph.node if "Attention" in node.op_type]
    assert attentions == ["PlatonSelfAttention_lengths_residual_norm_csr"] * 2
    one_token, full = _batch(4, 9, left=False), _batch(3, 12)
    one_token["attention_mask"][1] = (torch.arange(9) < 1).long()
    full["attention_mask"][:] = 1
    sizes = ((1, 5), (3, 9), (6, 30))
    for batch in (*(_batch(*size, left=family != "bert") for size in sizes), one_token, full):
        with torch.no_grad():
            wanted = compressed.model(**batch).last_hidden_state.numpy()
        visible = batch["attention_mask"].numpy().astype(bool)
        feed = {name: value.numpy() for name, value in batch.items()}
        for use_library in (True, False):
            got = open_session(path, use_library=use_library).run(["last_hidden_state"], feed)[0]
            np.testing.assert_allclose(got[visible], wanted[visible], atol=2e-5)


@pytest.mark.parametrize("family", ["distilbert", "deberta-v3"])
def test_a_batch_of_nothing_but_padding_runs(family, tmp_path):
    compressed, inputs = _compressed(family)
    path = export_onnx(compressed, tmp_path / "m.onnx", inputs, _UNPADDED).path
    ids = np.full((2, 5), 3)
    for use_library in (True, False):
        session = open_session(path, use_library=use_library)
        (got,) = session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": np.zeros_like(ids)})
        assert got.shape == (2, 5, 32)
        assert np.isfinite(got).all()


_MASKS = {
    "left": [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]],
    "first hidden": [[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 0, 0]],
    "a row of padding": [[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]],
}


@pytest.mark.parametrize("mask", list(_MASKS))
def test_a_pooler_needs_the_first_token_of_every_row(mask, tmp_path):
    model, inputs = tiny_transformer("bert")
    session = open_session(export_onnx(model, tmp_path / "m.onnx", inputs, _LATER).path, use_library=False)
    feed = {"input_ids": np.full((2, 6), 7), "attention_mask": np.array(_MASKS[mask])}
    with pytest.raises(Exception, match="attention_mask must show the first token of every row"):
        session.run(None, feed)
    right = np.array([[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])  # the same session goes on
    with torch.no_grad():
        wanted = model(torch.full((2, 6), 7), torch.tensor(right)).logits.numpy()
    np.testing.assert_allclose(session.run(None, feed | {"attention_mask": right})[0], wanted, atol=2e-5)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("value", [2, -1])
def test_a_mask_of_other_values_is_an_error(family, value, tmp_path):
    compressed, inputs = _compressed(family)
    path = export_onnx(compressed, tmp_path / "m.onnx", inputs, _UNPADDED).path
    feed = {"input_ids": np.full((2, 6), 7), "attention_mask": np.array([[1, 1, 1, value, 0, 0]] * 2)}
    for use_library in (True, False):
        with pytest.raises(Exception, match="attention_mask must hold only 0 and 1"):
            open_session(path, use_library=use_library).run(None, feed)


class _Mean(torch.nn.Module):
    """A sentence encoder: the mean over the tokens, of the shown ones or of all."""

    def __init__(self, encoder, shown_only):
        super().__init__()
        self.encoder, self.config, self.shown_only = encoder, encoder.config, shown_only

    def forward(self, input_ids, attention_mask, return_dict=True):
        hidden = self.encoder(input_ids, attention_mask).last_hidden_state
        weights = attention_mask[..., None].float() if self.shown_only else torch.ones_like(hidden[..., :1])
        return {"embedding": (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)}


@pytest.mark.parametrize("shown_only", [True, False], ids=["shown tokens", "all tokens"])
def test_a_mean_is_exact_or_keeps_its_padding(shown_only, tmp_path):
    encoder, inputs = tiny_transformer("distilbert")
    model = _Mean(encoder.base_model, shown_only).eval()
    result = export_onnx(model, tmp_path / "m.onnx", inputs, _LATER)
    assert (dict(result.passes)["remove_padding"] > 0) == shown_only
    assert any("may depend on hidden tokens" in reason for _, _, reason in result.refusals) == (
        not shown_only
    )
    session = open_session(result.path, use_library=False)
    for mask in _MASKS.values():
        feed = {"input_ids": torch.randint(3, 80, (2, 6)), "attention_mask": torch.tensor(mask)}
        with torch.no_grad():
            wanted = model(**feed)["embedding"].numpy()
        got = session.run(None, {name: value.numpy() for name, value in feed.items()})[0]
        np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_hidden_places_hold_zeros_and_nothing_of_other_texts(tmp_path):
    model, inputs = tiny_transformer("distilbert")
    path = export_onnx(model.base_model, tmp_path / "m.onnx", inputs, _LATER).path
    feed = {"input_ids": np.full((2, 6), 7), "attention_mask": np.array(_MASKS["a row of padding"])}
    got = open_session(path, use_library=False).run(["last_hidden_state"], feed)[0]
    assert (got[feed["attention_mask"] == 0] == 0).all()
    assert (got[0, :4] != 0).all()


_RNG = np.random.default_rng(0)
_CONSTANTS = {
    name: (_RNG.standard_normal((16, 16)) * (_RNG.random((16, 16)) < 0.4)).astype(np.float32)
    for name in "abcd"
} | {
    "scale": np.ones(16, np.float32), "one": np.float32(1), "low": np.float32(-1e30), "axes": np.array([1, 2]),
    "start": np.int64(0), "step": np.int64(1), "tenth": np.float32(0.5),
}  # fmt: skip
_BODY = (
    "n = LayerNormalization <axis = -1> (x, scale)\n f = Cast <to = 1> (attention_mask)\n o = Sub (one, f)\n"
    "u = Unsqueeze (o, axes)\n p = Mul (u, low)\n t = Shape <start = 1, end = 2> (x)\n s = Squeeze (t)\n"
    "r = Range (start, s, step)\n g = Cast <to = 1> (r)\n e = Mul (g, tenth)\n both = Add (p, e)\n"
    "q = MatMul (n, a)\n k = MatMul (n, b)\n v = MatMul (n, c)\n"
    "h = Attention <q_num_heads = 2, kv_num_heads = 2, scale = 0.3> (q, k, v, {mask})\n y = MatMul (h, d)\n"
)


def _attention_graph(mask):
    model: ir.Model = sparse_graph(
        _BODY.format(mask=mask), "float[N, T, 16] x, int64[N, T] attention_mask", "float[N, T, 16] y",
        _CONSTANTS, "abcd", opset=23,
    )  # fmt: skip
    assert apply_rule(SwapAttention(), model.graph).applied == 1
    return model


@pytest.mark.parametrize(("mask", "by_lengths"), [("p", True), ("both", False)])
def test_a_mask_that_does_more_than_hide_keys_is_kept(mask, by_lengths):
    """A bias per key, computed from sizes and constants alone, must not go with the padding."""
    model = _attention_graph(mask)
    remove_padding(model)
    node = next(node for node in model.graph if is_attention(node))
    assert (len(node.inputs) == 5) == by_lengths
    valid = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]])
    feed = {"x": _RNG.standard_normal((3, 6, 16)).astype(np.float32), "attention_mask": valid}
    wanted = run_sparse_graph(_attention_graph(mask), **feed, use_library=False)
    visible = valid.astype(bool)
    for use_library in (True, False):
        got = run_sparse_graph(model, **feed, use_library=use_library)
        np.testing.assert_allclose(got[visible], wanted[visible], atol=2e-5)
