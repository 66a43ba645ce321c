"""Modules as training tools leave them."""

import functools
import types

import pytest
import torch
import transformers
from torch import nn

from platon_compress.baking import bake
from platon_compress.errors import InputError
from platon_compress.export import export_onnx, open_session
from platon_compress.incoming import check_finite, plain_copy, plain_module, steady

IDS = {"input_ids": torch.arange(3, 11)[None].repeat(2, 1)}


def _electra(**fields):
    torch.manual_seed(1)
    config = transformers.ElectraConfig(
        hidden_size=16, embedding_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        vocab_size=30, max_position_embeddings=16, **fields,
    )  # fmt: skip
    model = transformers.ElectraForSequenceClassification(config).eval()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and "layer." in name:
            module.weight.data[torch.rand(module.weight.shape) < 0.5] = 0
    return model


def _in_autocast(model):
    """What accelerate does to a model that trains in bf16, twice where two trainings follow each other."""
    from accelerate.utils import convert_outputs_to_fp32

    model._original_forward = model.forward
    inner = model.forward.__func__
    model.forward = types.MethodType(torch.autocast("cpu", torch.bfloat16)(inner), model)
    model.forward = types.MethodType(convert_outputs_to_fp32(model.forward.__func__), model)


def _compiled(model):
    model.forward = torch.compile(model.forward, backend="eager")
    model.compile(backend="eager")


def _hooked(model):
    from accelerate.hooks import ModelHook, add_hook_to_module

    class Halves(ModelHook):
        def post_forward(self, module, output):
            return type(output)(**{key: value / 2 for key, value in output.items()})

    add_hook_to_module(model, Halves())


@pytest.mark.parametrize(
    "leave", [_in_autocast, _compiled, _hooked, lambda m: (_in_autocast(m), _in_autocast(m))]
)
def test_forward_is_the_class_own_again(leave):
    model = _electra()
    with torch.no_grad():
        want = model(**IDS).logits
    leave(model)
    copied = plain_copy(model)
    assert copied is not model
    assert "forward" in model.__dict__, "the caller's module is left as it was"
    assert "forward" not in copied.__dict__
    assert plain_module(model) is model
    for plain in (copied, model):
        with torch.no_grad():
            assert torch.equal(plain(**IDS).logits, want)


def test_a_forward_of_the_callers_own_stays():
    model = _electra()
    own = functools.partial(type(model).forward, model, output_hidden_states=False)
    model.forward = own
    assert plain_module(model).forward is own


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_baked_and_exported_in_float32(tmp_path, dtype):
    model = _electra().to(dtype)
    want = _electra()
    want.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
    with torch.no_grad():
        logits = want(**IDS).logits.numpy()
    result = export_onnx(model, tmp_path / "model.onnx", IDS)
    assert {p.dtype for p in model.parameters()} == {dtype}, "the caller's module is left as it was"
    found = open_session(result.path).run(None, {n: IDS[n].numpy() for n in result.inputs})[0]
    assert abs(found - logits).max() < 1e-5
    assert {p.dtype for p in bake(model).model.parameters()} == {torch.float32}


def test_a_plain_module_is_not_copied():
    model = _electra()
    assert plain_copy(model) is model
    assert plain_copy(nn.Sequential(nn.Linear(2, 2))) is not None


def test_tensors_that_are_no_weights_are_refused():
    model = _electra()
    with torch.device("meta"):
        model.classifier.dense = nn.Linear(16, 16)
    with pytest.raises(InputError, match=r"'classifier\.dense\.weight' is not in memory \(meta device\)"):
        plain_module(model)
    model = _electra()
    weight = torch.zeros(16, 16, dtype=torch.int8)
    model.classifier.dense.weight = nn.Parameter(weight, requires_grad=False)
    with pytest.raises(
        InputError, match=r"'classifier\.dense\.weight' holds int8 values: the model is quantised"
    ):
        plain_module(model)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_values_that_are_not_finite_are_named_wherever_they_are(value):
    model = _electra()
    model.electra.embeddings.token_type_embeddings.weight.data[1, 2] = float(value)
    for check in (check_finite, bake):
        with pytest.raises(
            InputError, match=r"token_type_embeddings\.weight holds 1 values that are not finite"
        ):
            check(model)


def test_attention_that_depends_on_the_length_is_refused(tmp_path):
    config = transformers.BigBirdConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=30,
        max_position_embeddings=128, block_size=4, num_random_blocks=1,
    )  # fmt: skip
    model = transformers.BigBirdForSequenceClassification(config).eval()
    with pytest.raises(
        InputError, match=r"exchanged bert\.encoder\.layer\.0\.attention\.self .*original_full"
    ):
        export_onnx(model, tmp_path / "model.onnx", IDS)
    with steady(model):
        model(**IDS)
