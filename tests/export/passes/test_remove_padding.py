"""Padded batches on valid tokens only: the same numbers wherever the mask lets anybody look."""

import numpy as np
import onnx
import pytest
import torch

from platon_compress.export import export_onnx, open_session
from platon_compress.export.config import ExportConfig
from platon_compress.testing import tiny_transformer

_UNPADDED = ExportConfig(remove_padding=True)


def _batch(rows, tokens):
    """Lengths from 2 to all tokens, padded on the right; one row has a hole, one is padded on the left."""
    lengths = torch.linspace(2, tokens, rows).long()
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    mask[-1, 1] = 0
    mask[0] = mask[0].flip(0)
    ids = torch.randint(3, 80, (rows, tokens), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "deberta-v3", "modernbert"])
def test_every_visible_number_is_the_same(family, tmp_path):
    model, inputs = tiny_transformer(family)
    model = model.base_model
    path = export_onnx(model, tmp_path / "m.onnx", inputs, _UNPADDED).path
    session = open_session(path, use_library=False)
    for rows, tokens in ((1, 5), (3, 9), (6, 30)):
        batch = _batch(rows, tokens)
        with torch.no_grad():
            wanted = model(**batch).last_hidden_state.numpy()
        got = session.run(["last_hidden_state"], {name: value.numpy() for name, value in batch.items()})[0]
        visible = batch["attention_mask"].numpy().astype(bool)
        np.testing.assert_allclose(got[visible], wanted[visible], atol=2e-5)


def test_layers_run_on_valid_tokens_and_attention_on_padded_ones(tmp_path):
    model, inputs = tiny_transformer("bert")
    result = export_onnx(model, tmp_path / "m.onnx", inputs, _UNPADDED)
    # Per block: 6 products, 6 biases, 2 sums, 2 norms, 1 activation; the GELU is one node by then.
    assert dict(result.passes)["remove_padding"] == 2 * 17
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in onnx.load(result.path).graph.value_info
    }
    products = [n for n in onnx.load(result.path).graph.node if n.op_type == "MatMul"]
    assert {tuple(shapes[node.output[0]][:2]) for node in products} == {(1, "valid_tokens")}


def test_models_without_a_mask_are_left_alone(tmp_path):
    model, inputs = tiny_transformer("vit")
    result = export_onnx(model, tmp_path / "m.onnx", inputs, _UNPADDED)
    assert dict(result.passes)["remove_padding"] == 0
    assert any("there is no attention_mask" in reason for _, _, reason in result.refusals)
