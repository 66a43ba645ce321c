"""The folders that docs/deploying.md opens, one for each task: tiny random models, exported with sparse layers."""

import importlib.util
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))  # the tiny models are made there


def write_exported(root):
    """ROOT/entities, answers, pictures, and in sentence-transformers' layout ROOT/embeddings and reranker."""
    from small_models import make

    root.mkdir(parents=True)
    for name, head, settings in (
        ("entities", "tokens", {"labels": ("O", "B-PER", "I-PER", "B-LOC")}),
        ("answers", "answers", {}),
    ):
        (root / name).mkdir()
        make(root / name, "bert", head, **settings)
    _write_pictures(root / "pictures")
    _write_sentence_folders(root)


def _write_pictures(folder):
    import torch
    import transformers
    from small_models import export

    config = transformers.ViTConfig(
        image_size=24, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )  # fmt: skip
    folder.mkdir()
    model = transformers.ViTForImageClassification(config).eval()
    export(model, folder, {"pixel_values": torch.randn(2, 3, 24, 24)})
    transformers.ViTImageProcessor(size={"height": 24, "width": 24}).save_pretrained(folder)


def _write_sentence_folders(root):
    """With sentence-transformers itself; where it is missing, the page that opens them says so."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return
    import sentence_transformers
    from small_models import make

    for name, head, settings in (("embeddings", "plain", {}), ("reranker", "text", {"num_labels": 1})):
        source = root / f"{name}-source"
        source.mkdir()
        model, tokenizer, _ = make(source, "bert", head, **settings)
        model.save_pretrained(source / "plain")
        tokenizer.save_pretrained(source / "plain")
        if head == "plain":
            theirs = sentence_transformers.SentenceTransformer(
                str(source / "plain"), prompts={"query": "question: "}, device="cpu"
            )
        else:
            theirs = sentence_transformers.CrossEncoder(str(source / "plain"), device="cpu")
        theirs.save_pretrained(str(root / name))
        (root / name / "onnx").mkdir()
        shutil.copy(source / "compressed.onnx", root / name / "onnx" / "compressed.onnx")
