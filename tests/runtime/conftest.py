"""The tiny models of this folder go on the path; each is exported once."""

import functools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """exported(family, head, **settings) -> (torch model, tokenizer, folder)."""
    from small_models import make

    @functools.cache
    def once(family, head, **settings):
        return make(tmp_path_factory.mktemp(f"{family}-{head}"), family, head, **settings)

    return once


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Torch's threads and ONNX Runtime's would fight for the cores over these small models."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
