"""The run folder: state, atomic writes, the lock, what a kill leaves."""

import pytest

from platon_compress.errors import InputError
from platon_compress.files import new_folder
from platon_compress.pipeline.folder import RunFolder


def test_state_survives_and_forgets(tmp_path):
    folder = RunFolder.open(tmp_path / "run", "run", "abc")
    with folder.locked():
        folder.finish("bake", 1.5, {"x": 1})
        folder.finish("plan", 0.5, {})
        folder.finish("export", 0.5, {})
    again = RunFolder.open(tmp_path / "run", "run", "abc")
    assert again.result("bake") == {"x": 1}
    again.forget(("plan", "export"))
    left = RunFolder.open(tmp_path / "run", "run", "abc")
    assert [name for name in ("bake", "plan", "export") if left.is_done(name)] == ["bake"]


@pytest.mark.parametrize(
    ("kind", "digest", "message"),
    [
        ("run", "other", r"holds a run of another recipe \(abc, now other\)"),
        ("demo", "abc", r"another kind \('run', now 'demo'\)"),
    ],
)
def test_another_run_is_refused(tmp_path, kind, digest, message):
    folder = RunFolder.open(tmp_path / "run", "run", "abc")
    with folder.locked():
        pass
    assert not RunFolder.open(tmp_path / "run", kind, digest).is_done("data")
    with folder.locked():
        folder.finish("data", 0.1, {})
    with pytest.raises(InputError, match=message):
        RunFolder.open(tmp_path / "run", kind, digest)


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files; give an empty or a new folder"):
        RunFolder.open(tmp_path, "run", "abc")
    with pytest.raises(InputError, match=r"is a file; give a folder"):
        RunFolder.open(tmp_path / "thesis.txt", "run", "abc")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "[" * 100_000, '{"stages": 3}', '{"stages": {"bake": 3}}', '{"stages": {"bake": {}}}'],
)
def test_a_broken_state_gets_one_line(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match=r"state\.json"):
        RunFolder.open(tmp_path, "run", "abc")


def test_two_processes_do_not_share_a_folder(tmp_path):
    with RunFolder.open(tmp_path / "run", "run", "abc").locked():
        other = RunFolder.open(tmp_path / "run", "run", "abc")
        with pytest.raises(InputError, match=r"another process works on"), other.locked():
            pass


def test_an_error_leaves_no_half_written_folder(tmp_path):
    folder = RunFolder.open(tmp_path / "run", "run", "abc")
    with folder.locked():
        (folder.model).mkdir()
        (folder.model / "old").write_text("old")
        with pytest.raises(RuntimeError), new_folder(folder.model) as temporary:  # noqa: PT012
            (temporary / "new").write_text("half")
            raise RuntimeError
        assert [p.name for p in folder.model.iterdir()] == ["old"]
        assert [p.name for p in folder.path.iterdir() if ".tmp-" in p.name] == []


def test_leftovers_of_a_kill_are_cleared(tmp_path):
    folder = RunFolder.open(tmp_path / "run", "run", "abc")
    with folder.locked():
        (folder.path / ".model.tmp-123").mkdir()
        (folder.path / ".plan.json.tmp-123").write_text("half")
    with folder.locked():
        assert [p.name for p in folder.path.iterdir() if ".tmp-" in p.name] == []


def test_missing_results_name_the_stage(tmp_path):
    folder = RunFolder.open(tmp_path / "run", "run", "abc")
    with pytest.raises(InputError, match=r"stage bake has not finished in .*; run it first"):
        folder.result("bake")
    with pytest.raises(InputError, match=r"cannot read .*plan\.json"):
        folder.read_json("plan.json")
