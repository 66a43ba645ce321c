"""optimum's models over our files, for every task, and transformers' pipelines over them."""

import numpy as np
import pytest
import transformers
from exported_models import CORPUS
from PIL import Image

from platon_compress.export import session_options

runtime = pytest.importorskip("optimum.onnxruntime")

FILES = ("compressed.onnx", "needs_library.onnx")  # the second one opens with our library alone
LABELS = ("O", "B-PER", "I-PER", "B-LOC")
TASKS = {
    "feature-extraction": ("plain", "FeatureExtraction", {}),
    "text-classification": ("text", "SequenceClassification", {"labels": ("good", "bad", "neither")}),
    "token-classification": ("tokens", "TokenClassification", {"labels": LABELS}),
    "question-answering": ("answers", "QuestionAnswering", {}),
}


def _open(kind, folder, file):
    return getattr(runtime, f"ORTModelFor{kind}").from_pretrained(
        folder, file_name=file, session_options=session_options(threads=1)
    )


def _same(found, expected):
    """Numbers within 1e-4, everything else equal, at any depth."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            _same(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            _same(ours, theirs)
    elif isinstance(expected, str | int | np.integer) or expected is None:
        assert found == expected
    else:
        assert abs(found - expected) < 1e-4


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("task", TASKS)
def test_texts(exported, task, family, file):
    head, kind, settings = TASKS[task]
    model, tokenizer, folder = exported(family, head, **settings)
    pair = [
        transformers.pipeline(task, model=one, tokenizer=tokenizer)
        for one in (_open(kind, folder, file), model)
    ]
    if task == "question-answering":
        questions, contexts = ["who flew?", "what do naïve owners pay"], [CORPUS[0], CORPUS[3]]
        found, expected = (
            one(question=questions, context=contexts, top_k=2, handle_impossible_answer=True) for one in pair
        )
    else:
        found, expected = (one(list(CORPUS), batch_size=2) for one in pair)
    assert expected
    _same(found, expected)


@pytest.mark.parametrize("file", FILES)
def test_pictures(pictures, file):
    model, processor, folder = pictures
    rng = np.random.default_rng(3)
    images = [Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)) for _ in range(3)]
    found, expected = (
        transformers.pipeline("image-classification", model=one, image_processor=processor)(images)
        for one in (_open("ImageClassification", folder, file), model)
    )
    _same(found, expected)


def test_without_the_options_the_same_file_runs_dense(exported):
    model, tokenizer, folder = exported("bert", "plain")
    stock = runtime.ORTModelForFeatureExtraction.from_pretrained(folder, file_name="compressed.onnx")
    found, expected = (
        transformers.pipeline("feature-extraction", model=one, tokenizer=tokenizer)(CORPUS[0])
        for one in (stock, model)
    )
    _same(found, expected)
    with pytest.raises(Exception, match="Platon"):
        runtime.ORTModelForFeatureExtraction.from_pretrained(folder, file_name="needs_library.onnx")
