"""A dry run, and the first stage of a run or of `compress`, refuse what would stop a later one; nothing is trained."""

import pytest
import transformers
from tiny_berts import saved_bert
from tokenizers import Tokenizer, models, pre_tokenizers

from platon_compress.errors import InputError
from platon_compress.measure import environment
from platon_compress.pipeline.dry_run import describe_run
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.runner import run_recipe
from platon_compress.recipe import parse_recipe

WORDS = ["<pad>", "<unk>", *(f"w{i}" for i in range(28))]


def _save_model(folder, vocabulary=30, **tokens):
    config = transformers.DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=24, vocab_size=vocabulary, max_position_embeddings=20
    )
    transformers.DistilBertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    given = {"unk_token": "<unk>", "pad_token": "<pad>", **tokens}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **given).save_pretrained(folder)


def _save_rows(path, labels):
    rows = "".join(f"w{i % 28} w{(3 * i) % 28}{' w1' * (i % 4)},{label}\n" for i, label in enumerate(labels))
    path.write_text(f"text,label\n{rows}")


@pytest.fixture
def house(tmp_path):
    _save_model(tmp_path / "model")
    _save_rows(tmp_path / "train.csv", ["no", "yes", "yes"] * 40)
    _save_rows(tmp_path / "dev.csv", ["no", "yes"] * 40)
    return tmp_path


def _recipe(house, **sections):
    given = {
        "model": {"name": str(house / "model"), "task": "text-classification"},
        "data": {"train": str(house / "train.csv"), "validation": str(house / "dev.csv"), "max_length": 16},
        "train": {"epochs": 1},
        "prune": {"sparsity": 0.5, "mask_interval": 1, "beta1": 0.1, "beta2": 0.1},
        "plan": {"calibrate": False, "threads": 1},
    }
    return parse_recipe(
        {key: {**given.get(key, {}), **sections.get(key, {})} for key in {**given, **sections}}
    )


def test_the_dry_run_shows_classes_rows_and_time(house, capsys):
    described = describe_run(_recipe(house), Reporter())
    assert described["classes"] == ["no", "yes"]
    assert described["rows_per_class"] == {
        "train": {"no": 40, "yes": 80},
        "validation": {"no": 40, "yes": 40},
    }
    assert described["training_seconds_estimate"] > 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "class 'yes': 80 training and 40 validation rows" in printed
    assert "estimated from one batch" in printed
    assert "the checkpoint has no classifier, pre_classifier" in printed
    assert sorted(path.name for path in house.iterdir()) == ["dev.csv", "model", "train.csv"]


@pytest.mark.parametrize(
    ("flag", "bf16", "said"), [("amx_bf16", False, 1), ("amx_bf16", True, 0), (None, False, 0)]
)
def test_a_processor_with_bfloat16_is_named(house, monkeypatch, capsys, flag, bf16, said):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(environment, "bfloat16_flag", lambda: flag)
    describe_run(_recipe(house, train={"bf16": bf16}), Reporter())
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("(amx_bf16): --set train.bf16=true trains faster") == said


@pytest.mark.parametrize(("load", "said"), [(3.26, 1), (1.9, 0), (None, 0)])
def test_a_busy_machine_is_named_beside_the_time(house, monkeypatch, capsys, load, said):
    monkeypatch.setattr(environment, "_load_average", lambda: load and [load, 0.0, 0.0])
    monkeypatch.setattr(environment, "usable_cores", lambda: 2)
    describe_run(_recipe(house), Reporter())
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("(estimated from one batch while busy, load 3.3 on 2 cores; ") == said


