"""onnxruntime-node, onnxruntime-web and transformers.js: they register no library, and answer what torch answers.

The packages of package.json are installed into a temporary folder; without node, npm or a registry the tests skip.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from exported_models import CORPUS
from PIL import Image

pytestmark = pytest.mark.install
HERE = Path(__file__).parent
TEXTS = [*CORPUS, "short", "Berlin?"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.lstrip("v").split(".")[:2])) < (20, 9):
        pytest.skip(f"node {version} is too old for transformers.js, which needs 20.9")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "answers.mjs"):
        shutil.copy(HERE / name, folder / name)
    # No scripts: onnxruntime-node's would download CUDA libraries.
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.skip(
            f"npm cannot install the packages: {(done.stderr.strip().splitlines() or ['?'])[0][:200]}"
        )
    yield folder
    shutil.rmtree(folder / "node_modules", ignore_errors=True)  # 600 MB: libraries of every platform


def _answers(packages, door, **job):
    done = subprocess.run(
        ["node", "answers.mjs", door], cwd=packages, input=json.dumps(job), capture_output=True, text=True,
        check=False, timeout=240, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def _feed(arrays):
    kinds = {np.dtype(np.int64): "int64", np.dtype(np.float32): "float32"}
    return {
        name: {"type": kinds[array.dtype], "shape": array.shape, "values": array.ravel().tolist()}
        for name, array in arrays.items()
    }


@pytest.mark.parametrize("door", ["node", "web"])
@pytest.mark.parametrize("settings", [{}, {"unpad": True}], ids=["padded", "without padding"])
def test_the_file_answers_as_torch_does(packages, exported, door, settings):
    model, tokenizer, folder = exported("bert", "text", **settings)
    batches = [
        dict(tokenizer(TEXTS[:count], padding=True, truncation=True, return_tensors="pt")) for count in (6, 1)
    ]
    feeds = [_feed({name: value.numpy() for name, value in batch.items()}) for batch in batches]
    found = _answers(packages, door, file=str(folder / "compressed.onnx"), feeds=feeds)
    for batch, outputs in zip(batches, found["outputs"], strict=True):
        with torch.no_grad():
            expected = model(**batch).logits.numpy()
        assert np.abs(np.array(outputs["logits"]).reshape(expected.shape) - expected).max() < 1e-4


@pytest.mark.parametrize("door", ["node", "web"])
def test_pictures(packages, pictures, door):
    model, _, folder = pictures
    pixels = torch.randn(3, 3, 24, 24)
    feeds = [_feed({"pixel_values": pixels.numpy()})]
    found = _answers(packages, door, file=str(folder / "compressed.onnx"), feeds=feeds)
    with torch.no_grad():
        expected = model(pixel_values=pixels).logits.numpy()
    assert np.abs(np.array(found["outputs"][0]["logits"]).reshape(3, 3) - expected).max() < 1e-4


@pytest.mark.parametrize("door", ["node", "web"])
def test_a_file_that_needs_the_library_is_refused(packages, exported, door):
    """So what ran above were the standard operators that the file carries, at dense speed."""
    folder = exported("bert", "text")[2]
    found = _answers(packages, door, file=str(folder / "needs_library.onnx"), feeds=[])
    assert "Platon" in found["error"]


def _in_their_layout(folder, source, name="model"):
    """FOLDER/NAME with our file below onnx/."""
    shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.onnx"))
    (folder / name / "onnx").mkdir()
    shutil.copy(source / "compressed.onnx", folder / name / "onnx" / "compressed.onnx")
    return {"folder": f"{folder}/", "model": name}


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_embeddings_of_transformers_js(packages, exported, tmp_path, family):
    model, tokenizer, source = exported(family, "plain")
    place = _in_their_layout(tmp_path, source)
    call = {"pooling": "mean", "normalize": True}
    found = _answers(packages, "transformers", **place, task="feature-extraction", texts=[TEXTS], call=call)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
    pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    assert np.abs(np.array(found["answers"]) - pooled.numpy()).max() < 1e-4


def test_classes_of_transformers_js(packages, exported, tmp_path):
    model, tokenizer, source = exported("bert", "text", labels=("good", "bad", "neither"))
    place = _in_their_layout(tmp_path, source)
    found = _answers(packages, "transformers", **place, task="text-classification", texts=[TEXTS])["answers"]
    expected = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)(TEXTS)
    assert [row["label"] for row in found] == [row["label"] for row in expected]
    assert np.allclose([row["score"] for row in found], [row["score"] for row in expected], atol=1e-5)


def test_entities_of_transformers_js(packages, exported, tmp_path):
    model, tokenizer, source = exported("bert", "tokens", labels=("O", "B-PER", "I-PER", "B-LOC"))
    place = _in_their_layout(tmp_path, source)
    found = _answers(
        packages, "transformers", **place, task="token-classification", texts=[CORPUS[0]]
    )["answers"]  # fmt: skip
    expected = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer)(CORPUS[0])
    assert expected
    assert [(row["entity"], row["index"], row["word"]) for row in found] == [
        (row["entity"], row["index"], row["word"]) for row in expected
    ]
    assert np.allclose([row["score"] for row in found], [row["score"] for row in expected], atol=1e-5)


def test_answers_of_transformers_js(packages, exported, tmp_path):
    """The best span as its own logits have it: the libraries disagree on what an answer may be."""
    model, tokenizer, source = exported("bert", "answers")
    place = _in_their_layout(tmp_path, source)
    settings = (
        tmp_path / "model" / "tokenizer_config.json"
    )  # they send token types for classes that they know
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"tokenizer_class": "BertTokenizer"}))
    question, context = "who flew?", CORPUS[0]
    found = _answers(
        packages, "transformers", **place, task="question-answering", texts=[question, context]
    )["answers"]  # fmt: skip
    batch = tokenizer(question, context, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**batch)
    first = int((batch["token_type_ids"][0] == 1).nonzero()[0])
    starts, ends = outputs.start_logits[0, first:-1], outputs.end_logits[0, first:-1]
    pairs = torch.triu(starts.softmax(0)[:, None] * ends.softmax(0)[None])
    start, end = divmod(int(pairs.argmax()), len(ends))
    expected = tokenizer.decode(batch["input_ids"][0, first + start : first + end + 1])
    assert found["answer"] == expected


def test_the_blocks_of_the_page_run_as_printed(packages, exported):
    """In a folder with compressed.onnx (a model without token types) and models/mine."""
    page = (HERE.parents[1] / "docs" / "deploying.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```js\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    shutil.copy(exported("roberta", "text")[2] / "compressed.onnx", packages / "compressed.onnx")
    _in_their_layout(packages / "models", exported("roberta", "plain")[2], "mine")
    for number, (block, shown) in enumerate(
        zip(blocks, ("outputs.logits.dims", "vectors.dims"), strict=True)
    ):
        (packages / f"block{number}.mjs").write_text(f"{block}console.log(JSON.stringify({shown}));\n")
        done = subprocess.run(
            ["node", f"block{number}.mjs"], cwd=packages, capture_output=True, text=True, check=False, timeout=240
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads(done.stdout.splitlines()[-1]) == [[1, 2], [1, 32]][number]


def test_a_picture_in_transformers_js(packages, pictures, tmp_path):
    model, processor, source = pictures
    place = _in_their_layout(tmp_path, source)
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    picture.save(tmp_path / "picture.png")
    found = _answers(
        packages, "transformers", **place, task="image-classification", texts=[str(tmp_path / "picture.png")],
        call={"top_k": 3},
    )["answers"]  # fmt: skip
    expected = transformers.pipeline("image-classification", model=model, image_processor=processor)(picture)
    assert [row["label"] for row in found] == [row["label"] for row in expected]
    assert np.allclose([row["score"] for row in found], [row["score"] for row in expected], atol=1e-3)
