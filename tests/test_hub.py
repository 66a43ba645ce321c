"""Uploading: what reaches the hub is a folder that load_compressed opens, with a card."""

import shutil
from types import SimpleNamespace

import pytest
import torch
import transformers
import yaml

from platon_compress import PlanConfig, bake, convert, load_compressed, plan, push_to_hub
from platon_compress.errors import InputError
from platon_compress.planning import Form
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer


@pytest.fixture
def compressed():
    model, _ = tiny_transformer("bert")
    generator = torch.Generator().manual_seed(1)
    baked = bake(
        model, {n: torch.rand(p.shape, generator=generator) < 0.25 for n, p in select(model).items()}
    )
    baked.model.config._name_or_path = "google/bert-tiny"
    return convert(baked, plan(baked, PlanConfig(tokens=12, threads=1, force=Form.CSR)))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that keeps what it is given."""
    calls = SimpleNamespace(folder=tmp_path / "hub", fails=None, created=None, message=None)

    class Api:
        def __init__(self, token=None):
            calls.token = token

        def create_repo(self, repo_id, *, private, exist_ok):
            if calls.fails:
                raise calls.fails
            calls.created = (repo_id, private, exist_ok)
            return SimpleNamespace(repo_id=f"me/{repo_id}")

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, calls.folder)
            calls.message = commit_message
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    return calls


def test_what_is_uploaded_can_be_loaded(compressed, hub):
    address = push_to_hub(
        compressed, "tiny", processor=transformers.ViTImageProcessor(), private=True, token="t"
    )
    assert address == "https://hub/me/tiny/commit/1"
    assert (hub.created, hub.token) == (("tiny", True, True), "t")
    back = load_compressed(hub.folder)
    for one, other in zip(back.model.parameters(), compressed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert (hub.folder / "preprocessor_config.json").is_file()


def test_the_card(compressed, hub):
    push_to_hub(compressed, "me/tiny")
    _, front, text = (hub.folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "platon-compress",
        "tags": ["pruning", "sparse", "platon"],
        "base_model": "google/bert-tiny",
    }
    assert "| sparse weights | 12 |" in text
    assert "| zeros in them | 75." in text
    assert 'load_compressed("me/tiny")' in text


def test_an_own_card(compressed, hub):
    push_to_hub(compressed, "me/tiny", card="# Mine\n")
    assert (hub.folder / "README.md").read_text() == "# Mine\n"


def test_a_refusal_gets_one_line(compressed, hub):
    hub.fails = OSError("401 Client Error\nmore")
    with pytest.raises(InputError, match=r"cannot upload to 'me/tiny': 401 Client Error; log in with"):
        push_to_hub(compressed, "me/tiny")
