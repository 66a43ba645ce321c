"""Folders as our export writes them, with a file for libraries that have registered ours."""

import functools
import shutil

import pytest

NEEDS_LIBRARY = "needs_library.onnx"


def _with_both(folder, place):
    """A copy of `folder` at `place`, and in it compressed.onnx less what lets it run without our library.

    Who can open that one has registered it.
    """
    import onnx

    model = onnx.load(shutil.copytree(folder, place) / "compressed.onnx")
    del model.functions[:]
    onnx.save(model, place / NEEDS_LIBRARY)
    return place


@pytest.fixture(scope="session")
def exported(exported, tmp_path_factory):
    """exported(family, head, **settings) -> (torch model, tokenizer, folder with both files)."""

    @functools.cache
    def with_both(family, head, **settings):
        model, tokenizer, folder = exported(family, head, **settings)
        return model, tokenizer, _with_both(folder, tmp_path_factory.mktemp("door") / "both")

    return with_both


@pytest.fixture(scope="session")
def pictures(exported_vit, tmp_path_factory):
    """(torch ViT, its processor, folder with both files)."""
    model, processor, folder = exported_vit
    return model, processor, _with_both(folder, tmp_path_factory.mktemp("door") / "both")
