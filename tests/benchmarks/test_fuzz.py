"""Every reader on some changed inputs, the mutator, what counts as a fault, and the native targets under sanitizers."""

import json
import random
import warnings

import fuzz
import pytest
from fuzzing.mutate import FORMS, mutated
from fuzzing.native import NATIVE, has_libfuzzer
from fuzzing.reader import Reader
from fuzzing.readers import READERS
from fuzzing.run import fuzz_reader
from tables.fuzz import fuzz_table

from platon_compress.errors import InputError


@pytest.mark.parametrize("name", READERS)
def test_changed_inputs_end_in_a_result_or_in_one_line(name, tmp_path):
    row = fuzz_reader(READERS[name], 60, 7, tmp_path)
    assert row["kinds_of_faults"] == {}
    assert row["first_check"] + row["refused"] + row["accepted"] == row["inputs"] == 60
    assert row["accepted"]
    assert not list(tmp_path.iterdir())


def test_every_form_has_a_reader():
    assert {reader.form for reader in READERS.values()} == set(FORMS)


@pytest.mark.parametrize("name", ["plan", "recipe", "jsonl", "parts", "onnx", "csv"])
def test_the_same_seed_gives_the_same_inputs(name):
    reader = READERS[name]
    seeds = reader.seeds()
    one, other = ([mutated(seeds, reader.form, random.Random(f"a {i}")) for i in range(60)] for _ in range(2))
    assert one == other
    assert len(set(one)) > 30
    assert reader.seeds() == seeds or name == "onnx"


def _reader(read):
    return Reader("own", "", "json", "own.json", lambda: (b'{"a": 1}',), json_object, read)


def json_object(path):
    try:
        return dict(json.loads(path.read_text()))
    except Exception as error:
        raise InputError("no") from error


def _only_changed(fault):
    """Wrong on every input but the seed."""

    def read(path):
        if path.read_bytes() != b'{"a": 1}':
            fault(path)

    return read


def _raise(error):
    raise error


def _warn(_):
    warnings.warn_explicit("odd", RuntimeWarning, "x.py", 1, module="platon_compress.errors")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda _: _raise(KeyError("a")), "KeyError: "),
        (lambda path: path.with_name("left").write_text(""), "leaves left"),
        (_warn, "RuntimeWarning: "),
        (lambda _: None, "takes what its first check refuses"),
    ],
)
def test_faults_are_told_and_kept(fault, told, tmp_path):
    row = fuzz_reader(_reader(_only_changed(fault)), 40, 1, tmp_path)
    assert row["faults"]
    assert all(kind.startswith(told) for kind in row["kinds_of_faults"])
    assert any(path.name.endswith("own.json") for path in tmp_path.iterdir())


def test_an_input_that_takes_for_ever_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzzing.run._SLOWEST_SECONDS", 0.05)

    def for_ever(_):
        while True:
            pass

    row = fuzz_reader(_reader(_only_changed(for_ever)), 1, 1, tmp_path)
    assert [kind.partition(":")[0] for kind in row["kinds_of_faults"]] == ["hangs"]


def test_a_study_keeps_rows_of_earlier_calls(tmp_path, capsys):
    for target in ("csv", "plan"):
        arguments = [
            "--targets",
            target,
            "--inputs",
            "20",
            "-o",
            str(tmp_path),
            "--build",
            str(tmp_path / "b"),
        ]
        assert fuzz.main(arguments) == 0
    result = json.loads((tmp_path / "fuzz.json").read_text())
    assert [row["target"] for row in result["rows"]] == ["plan", "csv"]
    assert "20 inputs" in capsys.readouterr().out
    lines = str(fuzz_table({"fuzz": result})).splitlines()
    assert len(lines) == 4
    assert fuzz.main(["--targets", "nothing", "-o", str(tmp_path)]) == 2


@pytest.mark.parametrize("compiler", ["false", "no-clang"])
def test_a_compiler_without_libfuzzer_is_one_line(compiler, tmp_path, capsys):
    arguments = ["--targets", "native", "--compiler", compiler, "-o", str(tmp_path), "--build", str(tmp_path)]
    assert fuzz.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {compiler} is missing or has no libFuzzer; ")
    assert error.count("\n") == 1


@pytest.mark.sanitizer
def test_native_targets_are_clean_and_cover_their_lines(tmp_path):
    if not has_libfuzzer("clang++"):
        pytest.skip("libFuzzer comes with clang and its runtime")
    arguments = [
        "--targets",
        "native",
        "--native-inputs",
        "3000",
        "-o",
        str(tmp_path),
        "--build",
        str(tmp_path),
    ]
    assert fuzz.main(arguments) == 0
    rows = {row["target"]: row for row in json.loads((tmp_path / "fuzz.json").read_text())["rows"]}
    assert rows.keys() == NATIVE.keys()
    for row in rows.values():
        assert row["inputs"] >= 3000
        assert row["accepted"] > 100
        assert row["first_check"] + row["refused"] + row["accepted"] == pytest.approx(row["inputs"], abs=5)
        if row["coverage"]:
            assert row["coverage"]["share"] >= 0.9, row["coverage"]["files"]
            assert len(row["coverage"]["files"]) == len(NATIVE[row["target"]].files)
