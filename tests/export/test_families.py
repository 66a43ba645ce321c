"""What the graph passes reach in each family: the same counts for both exporters and both transformers majors."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from platon_compress.export import export_onnx, open_session
from platon_compress.export.config import ExportConfig
from platon_compress.testing import tiny_transformer

# Two blocks each: attention nodes, GELU nodes (heads have some too), norms in their fast form (one behind the
# embeddings or in front of the head), norms whose bias moved into linears, LayerScales that moved (none: dense layers).
TABLE = {
    "bert": (2, 2, 5, 4, 0),
    "camembert": (2, 2, 5, 4, 0),
    "deberta-v2": (2, 3, 5, 3, 0),
    "deberta-v3": (2, 3, 5, 3, 0),
    "deit": (2, 2, 5, 4, 0),
    "dinov2": (2, 2, 5, 4, 0),
    "dinov2-registers": (2, 2, 5, 4, 0),
    "distilbert": (2, 2, 5, 4, 0),
    "electra": (2, 3, 5, 4, 0),
    "modernbert": (2, 3, 5, 0, 0),  # its norms have no bias
    "mpnet": (2, 2, 5, 4, 0),
    "roberta": (2, 2, 5, 4, 0),
    "vit": (2, 2, 5, 4, 0),
}
_CASES = [
    pytest.param(family, exporter, marks=[pytest.mark.dynamo] if exporter == "dynamo" else [])
    for exporter in ("torchscript", "dynamo")
    for family in TABLE
    # PyTorch's tracing exporter has no antialiased interpolation.
    if (family, exporter) != ("dinov2-registers", "torchscript")
]


@pytest.mark.parametrize(("family", "exporter"), _CASES)
def test_counts_and_numbers(family, exporter, tmp_path):
    model, inputs = tiny_transformer(family)
    result = export_onnx(model, tmp_path / "m.onnx", inputs, ExportConfig(exporter=exporter, opset=23))
    nodes = Counter(node.op_type for node in onnx.load(result.path).graph.node)
    passes = dict(result.passes)
    found = (
        nodes["Attention"],
        passes["spell_gelu"],
        nodes["InstanceNormalization"],
        passes["fold_norm"],
        passes["fold_layer_scale"],
    )
    assert found == TABLE[family]
    session = open_session(result.path, use_library=False)
    with torch.no_grad():
        wanted = model.double()(**{n: v.double() if v.is_floating_point() else v for n, v in inputs.items()})
    got = session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0]
    np.testing.assert_allclose(got, wanted.logits.numpy(), atol=5e-6)