def test_the_dry_run_says_how_the_sparsity_rises_and_is_bounded(house, capsys):
    bounds = {"re:.*attention.*": [0.1, 0.4]}
    described = describe_run(
        _recipe(house, prune={"start_sparsity": 0.3, "bounds": bounds}, train={"epochs": 20}), Reporter()
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert "the sparsity starts at 30% right after the warm-up" in printed
    assert "weights of 're:.*attention.*' end with 10% to 40% zeros" in printed
    risen = [point["sparsity"] for point in described["pruning"]["schedule"]]
    assert sorted({0.0, *(s for s in risen if s < 0.3)}) == [0.0]


def _unseen_label(house):
    _save_rows(house / "dev.csv", ["no", "yes"] * 40 + ["perhaps"])


def _few_rows(house):
    _save_rows(house / "dev.csv", ["no", "yes"] * 30)


def _one_class(house):
    _save_rows(house / "dev.csv", ["no"] * 80)


def _no_padding(house):
    _save_model(house / "model", pad_token=None)


def _small_table(house):
    _save_model(house / "model", vocabulary=20)


def _no_tokenizer(house):
    for path in (house / "model").glob("tok*"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "sections", "message"),
    [
        (
            _unseen_label,
            {},
            r"row 81 \(line 82\) of the validation file dev\.csv: label 'perhaps' is not among",
        ),
        (_few_rows, {}, r"gives 60 validation rows, and verifying needs 64"),
        (None, {"data": {"validation_rows": 63}}, r"gives 63 validation rows.*validation_rows must not cut"),
        (_one_class, {}, r"all 80 validation rows have the label 'no'"),
        (_no_padding, {}, r"has no padding token"),
        (
            _small_table,
            {},
            r"of the train file train\.csv: the tokenizer gives token \d+, .* table has 20 words",
        ),
        (_no_tokenizer, {}, r"the model folder has no tokenizer"),
        (None, {"plan": {"tokens": 21}}, r"plan\.tokens .* is 21, but the model has 20 positions"),
        (None, {"bench": {"tokens": [8, 40]}}, r"bench\.tokens is 40, but the model has 20 positions"),
        (None, {"data": {"max_length": 21}}, r"data\.max_length is 21, but the model has 20 positions"),
    ],
)
def test_what_would_stop_a_run_is_known_before_its_first_step(house, spoil, sections, message):
    if spoil is not None:
        spoil(house)
    recipe = _recipe(house, **sections)
    with pytest.raises(InputError, match=message):
        describe_run(recipe, Reporter(quiet=True))
    with pytest.raises(InputError, match=message):
        run_recipe(recipe, house / "out", Reporter(quiet=True))
    assert not (house / "out" / "stages").exists()


def _classifier(folder, classes=2):
    return saved_bert(
        folder, "BertForSequenceClassification", zeros=0.5, num_labels=classes, max_position_embeddings=20
    )


def _compress(house, **sections):
    given = {
        "model": {"name": _classifier(house / "model"), "task": "text-classification"},
        "data": {"validation": str(house / "dev.csv"), "max_length": 16},
        "plan": {"calibrate": False, "threads": 1},
    }
    merged = {key: {**given[key], **sections.pop(key, {})} for key in given}
    return parse_recipe({"kind": "compress", **merged, **sections})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {},
            r"row 1 .*label 'no' of the data is none of the model's: LABEL_0, LABEL_1; write these, or the numbers",
        ),
        (
            {"data": {"label": "class"}},
            r"data\.label is 'class', but the validation file dev\.csv has no such column",
        ),
        (
            {"plan": {"tokens": 21}, "data": None},
            r"--tokens of compress\) is 21, but the model has 20 positions",
        ),
        ({"data": None, "dense": "nothing/here/model"}, r"the model 'nothing/here/model' does not exist"),
        ({"data": None, "dense": "three"}, r"--dense has 3 classes, the model has 2"),
    ],
)
def test_compress_refuses_before_it_bakes(house, monkeypatch, sections, message):
    data = sections.get("data", {})
    recipe = _compress(
        house, **{key: value for key, value in sections.items() if key not in ("data", "dense")}
    )
    if sections.get("dense") == "three":
        sections = {**sections, "dense": _classifier(house / "three", 3)}
    recipe = recipe.model_copy(update={"dense": sections.get("dense")})
    given = None if data is None else recipe.data.model_copy(update=data)
    recipe = recipe.model_copy(update={"data": given})
    with pytest.raises(InputError, match=message):
        run_recipe(recipe, house / "out", Reporter(quiet=True))
    assert not (house / "out" / "model").exists()
