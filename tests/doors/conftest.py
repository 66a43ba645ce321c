"""Folders as our export writes them, one per family and head, for the libraries that open them."""

import functools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))  # the tiny models are made there
pytest.importorskip("torch")
pytest.importorskip("transformers")

NEEDS_LIBRARY = "needs_library.onnx"


def _without_bodies(folder):
    """compressed.onnx less what lets it run without our library: who can open this one has registered it."""
    import onnx

    model = onnx.load(folder / "compressed.onnx")
    del model.functions[:]
    onnx.save(model, folder / NEEDS_LIBRARY)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """exported(family, head, **settings) -> (torch model, tokenizer, folder with both files)."""
    from small_models import make

    @functools.cache
    def once(family, head, **settings):
        made = make(tmp_path_factory.mktemp(f"{family}-{head}"), family, head, **settings)
        _without_bodies(made[2])
        return made

    return once


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """(torch ViT, its processor, folder with both files)."""
    import torch
    import transformers
    from small_models import export

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(5)
    config = transformers.ViTConfig(
        image_size=24, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        id2label={0: "cat", 1: "dog", 2: "car"}, label2id={"cat": 0, "dog": 1, "car": 2},
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.3)
    model = export(model, folder, {"pixel_values": torch.randn(2, 3, 24, 24)})
    processor = transformers.ViTImageProcessor(size={"height": 24, "width": 24})
    processor.save_pretrained(folder)
    _without_bodies(folder)
    return model, processor, folder


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Torch's threads and ONNX Runtime's would fight for the cores over these small models."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
