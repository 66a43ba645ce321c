"""Loading checkpoints: what other tools leave in them is understood or refused, and no weight is random in silence."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize, prune

from platon_compress.errors import InputError
from platon_compress.tasks.models import classifier_head, infer_task, load_checkpoint
from platon_compress.tasks.untrained import build_model

TASK = "text-classification"
CONFIG = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 30,
    "max_position_embeddings": 16, "num_labels": 2,
}  # fmt: skip
IDS = torch.arange(3, 11)[None]


def _model(kind="RobertaForSequenceClassification", **fields):
    torch.manual_seed(3)
    model_class = getattr(transformers, kind)
    return model_class(model_class.config_class(**{**CONFIG, "pad_token_id": 1, **fields})).eval()


def _linears(model):
    return [m for n, m in model.named_modules() if isinstance(m, nn.Linear) and "layer." in n]


def _lay(folder, state, form="safetensors", model=None):
    """A checkpoint of `state` in one file or two shards, beside the config of `model`."""
    (model or _model()).config.save_pretrained(folder)
    state = {key: tensor.clone().contiguous() for key, tensor in state.items()}
    stem, write = "model", lambda part, path: save_file(part, path, metadata={"format": "pt"})
    if "bin" in form:
        stem, write = "pytorch_model", torch.save
    ending = form.removeprefix("sharded ")
    if form == ending:
        write(state, folder / f"{stem}.{ending}")
        return str(folder)
    where = {key: f"{stem}-0000{1 + i % 2}-of-00002.{ending}" for i, key in enumerate(sorted(state))}
    for name in set(where.values()):
        write({key: state[key] for key in state if where[key] == name}, folder / name)
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return str(folder)


class _Mask(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight):
        return weight * self.mask


@pytest.mark.parametrize("form", ["safetensors", "bin", "sharded safetensors", "sharded bin"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("labels", [None, ["no", "yes"]])
def test_masks_and_prefixes_in_any_file(tmp_path, form, prefix, labels):
    model = _model()
    for linear in _linears(model):
        prune.random_unstructured(linear, "weight", 0.6)
    source = _lay(tmp_path, {prefix + k: v for k, v in model.state_dict().items()}, form)
    loaded = load_checkpoint(source, TASK, head=labels and classifier_head(labels)).model
    assert torch.allclose(loaded(IDS).logits, model(IDS).logits, atol=1e-6)
    assert float((_linears(loaded)[0].weight == 0).float().mean()) == pytest.approx(0.6, abs=0.01)


def test_parametrised_masks_and_names_inside_wrappers(tmp_path):
    model = _model()
    for linear in _linears(model):
        parametrize.register_parametrization(linear, "weight", _Mask((linear.weight > 0).float()))
    state = {
        k.replace("layer.0.", "layer.0._checkpoint_wrapped_module."): v for k, v in model.state_dict().items()
    }
    loaded = load_checkpoint(_lay(tmp_path, state, "bin"), TASK).model
    assert torch.allclose(loaded(IDS).logits, model(IDS).logits, atol=1e-6)


def _without(word):
    return {k: v for k, v in _model().state_dict().items() if word not in k}


@pytest.mark.parametrize("labels", [None, ["a", "b", "c"]])
def test_a_missing_encoder_weight_is_never_drawn(tmp_path, labels):
    source = _lay(tmp_path, _without("layer.1.attention.self.value"))
    with pytest.raises(
        InputError, match=r"lacks 2 weights .*first: roberta\.encoder\.layer\.1\.attention.* random"
    ):
        load_checkpoint(source, TASK, head=labels and classifier_head(labels))


def test_a_new_head_is_new_only_where_it_is_trained(tmp_path):
    source = _lay(tmp_path, _without("classifier"))
    started = load_checkpoint(source, TASK, head=classifier_head(["a", "b", "c"]))
    assert started.model.config.num_labels == 3
    assert {name.partition(".")[0] for name in started.drawn} == {"classifier"}
    with pytest.raises(InputError, match=r"lacks 4 weights .*first: classifier\."):
        load_checkpoint(source, TASK)


def test_a_language_model_is_a_start_and_an_encoder_but_no_classifier(tmp_path):
    model = _model("BertForMaskedLM")
    model.save_pretrained(tmp_path)
    started = load_checkpoint(str(tmp_path), TASK, head=classifier_head(["a", "b"])).model
    weight = "bert.encoder.layer.1.output.dense.weight"
    assert torch.equal(started.state_dict()[weight], model.state_dict()[weight])
    encoder = load_checkpoint(str(tmp_path), "feature-extraction").model
    assert encoder.pooler is None
    want = model.bert(IDS).last_hidden_state
    assert torch.allclose(encoder(IDS).last_hidden_state, want, atol=1e-5)
    with pytest.raises(InputError, match=r"saved as BertForMaskedLM.* name the task it was trained for"):
        load_checkpoint(str(tmp_path), TASK)


def test_a_config_of_another_model_does_not_redraw_the_embeddings(tmp_path):
    source = _lay(tmp_path, _model().state_dict(), model=_model(vocab_size=40))
    with pytest.raises(
        InputError, match=r"1 weights of other shapes than its config\.json says .*word_embeddings"
    ):
        load_checkpoint(source, TASK, head=classifier_head(["a", "b"]))


def test_a_regression_model_becomes_a_classifier(tmp_path):
    _model(num_labels=1, problem_type="regression").save_pretrained(tmp_path)
    model = load_checkpoint(str(tmp_path), TASK, head=classifier_head(["a", "b", "c"])).model
    assert model(IDS, labels=torch.tensor([2])).loss > 0
    assert model.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("roberta.encoder.layer.0.output.dense.mask_scores", r"scores of movement pruning .* never applied"),
        (
            "roberta.encoder.layer.0.output.dense.lora_A.default.weight",
            r"adapters beside its weights .*merge",
        ),
        ("roberta.encoder.layer.0.output.dense.base_layer.weight", r"adapters beside its weights"),
    ],
)
def test_what_only_its_own_tool_applies_is_refused(tmp_path, form, extra, message):
    source = _lay(tmp_path, {**_model().state_dict(), extra: torch.ones(2, 2)}, form)
    with pytest.raises(InputError, match=message):
        load_checkpoint(source, TASK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: mask * float("nan"), r"holds values beside 0 and 1"),
        (lambda mask: mask * 0.5, r"holds values beside 0 and 1"),
        (torch.zeros_like, r"masks of the checkpoint keep no weight at all"),
        (lambda mask: mask[:-1], r"has shape .*, but .*_orig has"),
    ],
)
def test_damaged_masks_are_refused(tmp_path, change, message):
    model = _model()
    for linear in _linears(model):
        prune.random_unstructured(linear, "weight", 0.6)
    state = {k: change(v) if k.endswith("_mask") else v for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_checkpoint(_lay(tmp_path, state), TASK)


def test_nothing_but_tensors_is_read(tmp_path):
    source = _lay(tmp_path, {}, "bin")
    torch.save(_model(), tmp_path / "pytorch_model.bin")
    with pytest.raises(
        InputError, match=r"pytorch_model\.bin holds more than tensors.*save model\.state_dict"
    ):
        load_checkpoint(source, TASK)
    torch.save({"epoch": 3}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"holds no state dict"):
        load_checkpoint(source, TASK)


@pytest.mark.parametrize("form", ["safetensors", "bin", "sharded safetensors"])
def test_damaged_files_are_named(tmp_path, form):
    source = _lay(tmp_path, _model().state_dict(), form)
    file = min(tmp_path.glob("*.bin")) if form == "bin" else min(tmp_path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(InputError, match=rf"{file.name} is no valid \w+ file: .*; save it again"):
        load_checkpoint(source, TASK)
    file.unlink()
    with pytest.raises(InputError, match=r"lacks the shard|cannot load the model"):
        load_checkpoint(source, TASK)


@pytest.mark.parametrize("name", ["a" * 5000, "../model.safetensors", "a\0b", 7])
def test_shards_that_no_file_can_be_are_lacking(tmp_path, name):
    source = _lay(tmp_path, _model().state_dict(), "sharded safetensors")
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] |= dict.fromkeys(content["weight_map"], name)
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"lacks the shard"):
        load_checkpoint(source, TASK)


def test_values_that_are_not_finite_are_named(tmp_path):
    model = _model()
    model.roberta.embeddings.LayerNorm.bias.data[2] = float("-inf")
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"embeddings\.LayerNorm\.bias holds 1 values that are not finite"):
        load_checkpoint(str(tmp_path), TASK)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "longformer"}, r"longformer model: it cuts the sequence into windows.*BERT-like"),
        ({"model_type": "t5", "is_encoder_decoder": True}, r"an encoder with a decoder"),
        (
            {"architectures": ["MT5EncoderModel"], "model_type": "mt5", "is_encoder_decoder": False},
            r"is half of",
        ),
        (
            {"model_type": "bert", "quantization_config": {"quant_method": "awq", "bits": 4}},
            r"is quantised \(awq\); give the float",
        ),
        (
            {"model_type": "big_bird", "attention_type": "block_sparse"},
            r"changes its attention with the length",
        ),
        ({"model_type": "fnet"}, r"takes no attention_mask, so that padding changes"),
        (
            {"model_type": "siglip2", "architectures": ["Siglip2Model"]},
            r"load the one you need \((Siglip2TextModel or )?Siglip2VisionModel\) from it",
        ),
        (
            {"model_type": "blip", "architectures": ["BlipModel"]},
            r"two encoders in one; (take a BERT-like encoder|load the one you need)",
        ),
        (
            {"model_type": "clip", "architectures": ["CLIPModel"]},
            r"two encoders in one; load the one you need \(CLIPTextModel or CLIPVisionModel\) from it",
        ),
    ],
)
def test_models_that_cannot_go_through_are_refused_by_their_config(tmp_path, fields, message):
    source = _lay(tmp_path, _model().state_dict())
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match=message):
        load_checkpoint(source, TASK)


@pytest.mark.parametrize("architecture", ["BertLMHeadModel", "BertForMultipleChoice"])
def test_a_task_is_not_guessed_from_a_name_that_ends_like_an_encoder(tmp_path, architecture):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": [architecture]}))
    with pytest.raises(InputError, match=f"is a {architecture}; name its task"):
        infer_task(str(tmp_path))


def test_a_model_of_another_transformers_has_a_cure(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip3_text_model"}))
    with pytest.raises(InputError, match=f"give a model that transformers {transformers.__version__} loads"):
        infer_task(str(tmp_path))


def test_more_layers_than_any_encoder_has_are_not_built(tmp_path):
    source = _lay(tmp_path, _model().state_dict())
    fields = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 10**9}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(
        InputError, match=r"names 1000000000 layers, and no encoder has more than 1,000; fix it"
    ):
        load_checkpoint(source, TASK)
    with pytest.raises(InputError, match=r"model\.config names 5000 layers"):
        build_model(
            {"model_type": "roberta", "num_hidden_layers": 5000}, TASK, classifier_head(["a", "b"]), 0
        )


def test_an_adapter_folder_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    for load in (infer_task, lambda name: load_checkpoint(name, TASK)):
        with pytest.raises(InputError, match=r"holds an adapter \(PEFT\), not a model; merge it"):
            load(str(tmp_path))


def test_a_damaged_tokenizer_is_not_a_missing_one(tmp_path):
    source = _lay(tmp_path, _model().state_dict())
    assert load_checkpoint(source, TASK).processor is None
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": 3}')
    with pytest.raises(
        InputError, match=r"the tokenizer of .* \(tokenizer\.json\) cannot be read: .*; save it again"
    ):
        load_checkpoint(source, TASK)


@pytest.mark.parametrize(
    "name",
    ["./missing", "/missing/model", "~/missing", "a/b/c", "model.safetensors", "tests/missing", "x\\y", "a/"],
)
def test_a_path_that_leads_nowhere_is_refused_before_the_hub_is_asked(tmp_path, monkeypatch, name):
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "platon_compress.tasks.models.transformers_module", lambda: pytest.fail("asked the hub")
    )
    with pytest.raises(InputError, match=r"does not exist; give a folder that does, or a hub id"):
        infer_task(name)


def test_a_name_that_no_system_takes():
    with pytest.raises(InputError, match=r"is no path or name: .*too long"):
        infer_task("x" * 5000)


def test_a_hub_id_offline_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no folder, it is not in the cache, and HF_HUB_OFFLINE is set"):
        infer_task("somebody/no-such-model")
    monkeypatch.setattr("platon_compress.tasks.hub._switched_off", lambda: False)
    monkeypatch.setattr("platon_compress.tasks.hub._reachable", lambda: False)
    with pytest.raises(InputError, match=r"the hub cannot be reached"):
        infer_task("somebody/no-such-model")


def test_a_file_is_no_model(tmp_path):
    source = _lay(tmp_path, _model().state_dict())
    with pytest.raises(InputError, match=r"is a file; give the folder with its config\.json"):
        load_checkpoint(f"{source}/model.safetensors", TASK)
    shutil.rmtree(source)
