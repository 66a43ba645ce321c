"""The files of sentence-transformers: what is read of them, what is refused, what every written folder holds."""

import json

import numpy as np
import pytest
from tiny_berts import saved_bert

from platon_compress.errors import InputError
from platon_compress.tasks.models import infer_task, load_checkpoint
from platon_compress.tasks.sentence_files import SentenceFiles

TASK = "sentence-similarity"
TEXTS = ["a b c", "d", "h g f e d c b a"]
POOLING = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _modules(folder, *kinds, encoder=""):
    """modules.json with an encoder at `encoder` and further modules, and the pooling's settings."""
    types = [("Transformer", encoder), *((kind, f"{i}_{kind}") for i, kind in enumerate(kinds, 1))]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(types)
    ]
    _write(folder / "modules.json", entries)
    for kind, path in types[1:]:
        _write(folder / path / "config.json", POOLING if kind == "Pooling" else {})


def test_an_encoder_of_its_own_folder_is_written_at_the_root(tmp_path):
    library = pytest.importorskip("sentence_transformers")
    saved_bert(tmp_path / "old" / "0_Transformer")
    _modules(tmp_path / "old", "Pooling", "Normalize", encoder="0_Transformer")
    _write(tmp_path / "old" / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 6})
    _write(
        tmp_path / "old" / "config_sentence_transformers.json",
        {"prompts": {"query": "a h "}, "default_prompt_name": "query"},
    )
    checkpoint = load_checkpoint(str(tmp_path / "old"), TASK)
    assert checkpoint.sentence.modules.pooling == ("cls",)
    assert checkpoint.sentence.modules.normalize
    assert (checkpoint.sentence.max_tokens, checkpoint.sentence.spelled("B")) == (6, "a h B")
    checkpoint.save(tmp_path / "new")
    found, wanted = (
        library.SentenceTransformer(str(tmp_path / name), device="cpu").encode(TEXTS)
        for name in ("new", "old")
    )
    assert np.abs(found - wanted).max() < 1e-6
    assert not (tmp_path / "new" / "0_Transformer").exists()
    assert infer_task(str(tmp_path / "new")) == infer_task(str(tmp_path / "old")) == TASK


def test_a_plain_encoder_gets_mean_pooling(tmp_path):
    library = pytest.importorskip("sentence_transformers")
    checkpoint = load_checkpoint(saved_bert(tmp_path / "plain"), TASK)
    assert checkpoint.sentence.assumed
    assert checkpoint.sentence.max_tokens == 64
    checkpoint.save(tmp_path / "new")
    found, wanted = (
        library.SentenceTransformer(str(tmp_path / name), device="cpu").encode(TEXTS)
        for name in ("new", "plain")
    )
    assert np.abs(found - wanted).max() < 1e-6
    assert not load_checkpoint(str(tmp_path / "new"), TASK).sentence.assumed


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (
            ("Pooling", "Dense"),
            r"modules.json holds a Dense, which runs in sentence-transformers only; use that",
        ),
        (("CNN", "Pooling"), "holds a CNN"),
        (("Normalize",), "names no Pooling, so no text has one vector; save the model with one"),
    ],
)
def test_modules_that_cannot_be_followed_are_refused(tmp_path, kinds, said):
    saved_bert(tmp_path)
    _modules(tmp_path, *kinds)
    with pytest.raises(InputError, match=said):
        load_checkpoint(str(tmp_path), TASK)


def test_code_of_the_folder_is_no_module_of_the_library(tmp_path):
    saved_bert(tmp_path)
    _write(tmp_path / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "custom.Transformer"}])
    with pytest.raises(InputError, match=r"holds a custom\.Transformer"):
        load_checkpoint(str(tmp_path), TASK)


def test_an_unknown_pooling_is_refused(tmp_path):
    saved_bert(tmp_path)
    _modules(tmp_path, "Pooling")
    _write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": "attention"})
    with pytest.raises(InputError, match="pools by 'attention', which is unknown here; known are cls, max"):
        load_checkpoint(str(tmp_path), TASK)


def test_a_default_prompt_that_is_not_pooled_is_refused(tmp_path):
    saved_bert(tmp_path)
    _modules(tmp_path, "Pooling")
    _write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": "mean", "include_prompt": False})
    settings = {"prompts": {"q": "a "}, "default_prompt_name": "q"}
    _write(tmp_path / "config_sentence_transformers.json", settings)
    with pytest.raises(InputError, match="leaves its default prompt out of the pooling"):
        load_checkpoint(str(tmp_path), TASK)


def test_a_prompt_that_nobody_wrote_is_refused():
    files = SentenceFiles({"config_sentence_transformers.json": '{"default_prompt_name": "q"}'})
    with pytest.raises(InputError, match="names the prompt 'q', but holds none; fix it"):
        files.spelled("a")


@pytest.mark.parametrize(
    ("most", "given", "cut"),
    [(None, 16, 16), (8, 16, 8), (32, 16, 16)],
)
def test_texts_are_as_long_as_both_allow(most, given, cut):
    files = SentenceFiles({"sentence_bert_config.json": json.dumps({"max_seq_length": most})})
    assert files.cut(given) == cut


def test_lower_case_is_the_folders():
    files = SentenceFiles({"sentence_bert_config.json": '{"do_lower_case": true}'})
    assert files.spelled("A b") == "a b"


@pytest.mark.parametrize(
    ("config", "activation"),
    [
        ({}, "activation.Sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "linear.Identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "linear.Identity"),
    ],
)
def test_a_cross_encoder_says_so_with_its_activation(tmp_path, config, activation):
    library = pytest.importorskip("sentence_transformers")
    source = saved_bert(tmp_path / "plain", "BertForSequenceClassification", num_labels=1, **config)
    load_checkpoint(source, "text-ranking").save(tmp_path / "new")
    assert infer_task(str(tmp_path / "new")) == "text-ranking"
    theirs = library.CrossEncoder(str(tmp_path / "new"), device="cpu")
    assert f"{type(theirs.activation_fn).__module__}.{type(theirs.activation_fn).__name__}".endswith(
        activation
    )


def test_files_of_a_cross_encoder_are_kept(tmp_path):
    library = pytest.importorskip("sentence_transformers")
    source = saved_bert(tmp_path / "plain", "BertForSequenceClassification", num_labels=1)
    theirs = library.CrossEncoder(source, device="cpu", max_length=9)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    load_checkpoint(str(tmp_path / "theirs"), "text-ranking").save(tmp_path / "new")
    pairs = [(text, TEXTS[2]) for text in TEXTS]
    again = library.CrossEncoder(str(tmp_path / "new"), device="cpu")
    assert again.predict(pairs) == pytest.approx(theirs.predict(pairs), abs=1e-6)
    for file in ("config_sentence_transformers.json", "modules.json"):
        if (tmp_path / "theirs" / file).is_file():
            assert json.loads((tmp_path / "new" / file).read_text()) == json.loads(
                (tmp_path / "theirs" / file).read_text()
            )


def test_a_bi_encoder_becomes_a_cross_encoder_without_its_pooling(tmp_path):
    saved_bert(tmp_path / "bi")
    _modules(tmp_path / "bi", "Pooling")
    head = {"num_labels": 1}
    load_checkpoint(str(tmp_path / "bi"), "text-ranking", head=head).save(tmp_path / "new")
    assert not (tmp_path / "new" / "modules.json").exists()
    assert infer_task(str(tmp_path / "new")) == "text-ranking"
