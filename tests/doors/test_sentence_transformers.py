"""SentenceTransformer and CrossEncoder with backend="onnx" over a folder of theirs that holds our file."""

import shutil

import numpy as np
import pytest
from exported_models import CORPUS

library = pytest.importorskip("sentence_transformers")
pytest.importorskip("optimum.onnxruntime")

FILES = ("compressed.onnx", "needs_library.onnx")  # the second one opens with our library alone
TEXTS = [*CORPUS, "short", "Berlin?", " ".join(CORPUS)]
PAIRS = [(a, b) for a in ("who flew?", " ".join(CORPUS), "beans") for b in TEXTS[:5]]


def _put_files(source, folder):
    (folder / "onnx").mkdir()
    for file in FILES:
        shutil.copy(source / file, folder / "onnx" / file)


@pytest.fixture(scope="module", params=["bert", "roberta"])
def bi_encoder(request, exported, tmp_path_factory):
    """Their model and their folder; a prompt, mean pooling and unit length stand in its files."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    folder = tmp_path_factory.mktemp("bi-encoder")
    model, tokenizer, source = exported(request.param, "plain")
    model.save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    modules = [Transformer(str(folder / "plain")), Pooling(32), Normalize()]
    theirs = library.SentenceTransformer(modules=modules, prompts={"query": "who: "}, device="cpu")
    theirs.save_pretrained(str(folder / "st"))
    _put_files(source, folder / "st")
    return theirs, folder / "st"


@pytest.mark.parametrize("file", FILES)
def test_embeddings(bi_encoder, through_onnx, file):
    theirs, folder = bi_encoder
    ours = through_onnx(library.SentenceTransformer, folder, file)
    for prompt in (None, "query"):
        found, expected = (one.encode(TEXTS, prompt_name=prompt, batch_size=3) for one in (ours, theirs))
        assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("file", FILES)
def test_scores(exported, through_onnx, tmp_path, file):
    model, tokenizer, source = exported("bert", "text", num_labels=1)
    model.save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    theirs = library.CrossEncoder(str(tmp_path / "plain"), device="cpu")
    theirs.save_pretrained(str(tmp_path / "ce"))
    _put_files(source, tmp_path / "ce")
    ours = through_onnx(library.CrossEncoder, tmp_path / "ce", file)
    found, expected = (one.predict(PAIRS, batch_size=4) for one in (ours, theirs))
    assert np.abs(found - expected).max() < 1e-5
    ranked = [[row["corpus_id"] for row in one.rank("who flew?", TEXTS)] for one in (ours, theirs)]
    assert ranked[0] == ranked[1]


def test_without_the_options_the_file_runs_dense(bi_encoder):
    theirs, folder = bi_encoder
    settings = {"file_name": "compressed.onnx", "provider": "CPUExecutionProvider"}
    stock = library.SentenceTransformer(str(folder), backend="onnx", model_kwargs=settings, device="cpu")
    assert np.abs(stock.encode(TEXTS) - theirs.encode(TEXTS)).max() < 1e-5
