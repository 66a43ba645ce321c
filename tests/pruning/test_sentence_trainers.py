"""The callback inside sentence-transformers' own trainers, on tiny models: bi-encoder, cross-encoder, SPLADE."""

import importlib

import numpy as np
import pytest
import torch
import transformers
from thinned import thinned
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import TrainerCallback

from platon_compress import PlanConfig, PlatonCallback, PruneConfig, bake, convert, keep_zeros, plan
from platon_compress.errors import InputError
from platon_compress.export import export_onnx, open_session
from platon_compress.planning import Form
from platon_compress.pruning import latest_complete_checkpoint
from platon_compress.selection import select
from platon_compress.structure import find_blocks, unwrap_model

library = pytest.importorskip("sentence_transformers")
datasets = pytest.importorskip("datasets")

_STEPS = 16
_WORDS = ("red", "green", "blue", "car", "bike", "train", "fast", "slow")
KINDS = ("bi-encoder", "cross-encoder")


def _room(name, before):
    """A module of the library, under the name that it had before 5.5 where that is all there is."""
    try:
        return importlib.import_module(f"sentence_transformers.{name}")
    except ImportError:
        return importlib.import_module(f"sentence_transformers.{before}")


def _parts():
    return _room("sentence_transformer.modules", "models")


def _tokenizer():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *_WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=16, **dict(zip(names, special, strict=True))
    )


def _encoder(folder, head, **settings):
    """A folder with a tiny BERT of that head and its tokenizer."""
    torch.manual_seed(0)
    config = transformers.BertConfig(**{
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 13,
        "max_position_embeddings": 16, "num_labels": 1, **settings,
    })  # fmt: skip
    getattr(transformers, head)(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return str(folder)


def _model(kind, folder, **settings):
    if kind == "cross-encoder":
        return library.CrossEncoder(
            _encoder(folder, "BertForSequenceClassification", **settings), device="cpu"
        )
    parts = _parts()
    first = parts.Transformer(_encoder(folder, "BertModel", **settings))
    # A layer behind the pooling belongs to no block: it is trained, and never pruned.
    modules = [first, parts.Pooling(16, pooling_mode="mean"), parts.Dense(16, 8), parts.Normalize()]
    return library.SentenceTransformer(modules=modules, device="cpu")


def _rows():
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(_WORDS, generator.integers(2, 7))) for _ in range(64)]
    scores = generator.random(32).astype(np.float32)
    return datasets.Dataset.from_dict({"first": texts[:32], "second": texts[32:], "score": scores})


def _trainer(kind, folder, loss_name=None, **settings):
    folder.mkdir(exist_ok=True)
    model = _model(kind, folder / "start")
    if kind == "cross-encoder":
        trainer, arguments = library.CrossEncoderTrainer, library.CrossEncoderTrainingArguments
        losses = importlib.import_module("sentence_transformers.cross_encoder.losses")
        loss = losses.BinaryCrossEntropyLoss(model)
    else:
        trainer, arguments = (
            library.SentenceTransformerTrainer,
            library.SentenceTransformerTrainingArguments,
        )
        losses = _room("sentence_transformer.losses", "losses")
        loss = getattr(losses, loss_name or "CosineSimilarityLoss")(model)
    usual = {
        "max_steps": _STEPS, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True, "seed": 3,
    }  # fmt: skip
    return trainer(
        model=model,
        args=arguments(output_dir=str(folder), **{**usual, **settings}),
        train_dataset=_rows() if loss_name is None else _rows().remove_columns("score"),
        eval_dataset=_rows(),
        loss=loss,
    )


def _config(**settings):
    return PruneConfig(**{"sparsity": 0.8, "mask_interval": 2, **settings})


def _answers(model):
    if isinstance(model, library.CrossEncoder):
        return model.predict([("red car", "blue bike"), ("slow train", "fast car red bike")])
    return model.encode(["red car", "slow train fast bike"])


class _Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


