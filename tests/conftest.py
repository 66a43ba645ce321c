"""Shared test settings: no network, few threads, the real data folder where it exists."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # as many processes as cores: more threads would only wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")


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
