"""Every architecture with every task's head: exact through a sparse export, padded or not, with the library or without.

docs/models.md shows this table. GTE, BGE and E5 have BERT or XLM-R inside, MiniLM has BERT.
"""

import re
from pathlib import Path

import pytest
import torch
import transformers
from thinned import thinned

from platon_compress import PlanConfig, bake, convert, plan
from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.export.outputs import differences, onnx_outputs
from platon_compress.planning import Form
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
TEXT_HEADS = {
    "embeddings": "Model",
    "texts and pairs": "ForSequenceClassification",
    "entities": "ForTokenClassification",
    "answers": "ForQuestionAnswering",
}
TEXTS = {
    "BERT": "bert",
    "RoBERTa": "roberta",
    "XLM-R": "xlm-roberta",
    "CamemBERT": "camembert",
    "DistilBERT": "distilbert",
    "ELECTRA": "electra",
    "MPNet": "mpnet",
    "DeBERTa-v2": "deberta-v2",
    "DeBERTa-v3": "deberta-v3",
    "mDeBERTa": "mdeberta",
    "ModernBERT": "modernbert",
}
TEXTS_OF_5 = {"NomicBERT": "nomic-bert", "EuroBERT": "eurobert"}  # not in transformers 4.57
# name -> family -> heads of that family
PICTURES = {
    "ViT": ("vit", ("Model", "ForImageClassification")),
    "DeiT": ("deit", ("Model", "ForImageClassification")),
    "DINOv2": ("dinov2", ("Model", "ForImageClassification")),
    "CLIP, image tower": ("clip-vision", ("Model", "ModelWithProjection")),
    "SigLIP, image tower": ("siglip-vision", ("Model",)),
    "CLIP, text tower": ("clip-text", ("Model", "ModelWithProjection")),
    "SigLIP, text tower": ("siglip-text", ("Model",)),
}
CELLS = [(family, head) for family in TEXTS.values() for head in TEXT_HEADS.values()]
CELLS += [
    (family, head)
    for family in (TEXTS_OF_5.values() if hasattr(transformers, "NomicBertModel") else ())
    for head in TEXT_HEADS.values()
    if head != "ForQuestionAnswering"
]
CELLS += [(family, head) for family, heads in PICTURES.values() for head in heads]
# Projections of position embeddings: the file holds the products.
_FOLDED = {"deberta-v2": 4}


def _check(family, head, folder, *, unpad=False):
    model, inputs = tiny_transformer(family, head)
    torch.manual_seed(1)
    baked = bake(model, {name: torch.rand_like(weight) < 0.4 for name, weight in select(model).items()})
    compressed = convert(baked, plan(baked, PlanConfig(tokens=8, force=Form.CSR)))
    assert len(compressed.csr) == len(select(model))
    result = export_onnx(compressed, folder / "m.onnx", inputs, ExportConfig(remove_padding=unpad))
    assert len(result.skipped) == _FOLDED.get(family, 0)
    batches = [
        inputs,
        {name: value[:1] for name, value in inputs.items()},
        {name: value[:, :7] if value.ndim == 2 else value for name, value in inputs.items()},
    ]
    with torch.no_grad():
        wanted = [
            {k: v.numpy() for k, v in baked.model(**batch, return_dict=True).items() if torch.is_tensor(v)}
            for batch in batches
        ]
    arrays = [{name: value.numpy() for name, value in batch.items()} for batch in batches]
    for use_library in (True, False):
        found = onnx_outputs(result.path, arrays, use_library=use_library)
        assert found[0].keys() == wanted[0].keys()
        assert differences(wanted, found, arrays)["max_abs"] < 5e-6


@pytest.mark.parametrize(("family", "head"), thinned(CELLS, every=3))
def test_exact(family, head, tmp_path):
    _check(family, head, tmp_path)


@pytest.mark.parametrize("family", thinned(TEXTS.values(), every=3))
def test_exact_without_padding(family, tmp_path):
    _check(family, "ForTokenClassification", tmp_path, unpad=True)


def test_the_page_shows_this_table():
    page = PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \| (.+) \|$", page, re.MULTILINE))
    marks = " | ".join(["exact"] * len(TEXT_HEADS))
    assert [name for name in TEXTS if rows.get(name) != marks] == []
    assert {rows[name] for name in TEXTS_OF_5} == {marks.removesuffix("exact") + "-"}
    assert rows["architecture"] == " | ".join(TEXT_HEADS)
    shown = {name: rows[name].split(" | ")[0] for name in PICTURES}
    assert shown == {name: ", ".join(f"`{head}`" for head in heads) for name, (_, heads) in PICTURES.items()}
