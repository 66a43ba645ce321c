import json
import shutil

import numpy as np
import pytest
import torch
from exported_models import CORPUS

from platon_compress.errors import InputError
from platon_compress.runtime import load
from platon_compress.runtime.embed import POOLINGS

sentence_transformers = pytest.importorskip("sentence_transformers")
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer  # noqa: E402

TEXTS = [*CORPUS, "short", "Berlin?", " ".join(CORPUS), "", "  spaces around  "]
PROMPTS = {"query": "question about people: ", "none": ""}


def _saved(exported, folder, family="bert", *, pooling="mean", normalize=False, prompt=True, most=None):
    """sentence-transformers' own folder, with our file beside it; and its model."""
    model, tokenizer, source = exported(family, "plain")
    model.save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    first = Transformer(str(folder / "plain"), max_seq_length=most or tokenizer.model_max_length)
    modules = [first, Pooling(32, pooling_mode=pooling, include_prompt=prompt), *[Normalize()] * normalize]
    theirs = sentence_transformers.SentenceTransformer(modules=modules, prompts=PROMPTS, device="cpu")
    theirs.save(str(folder / "st"))
    shutil.copy(source / "compressed.onnx", folder / "st" / "model.onnx")
    return theirs, folder / "st"


@pytest.mark.parametrize("pooling", [*POOLINGS, ("mean", "max")])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_embeddings_are_those_of_sentence_transformers(exported, tmp_path, family, pooling):
    theirs, folder = _saved(exported, tmp_path, family, pooling=pooling)
    found = load(folder, threads=1).encode(TEXTS, batch_size=4)
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), 64 if isinstance(pooling, tuple) else 32)
    assert np.abs(found - theirs.encode(TEXTS)).max() < 1e-4


def test_length_one_where_the_folder_or_the_caller_says_so(exported, tmp_path):
    theirs, folder = _saved(exported, tmp_path, normalize=True)
    runner = load(folder)
    assert np.abs(runner.encode(TEXTS) - theirs.encode(TEXTS)).max() < 1e-5
    assert np.allclose(np.linalg.norm(runner.encode(TEXTS), axis=1), 1, atol=1e-5)
    assert np.linalg.norm(runner.encode(TEXTS, normalize=False), axis=1).min() > 1.5


@pytest.mark.parametrize("counted", [True, False])
def test_prompts_stand_before_the_text(exported, tmp_path, counted):
    theirs, folder = _saved(exported, tmp_path, prompt=counted)
    runner = load(folder)
    named = runner.encode(TEXTS, prompt_name="query")
    assert np.abs(named - theirs.encode(TEXTS, prompt_name="query")).max() < 1e-4
    assert np.abs(named - runner.encode(TEXTS)).max() > 1e-2
    own = "about beans: "
    assert np.abs(runner.encode(TEXTS, prompt=own) - theirs.encode(TEXTS, prompt=own)).max() < 1e-4
    with pytest.raises(InputError, match=r"there is no prompt 'passage' \(known: .*query\)"):
        runner.encode(TEXTS, prompt_name="passage")


def test_long_texts_are_cut_at_max_seq_length(exported, tmp_path):
    theirs, folder = _saved(exported, tmp_path, most=9)
    runner = load(folder)
    assert runner.folder.max_tokens == 9
    assert np.abs(runner.encode(TEXTS) - theirs.encode(TEXTS)).max() < 1e-4


def test_max_seq_length_of_older_folders(exported, tmp_path):
    """Before 5.7 the limit stood in sentence_bert_config.json, and pooling in one flag per mode."""
    theirs, folder = _saved(exported, tmp_path, pooling="cls", most=7)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 7, "do_lower_case": false}')
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 48}))
    old = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 32}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(old))
    assert np.abs(load(folder).encode(TEXTS) - theirs.encode(TEXTS)).max() < 1e-4


def test_texts_are_never_longer_than_the_positions(exported, tmp_path):
    _, folder = _saved(exported, tmp_path, "roberta")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["model_max_length"] = int(1e30)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    runner = load(folder)
    assert runner.folder.max_tokens == 48
    assert np.isfinite(runner.encode([" ".join(CORPUS * 3)])).all()


def test_a_folder_without_pooling_is_told_one(exported):
    model, tokenizer, folder = exported("bert", "plain")
    with pytest.raises(InputError, match=r"config.json tells no task \(architecture BertModel\); give task="):
        load(folder)
    with pytest.raises(InputError, match=r"names no pooling \(modules.json, 1_Pooling\); give pooling="):
        load(folder, task="sentence-similarity")
    found = load(folder, task="sentence-similarity", pooling="cls").encode(TEXTS[:3])
    batch = tokenizer(TEXTS[:3], padding=True, return_tensors="pt")
    with torch.inference_mode():
        assert np.abs(found - model(**batch).last_hidden_state[:, 0].numpy()).max() < 1e-4
    with pytest.raises(InputError, match="there is no pooling 'middle'; choose from cls, max, mean"):
        load(folder, task="sentence-similarity", pooling="middle")


def test_other_modules_are_refused(exported, tmp_path):
    _, folder = _saved(exported, tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_LSTM", "type": "sentence_transformers.models.LSTM"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(
        InputError, match=r"modules.json holds a LSTM, which runs in sentence-transformers only"
    ):
        load(folder)
    (folder / "modules.json").write_text('{"no": "list"}')
    with pytest.raises(InputError, match="is no list of modules"):
        load(folder)


def test_none_at_all(exported, tmp_path):
    _, folder = _saved(exported, tmp_path)
    assert load(folder).encode([]).shape == (0, 32)