@pytest.mark.parametrize("kind", KINDS)
def test_trains_to_the_exact_sparsity(kind, tmp_path):
    trainer = _trainer(kind, tmp_path)
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()
    pruner = callback.pruner
    assert pruner.steps == _STEPS
    assert pruner.count_zeros() == int(0.8 * pruner.size)
    weights = dict(unwrap_model(trainer.model).named_parameters())
    assert len(pruner.masks()) == 12
    assert all(torch.equal(weights[name] != 0, mask) for name, mask in pruner.masks().items())
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert [row["sparsity"] for row in rows][-1] == 0.8
    assert rows[-1]["achieved_sparsity"] == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "loss", "settings"),
    [
        ("cross-encoder", None, {"gradient_accumulation_steps": 2}),
        ("cross-encoder", None, {"bf16": True}),
        ("bi-encoder", None, {"bf16": True}),
        # Its backward pass goes through the encoder once for every piece of a batch.
        ("bi-encoder", "CachedMultipleNegativesRankingLoss", {}),
    ],
    ids=["accumulation", "bf16", "bf16 pooled", "cached gradients"],
)
def test_what_their_trainings_use(kind, loss, settings, tmp_path):
    trainer = _trainer(kind, tmp_path, loss, **settings)
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()
    assert callback.pruner.steps == _STEPS
    assert callback.pruner.count_zeros() == int(0.8 * callback.pruner.size)
    baked = bake(trainer.model, callback.pruner.masks(), target_sparsity=0.8)
    batch = dict(_tokenizer()(["red car", "slow train fast bike"], padding=True, return_tensors="pt"))
    result = export_onnx(baked.model, tmp_path / "m.onnx", batch)
    feed = {name: batch[name].numpy() for name in result.inputs}
    with torch.no_grad():
        wanted = baked.model(**batch)[0]
    assert wanted.dtype == torch.float32
    np.testing.assert_allclose(open_session(result.path).run(None, feed)[0], wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("stop", thinned([9, _STEPS], every=2), ids=["in the middle", "when all is done"])
@pytest.mark.parametrize("kind", KINDS)
def test_resume_is_bit_identical(kind, stop, tmp_path):
    whole = _trainer(kind, tmp_path / "whole")
    first = PlatonCallback(_config()).attach(whole)
    whole.train()
    part = _trainer(kind, tmp_path / "part", save_strategy="steps", save_steps=stop)
    part.add_callback(_Stop(stop))
    PlatonCallback(_config()).attach(part)
    part.train()
    folder = latest_complete_checkpoint(tmp_path / "part")
    assert folder == tmp_path / "part" / f"checkpoint-{stop}"
    resumed = _trainer(kind, tmp_path / "part")
    second = PlatonCallback(_config(), resume_from=folder).attach(resumed)
    resumed.train(resume_from_checkpoint=str(folder))
    for (name, a), b in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    masks = first.pruner.masks()
    assert all(torch.equal(mask, masks[name]) for name, mask in second.pruner.masks().items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_the_best_model_is_one_at_full_sparsity(kind, tmp_path):
    trainer = _trainer(
        kind, tmp_path, save_strategy="steps", save_steps=2, eval_strategy="steps", eval_steps=2,
        load_best_model_at_end=True,
    )  # fmt: skip
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()
    assert callback.in_final_phase(trainer.state)
    baked = bake(trainer.model, callback.pruner.masks(), target_sparsity=0.8)
    assert baked.sparsity == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_they_save_holds_the_zeros(kind, tmp_path):
    """`bake` reaches the model inside; the wrapper around it saves and loads as ever, and goes on training."""
    trainer = _trainer(kind, tmp_path)
    callback = PlatonCallback(_config()).attach(trainer)
    trainer.train()
    model = trainer.model
    baked = bake(model, callback.pruner.masks(), target_sparsity=0.8)
    assert baked.model is unwrap_model(model)
    assert baked.model in list(model.modules())
    model.save_pretrained(str(tmp_path / "saved"))
    loaded = type(model)(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_array_equal(_answers(loaded), _answers(model))
    again = bake(loaded)
    assert again.to_dict()["weights"] == baked.to_dict()["weights"]
    optimizer = torch.optim.AdamW(loaded.parameters(), lr=0.1)
    with keep_zeros(loaded) as kept:
        assert set(kept.names) == set(callback.pruner.masks())
        sum((p**2).sum() + p.sum() for p in loaded.parameters()).backward()
        optimizer.step()
    assert bake(loaded).sparsity == pytest.approx(again.sparsity, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_inside_is_converted_and_exported(kind, tmp_path):
    model = _model(kind, tmp_path / "start")
    masks = {name: torch.rand_like(weight) < 0.3 for name, weight in select(model).items()}
    baked = bake(model, masks)
    compressed = convert(baked, plan(baked, PlanConfig(tokens=8, force=Form.CSR)))
    batch = dict(_tokenizer()(["red car", "slow train fast bike"], padding=True, return_tensors="pt"))
    for source, sparse in ((compressed, 4), (model, 0)):  # the library's object as it is: its model, dense
        result = export_onnx(source, tmp_path / "m.onnx", batch)
        assert len(result.sparse_nodes) == sparse
        feed = {name: batch[name].numpy() for name in result.inputs}
        with torch.no_grad():
            wanted = baked.model(**batch)[0].numpy()
        np.testing.assert_allclose(open_session(result.path).run(None, feed)[0], wanted, atol=1e-5)


def test_one_layer_is_still_one_block(tmp_path):
    """A CrossEncoder is itself a list of one module, which must not pass for the block."""
    model = _model("cross-encoder", tmp_path, num_hidden_layers=1)
    assert find_blocks(model) == ("bert.encoder.layer.0",)
    assert len(select(model)) == 6


def test_names_are_those_of_the_model_inside(tmp_path):
    model = _model("bi-encoder", tmp_path)
    name = "encoder.layer.1.output.dense"
    assert list(select(model, targets=name)) == [f"{name}.weight"]
    with pytest.raises(InputError, match=r"targets entry '2\.linear' matches nothing in BertModel"):
        select(model, targets="2.linear")


def test_wrappers_around_theirs_come_off_too(tmp_path):
    model = _model("bi-encoder", tmp_path)
    assert unwrap_model(torch.compile(model)) is unwrap_model(model)
    wrapper = torch.nn.Module()
    wrapper.module = model
    assert list(select(wrapper)) == list(select(model))


def test_a_model_with_two_encoders_stays_whole(tmp_path):
    parts = _parts()
    towers = [parts.Transformer(_encoder(tmp_path / side, "BertModel")) for side in "ab"]
    router = parts.Router.for_query_document([towers[0]], [towers[1]])
    model = library.SentenceTransformer(modules=[router, parts.Pooling(16)], device="cpu")
    assert unwrap_model(model) is model
    assert len(find_blocks(model)) == 4
    assert len(select(model)) == 24


def test_splade_is_unwrapped_too(tmp_path):
    module = pytest.importorskip("sentence_transformers.sparse_encoder")
    model = module.SparseEncoder(_encoder(tmp_path, "BertForMaskedLM"), device="cpu")
    assert type(unwrap_model(model)).__name__ == "BertForMaskedLM"
    assert len(select(model)) == 12
