"""Finding what a folder holds, and saying in one line what it lacks."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from exported_models import CORPUS

from platon_compress.errors import InputError
from platon_compress.runtime import load
from platon_compress.runtime.folder import TASKS, open_folder, task_of

THREE = ("good", "bad", "neither")
WITHOUT_TORCH = """
import json, sys
ALLOWED = {"numpy", "onnxruntime", "tokenizers", "PIL", "platon_compress"}
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED: raise ImportError("blocked: " + name)
BLOCKED = {"torch", "transformers", "onnx", "onnx_ir", "onnxscript", "scipy", "pydantic", "yaml", "typer", "rich",
           "jinja2", "matplotlib", "safetensors", "accelerate", "datasets", "optimum", "huggingface_hub"}
sys.meta_path.insert(0, Block())
from platon_compress.runtime import load
found = load(sys.argv[1], threads=1).predict(json.loads(sys.argv[2]))
print(json.dumps([found.labels, found.logits.tolist()]))
"""


@pytest.fixture
def folder(exported, tmp_path):
    """A copy of a text classifier's folder, to be damaged."""
    return shutil.copytree(exported("bert", "text", labels=THREE)[2], tmp_path / "model")


def test_numpy_onnxruntime_and_tokenizers_are_enough(folder):
    command = [sys.executable, "-P", "-c", WITHOUT_TORCH, str(folder), json.dumps(CORPUS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    labels, logits = json.loads(done.stdout)
    found = load(folder, threads=1).predict(CORPUS)
    assert labels == found.labels
    assert np.allclose(logits, found.logits, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("DebertaV2ForSequenceClassification", "text-classification"),
        ("XLMRobertaForTokenClassification", "token-classification"),
        ("ElectraForQuestionAnswering", "question-answering"),
        ("Dinov2ForImageClassification", "image-classification"),
    ],
)
def test_the_head_tells_the_task(folder, architecture, task):
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    assert task_of(open_folder(folder)) == task


def test_config_may_name_the_task(folder):
    (folder / "config.json").write_text('{"architectures": ["MineModel"], "task": "token-classification"}')
    assert load(folder).task == "token-classification"


@pytest.mark.parametrize("file", [None, "compressed.onnx"])
def test_files_below_onnx_and_settings_above(folder, file):
    (folder / "onnx").mkdir()
    (folder / "compressed.onnx").rename(folder / "onnx" / "compressed.onnx")
    assert load(folder, file=file).predict(CORPUS).labels


def test_everything_below_onnx_as_a_run_leaves_it(folder, tmp_path):
    folder.rename(tmp_path / "onnx")
    assert load(tmp_path).predict(CORPUS).labels


def test_the_only_file_is_taken_and_of_two_one_must_be_named(folder):
    (folder / "compressed.onnx").rename(folder / "mine.onnx")
    assert load(folder).folder.model_file.name == "mine.onnx"
    shutil.copy(folder / "mine.onnx", folder / "other.onnx")
    with pytest.raises(InputError, match=r"holds mine\.onnx, other\.onnx; say which one with file="):
        load(folder)
    assert load(folder, file="other.onnx").folder.model_file.name == "other.onnx"


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", r"holds no config\.json; give the folder that the export wrote"),
        ("compressed.onnx", r"holds no model file \(\.onnx files: none\)"),
        ("tokenizer.json", r"holds no tokenizer\.json; copy the model's own into it"),
    ],
)
def test_missing_files_are_named(folder, missing, message):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{}", r"tokenizer\.json cannot be read"),
        ("tokenizer_config.json", "[1]", "holds a list, not a JSON object"),
        ("config.json", "no json", r"cannot read .*config\.json"),
        ("compressed.onnx", "no model", "ONNX Runtime refused"),
        *(
            (
                "config.json",
                json.dumps({"architectures": wrong, "task": wrong}),
                r"config\.json tells no task \(archi",
            )
            for wrong in (None, [], {"a": 1}, 3, [["a\nb"]])
        ),
    ],
)
def test_broken_files_are_named(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_labels_that_are_no_object(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": ["a", "b"]}))
    with pytest.raises(
        InputError, match=r"id2label in config\.json is a list, not an object; export it again"
    ):
        open_folder(folder).labels(2)


def test_a_limit_that_leaves_no_room(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 3}))
    runner = load(folder)
    assert runner.predict(CORPUS).labels
    with pytest.raises(InputError, match="a limit of 3 tokens leaves none to a text beside 3 special ones"):
        runner.predict([("a", "b")])


def test_labels_that_are_not_numbered_from_0(folder):
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"1": "good", "2": "bad", "3": "neither"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json names 3 labels \(1\.\.\.\), .* has 3 outputs from 0"):
        load(folder).predict(CORPUS)


def test_a_tokenizer_of_another_model(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 20}))
    with pytest.raises(InputError, match=r"knows ids up to \d+, the model has 20 embeddings"):
        load(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "translation"}, "no task 'translation'; choose from sentence-similarity"),
        ({"workers": 0}, "workers is 0; give a whole number from 1"),
        ({"threads": 0}, "threads is 0; give a whole number from 1"),
        ({"file": "none.onnx"}, r"holds no none\.onnx \(\.onnx files: compressed\.onnx\)"),
    ],
)
def test_arguments_that_do_not_fit(folder, arguments, message):
    with pytest.raises(InputError, match=message):
        load(folder, **arguments)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        load(tmp_path / "nowhere")


def test_other_methods_say_which_one_it_is(folder):
    runner = load(folder)
    calls = {
        "encode": lambda: runner.encode(["a"]),
        "entities": lambda: runner.entities(["a"]),
        "answer": lambda: runner.answer(["a"], ["b"]),
        "classify": lambda: runner.classify([]),
    }
    for name, call in calls.items():
        with pytest.raises(
            InputError, match=rf"made for text-classification, not for {name}\(\); call predict\(texts\)"
        ):
            call()
    assert set(TASKS) >= {"text-classification", "text-ranking"}


def test_a_file_with_another_head(exported, folder):
    """The settings speak of labels per text, the file gives some per token."""
    shutil.copy(exported("bert", "tokens", labels=THREE)[2] / "compressed.onnx", folder / "compressed.onnx")
    with pytest.raises(InputError, match="first output has 3 axes, scores need"):
        load(folder).predict(CORPUS)
    with pytest.raises(InputError, match="answers need start_logits and end_logits"):
        load(folder, task="question-answering").answer(["who?"], ["Anna."])


def test_answers_that_are_not_finite(folder):
    import onnx

    model = onnx.load(folder / "compressed.onnx")
    bias = next(t for t in model.graph.initializer if "classifier.bias" in t.name)
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), bias.name))
    onnx.save(model, folder / "compressed.onnx")
    with pytest.raises(InputError, match="output 'logits' is not finite; verify the exported file"):
        load(folder).predict(CORPUS)
