import pytest
import torch
import transformers
from torch import nn

from platon_compress.errors import InputError
from platon_compress.selection import select

_CONFIG = transformers.BertConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=50
)


@pytest.fixture(scope="module")
def model():
    return transformers.BertForSequenceClassification(_CONFIG)


def test_default_is_the_linears_of_the_blocks_in_model_order(model):
    names = list(select(model))
    assert len(names) == 12
    assert names[0] == "bert.encoder.layer.0.attention.self.query.weight"
    assert names[5] == "bert.encoder.layer.0.output.dense.weight"
    order = [name for name, _ in model.named_parameters()]
    assert names == sorted(names, key=order.index)


def test_biases_on_request_follow_their_weight(model):
    names = list(select(model, include_biases=True))
    assert len(names) == 24
    assert names[1] == names[0].replace("weight", "bias")


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        ("bert.pooler.dense", 1),
        ("bert.pooler.dense.bias", 1),
        ("module.bert.pooler.dense.weight", 1),
        ("bert.encoder.layer.1", 6),
        (["re:.*query", "re:.*key.weight"], 4),
        ("re:.*dense", 7),
    ],
)
def test_targets(model, targets, count):
    assert len(select(model, targets=targets)) == count


def test_ignore_takes_away(model):
    names = select(model, ignore=["re:.*layer\\.0.*"], include_biases=True)
    assert len(names) == 12
    assert all("layer.1" in name for name in names)


@pytest.mark.parametrize("targets", ["re:.*nothing", "bert.encoder.layer.7", ""])
def test_target_that_matches_nothing(model, targets):
    with pytest.raises(
        InputError, match=r"targets entry .* matches nothing in BertForSequenceClassification"
    ):
        select(model, targets=targets)


def test_misspelt_ignore(model):
    with pytest.raises(InputError, match="ignore entry 'classfier' matches nothing"):
        select(model, ignore="classfier")


def test_ignoring_everything(model):
    with pytest.raises(InputError, match="no parameter to prune is left after"):
        select(model, ignore="re:.*")


def test_empty_targets(model):
    with pytest.raises(InputError, match="no parameter to prune is left after"):
        select(model, targets=[])


def test_broken_pattern(model):
    with pytest.raises(InputError, match="'re:\\(' is not a valid pattern"):
        select(model, targets="re:(")


def test_model_without_blocks():
    with pytest.raises(InputError, match=r"no repeated transformer block .* `targets`"):
        select(nn.Sequential(nn.Linear(4, 4)))
    assert list(select(nn.Sequential(nn.Linear(4, 4)), targets="0")) == ["0.weight"]


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)


def test_tied_parameters_appear_once():
    blocks = nn.ModuleList([_Block(), _Block()])
    blocks[1].b.weight = blocks[0].a.weight
    names = list(select(nn.Sequential(blocks)))
    assert names == ["0.0.a.weight", "0.0.b.weight", "0.1.a.weight"]
    assert list(select(nn.Sequential(blocks), targets="0.1.b")) == ["0.0.a.weight"]


def test_names_without_wrapper_prefixes(model):
    assert list(select(torch.compile(model, backend="eager"))) == list(select(model))
