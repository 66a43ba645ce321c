"""The data section: columns by task, keys that a task does not use, and files that win over a data set."""

import pytest

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection, load_recipe, parse_recipe, shipped_recipe
from platon_compress.recipe.data import COLUMN_KEYS, DATA_KEYS, unused_data_keys
from platon_compress.recipe.starter import starter

FILES = {"train": "a.tsv", "validation": "b.tsv"}
NONE = dict.fromkeys(FILES)


def _recipe(task="text-classification", **data):
    return parse_recipe(
        {"model": {"name": "some/model", "task": task}, "data": {**FILES, **data}, "prune": {"sparsity": 0.5}}
    )


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("text-classification", ("text", None, "label")),
        ("token-classification", ("tokens", None, "ner_tags")),
        ("question-answering", ("question", "context", "answers")),
        ("sentence-similarity", ("text", "text_pair", "label")),
        ("text-ranking", ("query", "passage", "label")),
        ("image-classification", (None, None, "label")),
    ],
)
def test_every_task_has_its_own_columns(task, columns):
    keys = ("text", "text_pair", "label")
    assert tuple(DataSection().column(key, task) for key in keys) == columns
    own = DataSection(text="t", text_pair="p", label="l")
    assert tuple(own.column(key, task) for key in keys) == ("t", "p", "l")


GIVEN = {"label_columns": ("a",), "problem": "multi-label", "max_length": 64, "document_stride": 9}


@pytest.mark.parametrize("key", [*COLUMN_KEYS, "problem", "max_length", "document_stride"])
def test_a_task_refuses_the_keys_that_it_does_not_use(key):
    """Rule: one table says which; a key at its default is not given."""
    value = GIVEN.get(key, "x")
    values = {key: value, **({"problem": "multi-label"} if key == "label_columns" else {})}
    refusing = [task for task in DATA_KEYS if key in unused_data_keys(DataSection(**values), task)]
    assert refusing == [task for task, used in DATA_KEYS.items() if key not in used]
    assert unused_data_keys(DataSection(), refusing[0] if refusing else "text-ranking") == []
    assert unused_data_keys(DataSection(**values), "feature-extraction") == []


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("image-classification", {"text": "t"}, r"data\.text is no key of the task image-classification; leave it"),
        ("image-classification", {"max_length": 64}, r"data\.max_length is no key of the task image-classification"),
        ("text-classification", {"negative": "n"}, r"data\.negative is no key of the task text-classification"),
        ("text-classification", {"problem": "many"}, r"data\.problem is 'many'; choose one of single-label, multi-label"),
        ("text-classification", {"label_columns": ["a"]}, r"label_columns belong to problem: multi-label, but prob"),
        (
            "text-classification",
            {"label_columns": ["a"], "label": "b", "problem": "multi-label"},
            r"label and label_columns are both given",
        ),
        ("text-classification", {"test_split": "test"}, r"data\.test_split is a split of data\.dataset, which is not given"),
        ("text-classification", {**NONE, "test": "c.tsv"}, r"data\.test is given without data\.train and data\.validation"),
        ("text-classification", {**NONE, "test": "c.tsv", "dataset": "d"}, r"data\.dataset and data\.test are both given"),
    ],
)  # fmt: skip
def test_a_data_section_that_does_not_fit_gets_one_line(task, data, message):
    with pytest.raises(InputError, match=message):
        _recipe(task, **data)


def test_the_windows_of_a_long_text_move_on():
    raw = {"kind": "compress", "model": {"name": "m", "task": "question-answering"}}
    with pytest.raises(InputError, match=r"document_stride 128 is not below max_length 128"):
        parse_recipe({**raw, "data": {"validation": "b.json", "max_length": 128, "document_stride": 128}})


OWN = ("data.train=a.tsv", "data.validation=b.tsv")


@pytest.mark.parametrize(
    ("overrides", "flags"),
    [
        ((), FILES),
        (OWN, {}),
        (OWN[:1], {"validation": "b.tsv"}),
        (OWN, {"test": "c.tsv"}),
        (OWN, {"text": "body"}),
    ],
    ids=["flags", "set", "both", "test", "text"],
)
def test_files_win_over_the_data_set_of_a_recipe(overrides, flags):
    """Rule: with the data set goes what describes it, its columns and slices too; what the command line says stays."""
    data = load_recipe(shipped_recipe("text-classification"), overrides, data=flags).data
    assert (data.train, data.validation, data.test) == ("a.tsv", "b.tsv", flags.get("test"))
    assert (data.dataset, data.dataset_config, data.label, data.train_rows) == (None, None, None, None)
    assert data.text == flags.get("text")
    assert data.max_length == 64


def test_what_is_set_for_the_files_stays():
    overrides = (*OWN, "data.text=body", "data.train_rows=100")
    data = load_recipe(shipped_recipe("text-classification"), overrides).data
    assert (data.text, data.train_rows) == ("body", 100)


def test_columns_of_a_recipe_with_files_stay(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "model: {name: m, task: text-classification}\nprune: {sparsity: 0.5}\n"
        "data: {train: x.tsv, validation: y.tsv, text: body}\n"
    )
    assert load_recipe(path, ("data.train=a.tsv",)).data.text == "body"


@pytest.mark.parametrize(
    ("overrides", "flags", "message"),
    [
        ((*OWN, "data.dataset=glue"), {}, r"data\.dataset and data\.train are both given"),
        ((), {"test": "c.tsv"}, r"data\.test is given without data\.train and data\.validation"),
        ((), {"validation": "b.tsv"}, r"data\.validation is given without data\.train"),
        (OWN[:1], {"train": "c.tsv"}, r"--train and --set 'data\.train=a\.tsv' set the same key"),
    ],
)
def test_what_contradicts_itself_is_refused(overrides, flags, message):
    with pytest.raises(InputError, match=message):
        load_recipe(shipped_recipe("text-classification"), overrides, data=flags)


def test_taking_a_file_away_names_none():
    data = load_recipe(shipped_recipe("text-classification"), ("data.train=null",)).data
    assert data.dataset == "nyu-mll/glue"


def test_a_new_recipe_shows_the_columns_of_its_task():
    text = starter("text-classification")
    assert "\n#   text: text\n" in text
    assert "\n#   image:\n" in text
    assert "\n#   max_length:\n" in text
    assert "\n  max_length: 384\n" in starter("question-answering")
