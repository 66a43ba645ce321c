"""What no fixed graph does is refused before anything is trained, by exporting two blocks and comparing."""

import pytest
import torch
import transformers

from platon_compress.errors import InputError
from platon_compress.export.config import ExportConfig
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.trial import check_export
from platon_compress.testing import tiny_transformer

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
}  # fmt: skip
TEXT = {**SIZES, "vocab_size": 60, "max_position_embeddings": 40, "pad_token_id": 0}
PICTURES = {**SIZES, "image_size": 32, "patch_size": 8}


def _checkpoint(kind, **fields):
    torch.manual_seed(0)
    task = "image-feature-extraction" if kind == "ViTMAE" else "text-classification"
    config = getattr(transformers, f"{kind}Config")(**{**(PICTURES if kind == "ViTMAE" else TEXT), **fields})
    suffix = "Model" if kind == "ViTMAE" else "ForSequenceClassification"
    return Checkpoint(getattr(transformers, f"{kind}{suffix}")(config).eval(), None, task)


@pytest.mark.parametrize("family", ["deberta-v3", "dinov2", "roberta"])
def test_encoders_pass_and_stay_whole(family):
    model, _ = tiny_transformer(family)
    modality = "image" if family == "dinov2" else "text"
    before = {name: id(module) for name, module in model.named_modules()}
    check_export(Checkpoint(model, None, f"{modality}-classification"), ExportConfig())
    assert {name: id(module) for name, module in model.named_modules()} == before


def test_only_two_of_many_blocks_are_traced(monkeypatch):
    """The middle of the model is out during the trial, and back in its order."""
    checkpoint = _checkpoint("Electra", num_hidden_layers=5)
    blocks = checkpoint.model.electra.encoder.layer
    names, seen = list(dict(blocks.named_children())), []
    checkpoint.model.register_forward_hook(lambda *_: seen.append(len(blocks)))
    check_export(checkpoint, ExportConfig())
    assert set(seen) == {2}
    assert list(dict(blocks.named_children())) == names


def test_models_that_count_their_blocks_are_tried_whole():
    """XLM reads its blocks by number, so it does not run with two of three."""
    model = transformers.XLMForSequenceClassification(
        transformers.XLMConfig(
            vocab_size=60, emb_dim=32, n_layers=3, n_heads=4, max_position_embeddings=40, n_langs=1
        )
    )
    checkpoint, seen = Checkpoint(model.eval(), None, "text-classification"), []
    model.register_forward_hook(lambda *_: seen.append(len(model.transformer.ffns)))
    check_export(checkpoint, ExportConfig())
    assert set(seen) == {3}


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("Nystromformer", {"num_landmarks": 8, "segment_means_seq_len": 16}, r"does not run on input_ids \[3, 13\]"),
        ("ViTMAE", {}, "ViTMAEModel gives two answers to one input, so it draws at random"),
    ],
)  # fmt: skip
def test_no_fixed_graph(kind, fields, said):
    with pytest.raises(InputError, match=said + ".*take a BERT-like encoder"):
        check_export(_checkpoint(kind, **fields), ExportConfig())


def test_a_graph_that_runs_with_other_numbers():
    class ByLength(transformers.ElectraForSequenceClassification):
        def forward(self, input_ids, **inputs):
            outputs = super().forward(input_ids, **inputs)
            outputs.logits = outputs.logits * float(input_ids.shape[1])
            return outputs

    torch.manual_seed(0)
    model = ByLength(transformers.ElectraConfig(**TEXT)).eval()
    with pytest.raises(InputError, match=r"one fixed graph is not ByLength: for .*an answer is off by"):
        check_export(Checkpoint(model, None, "text-classification"), ExportConfig())


def test_what_one_exporter_lacks(capfd):
    model, _ = tiny_transformer("dinov2-registers")
    with pytest.raises(InputError, match=r"upsample_bicubic2d_aa.*set export\.exporter.* to dynamo"):
        check_export(Checkpoint(model, None, "image-classification"), ExportConfig())
    assert len("".join(capfd.readouterr()).splitlines()) < 3
