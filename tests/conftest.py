"""Shared test settings: no network, few threads, the real data folder where it exists."""

import functools
import gc
import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # over models this small, torch's threads wait for one another


def pytest_collection_finish():
    """What the tests have imported stays for ever: the collections that each Trainer asks for pass it over."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """A test draws the same numbers, whichever ran before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _own_precision(monkeypatch):
    """The Trainer writes its precision into the environment, and the next one of the process would take it over."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The development data beside the checkout; tests that need it skip where it is missing."""
    folder = Path(os.environ.get("PLATON_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip("the shared development data is not here (set PLATON_SHARED to its folder)")
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """exported(family, head, **settings) -> (torch model, tokenizer, folder), each exported once."""
    from exported_models import make

    @functools.cache
    def once(family, head, **settings):
        return make(tmp_path_factory.mktemp(f"{family}-{head}"), family, head, **settings)

    return once


@pytest.fixture(scope="session")
def exported_vit(tmp_path_factory):
    """(torch ViT, its processor, folder)."""
    from exported_models import make_vit

    return make_vit(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="session")
def through_onnx():
    """through_onnx(SentenceTransformer or CrossEncoder, folder, file): that class over our file of the folder."""
    pytest.importorskip(
        "optimum", reason="sentence-transformers opens ONNX with optimum, which has no transformers 5 yet"
    )
    from platon_compress.export import session_options

    def opened(kind, folder, file="compressed.onnx"):
        settings = {
            "file_name": file,
            "session_options": session_options(threads=1),
            "provider": "CPUExecutionProvider",
        }
        return kind(str(folder), backend="onnx", model_kwargs=settings, device="cpu")

    return opened
