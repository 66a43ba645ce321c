"""A training's own dropout: in layers and in attention, and nothing else."""

import pytest
import torch
import transformers

from platon_compress.tasks.dropout import set_dropout

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 40,
}  # fmt: skip
MODELS = {
    "bert": lambda: transformers.BertForTokenClassification(transformers.BertConfig(**SMALL)),
    "bert, eager": lambda: transformers.BertForTokenClassification(
        transformers.BertConfig(**SMALL, attn_implementation="eager")
    ),
    "distilbert": lambda: transformers.DistilBertForTokenClassification(
        transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=40)
    ),
    "deberta": lambda: transformers.DebertaV2ForTokenClassification(
        transformers.DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"])
    ),
    "modernbert": lambda: transformers.ModernBertForTokenClassification(
        transformers.ModernBertConfig(
            **SMALL, attention_dropout=0.1, mlp_dropout=0.1, pad_token_id=0, bos_token_id=1, eos_token_id=2,
            cls_token_id=1, sep_token_id=2, attn_implementation="sdpa", reference_compile=False,
        )
    ),
}  # fmt: skip


def _twice(model):
    ids = torch.arange(24).reshape(2, 12) + 3
    with torch.no_grad():
        return [model.train()(input_ids=ids).logits for _ in range(2)]


@pytest.mark.parametrize("family", MODELS)
def test_at_zero_a_training_computes_the_same_twice(family):
    torch.manual_seed(0)
    model = MODELS[family]()
    first, second = _twice(model)
    assert not torch.equal(first, second), "it comes with a rate of its own"
    set_dropout(model, None)
    first, second = _twice(model)
    assert not torch.equal(first, second)
    set_dropout(model, 0.0)
    first, second = _twice(model)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_attention_leaves_out_what_it_is_told(kind):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        **SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation=kind
    )
    model = transformers.BertModel(config)
    attention = model.encoder.layer[0].attention.self.train()
    states = torch.randn(1, 12, 32)
    with torch.no_grad():
        exact = attention(states)[0]
        set_dropout(model, 0.5)
        assert not torch.allclose(attention(states)[0], exact)
        # a mean over many draws is what nothing was left out of
        mean = torch.stack([attention(states)[0] for _ in range(4000)]).mean(dim=0)
    torch.testing.assert_close(mean, exact, rtol=0, atol=0.1)
    assert model.config.attention_probs_dropout_prob == 0.0


def test_stochastic_depth_stays():
    config = transformers.SwinConfig(
        image_size=16, embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=2
    )
    model = transformers.SwinForImageClassification(config)
    before = [m.drop_prob for m in model.modules() if hasattr(m, "drop_prob")]
    set_dropout(model, 0.3)
    assert [m.drop_prob for m in model.modules() if hasattr(m, "drop_prob")] == before
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}
