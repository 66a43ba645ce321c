"""Reading labelled rows: the formats, and what is refused."""

import os

import numpy as np
import pytest
from PIL import Image

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.tasks.data.tables import read_split

ROWS = [("good film", "1"), ('a "bad" one', "0"), ("fine, really", "1")]


def _section(path, **values):
    return DataSection(train=str(path), validation=str(path), **values)


def _write(folder, kind):
    path = folder / f"rows.{kind}"
    if kind == "tsv":
        path.write_text("text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in ROWS))
    elif kind == "csv":
        path.write_text(
            "text,label\n" + "".join('"{}",{}\n'.format(t.replace('"', '""'), y) for t, y in ROWS)
        )
    elif kind == "jsonl":
        path.write_text(
            "".join(f'{{"text": {t!r}, "label": {y}}}\n'.replace("'", '"') for t, y in ROWS if '"' not in t)
        )
    else:
        path.write_text('[{"text": "good film", "label": 1}, {"text": "bad", "label": 0}]')
    return path


@pytest.mark.parametrize("kind", ["tsv", "csv"])
def test_tables_keep_quotes_and_commas(tmp_path, kind):
    rows = read_split(_section(_write(tmp_path, kind)), "train", "text-classification", 1)
    assert list(zip(rows.inputs, rows.labels, strict=True)) == ROWS


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_json_labels_become_strings(tmp_path, kind):
    rows = read_split(_section(_write(tmp_path, kind)), "validation", "text-classification", 1)
    assert rows.inputs[0] == "good film"
    assert set(rows.labels) <= {"0", "1"}


def test_pairs_of_texts(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("a,b,label\nx,y,yes\nu,v,no\n")
    rows = read_split(_section(path, text="a", text_pair="b"), "train", "text-classification", 1)
    assert rows.inputs == [("x", "y"), ("u", "v")]


def test_a_slice_is_random_seeded_and_in_order(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{i},{i % 2}\n" for i in range(50)))
    first = read_split(_section(path, train_rows=10), "train", "text-classification", 3).inputs
    assert first == read_split(_section(path, train_rows=10), "train", "text-classification", 3).inputs
    assert first != read_split(_section(path, train_rows=10), "train", "text-classification", 4).inputs
    assert [int(x) for x in first] == sorted(int(x) for x in first)


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("text,label\na,1\n", {"text": "sentence"}, r"data\.text is 'sentence', .*its columns: text, label"),
        ("text,label\na,1\n", {"label": "y"}, r"data\.label is 'y', .*its columns: text, label"),
        ("text,label\n", {}, r"the train data holds no rows"),
        ("text,label\na,\n", {}, r"row 1 \(line 2\) of the train file rows\.csv has no label"),
    ],
)
def test_wrong_tables_get_one_line(tmp_path, text, values, message):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_split(_section(path, **values), "train", "text-classification", 1)


def test_regression_labels_are_refused(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[{"text": "a", "label": 0.25}]')
    with pytest.raises(
        InputError, match=r"row 1 of the train file rows\.json has a label with a fraction.*: '0\.25'"
    ):
        read_split(_section(path), "train", "text-classification", 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.csv", r"data\.train '.*none\.csv' does not exist"), ("rows.xlsx", r"is none of \.csv \.tsv")],
)
def test_wrong_files_get_one_line(tmp_path, name, message):
    (tmp_path / "rows.xlsx").write_text("x")
    with pytest.raises(InputError, match=message):
        read_split(_section(tmp_path / name), "train", "text-classification", 1)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(
        InputError, match=r"data\.train '.*rows\.jsonl' is a pipe or a device; write the rows to a file"
    ):
        read_split(_section(tmp_path / "rows.jsonl"), "train", "text-classification", 1)


def test_image_folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("L", (5, 4), 7).save(tmp_path / name / "one.png")
    rows = read_split(_section(tmp_path), "train", "image-classification", 1)
    assert rows.labels == ["cat", "dog"]
    assert rows.inputs[0].shape == (4, 5, 3)
    (tmp_path / "cat" / "two.png").write_text("no image")
    with pytest.raises(InputError, match=r"two\.png is no image that can be read"):
        read_split(_section(tmp_path), "train", "image-classification", 1)


def test_npz(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x_train=np.zeros((3, 8, 8), np.uint8), y_train=np.arange(3))
    rows = read_split(_section(path), "train", "image-classification", 1)
    assert np.shape(rows.inputs) == (3, 8, 8, 1)
    assert rows.labels == ["0", "1", "2"]
    with pytest.raises(InputError, match=r"holds no array 'image'; its arrays: x_train, y_train"):
        read_split(_section(path), "validation", "image-classification", 1)
    np.savez(path, image=np.zeros((3, 8, 8)), label=np.arange(3))
    with pytest.raises(InputError, match=r"float64\[3, 8, 8\]; needed: uint8"):
        read_split(_section(path), "train", "image-classification", 1)


def test_digits_split_is_fixed_and_disjoint():
    pytest.importorskip("sklearn")
    data = DataSection(dataset="builtin:digits")
    train, validation = (
        read_split(data, split, "image-classification", 1) for split in ("train", "validation")
    )
    assert (len(train), len(validation)) == (1437, 360)
    assert train.inputs[0].dtype == np.uint8
    assert np.max(train.inputs) == 255
    with pytest.raises(InputError, match="holds images"):
        read_split(data, "train", "text-classification", 1)


@pytest.mark.parametrize("name", ["./missing", "data/sets/here", "rows.csv", "~/rows"])
def test_a_data_set_that_is_a_path_is_not_asked_of_the_hub(tmp_path, monkeypatch, name):
    datasets = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(InputError, match=r"the data set .* does not exist"):
        read_split(DataSection(dataset=name), "train", "text-classification", 1)


def test_a_hub_out_of_reach_is_asked_once_and_said(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("platon_compress.tasks.hub._reachable", lambda: False)
    with pytest.raises(
        InputError, match=r"cannot load split 'train' of dataset 'nobody/none'.* cannot be reached"
    ):
        read_split(DataSection(dataset="nobody/none"), "train", "text-classification", 1)
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_file_that_may_not_be_read_is_a_matter_of_rights(tmp_path, monkeypatch, kind):
    path = _write(tmp_path, kind)

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(path), "open", forbidden)
    with pytest.raises(PermissionError):
        read_split(_section(path), "train", "text-classification", 1)
