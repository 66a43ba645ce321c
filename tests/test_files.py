"""Files and folders that are the old ones or the new ones."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from platon_compress import files
from platon_compress.errors import InputError

_KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from platon_compress import files
target = Path(sys.argv[1])
if sys.argv[2] == "no exchange":
    files._exchange = lambda one, other: False
    rename, calls = Path.rename, []
    def dies_second(self, other):
        calls.append(self)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, other)
    Path.rename = dies_second
else:
    files._put_in_place = lambda temporary, target: os.kill(os.getpid(), signal.SIGKILL)
with files.new_folder(target) as folder:
    (folder / "which").write_text("new")
"""


@pytest.mark.parametrize(
    ("name", "written"), [(b"pl\xc3\xa4ce", "pl\u00e4ce"), (b"pl\xe4ce", "pl\ufffdce"), (b"place", "place")]
)
def test_a_text_may_hold_any_file_name(tmp_path, name, written):
    """As Python gives names where the locale is C, or names of a Latin-1 system."""
    text = f"{name.decode('ascii', 'surrogateescape')} \u00e9"
    assert files.write_text(tmp_path / "a.md", text).read_text(encoding="utf-8") == f"{written} \u00e9"
    files.write_text(tmp_path / "b.md", "\ud800")
    assert (tmp_path / "b.md").read_text(encoding="utf-8") == "\ufffd"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = files.write_text(tmp_path / "deep" / "a.txt", "one")
    with pytest.raises(RuntimeError), files.new_file(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "one"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_the_old_one(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    target = tmp_path / "model"
    for text in ("one", "two"):
        with files.new_folder(target) as folder:
            (folder / text).write_text(text)
        assert [entry.name for entry in target.iterdir()] == [text]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("moment", ["before the exchange", "no exchange"])
def test_a_killed_writer_leaves_the_old_folder(tmp_path, moment):
    target = tmp_path / "model"
    with files.new_folder(target) as folder:
        (folder / "which").write_text("old")
    done = subprocess.run(
        [sys.executable, "-P", "-c", _KILLED_WRITER, str(target), moment], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(tmp_path.iterdir())) == 2
    files.clear_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert (target / "which").read_text() == "old"


def test_a_disk_that_is_full_is_the_users_to_cure(tmp_path):
    def full():
        raise OSError(28, os.strerror(28))

    with pytest.raises(InputError, match=r"cannot write .*a\.txt: No space left on device; free space"):  # noqa: SIM117
        with files.new_file(tmp_path / "a.txt"):
            full()


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.json.*; write it again"):
        files.read_json(tmp_path / "a.json", "write it again")


_KILLED_REMOVER = """
import os, shutil, signal, sys
from pathlib import Path
from platon_compress import files
def some(path, **keywords):
    (Path(path) / "one").unlink()
    os.kill(os.getpid(), signal.SIGKILL)
shutil.rmtree = some
files.remove_folder(Path(sys.argv[1]))
"""


def test_a_killed_removal_leaves_no_half_folder(tmp_path):
    target = tmp_path / "checkpoints"
    target.mkdir()
    for name in ("one", "two"):
        (target / name).write_text(name)
    done = subprocess.run([sys.executable, "-P", "-c", _KILLED_REMOVER, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    files.clear_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_gone(tmp_path):
    files.remove_folder(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    files.remove_folder(tmp_path / "empty")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "[" * 5000, "9" * 5000])
def test_what_is_no_number_of_a_json_file_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(f'{{"a": {text}}}')
    with pytest.raises(InputError, match=r"cannot read .*a\.json: .*; the cure"):
        files.read_json(tmp_path / "a.json", "the cure")


def test_other_tools_may_write_infinity(tmp_path):
    (tmp_path / "config.json").write_text('{"limit": [0.0, Infinity]}')
    assert files.read_json(tmp_path / "config.json", "", finite=False) == {"limit": [0.0, float("inf")]}


def test_names_from_files_stay_in_their_folder(tmp_path):
    (tmp_path / "model" / "1_Pooling").mkdir(parents=True)
    (tmp_path / "beside").write_text("not of the folder")
    (tmp_path / "model" / "blob").symlink_to(tmp_path / "beside")  # as the hub's cache holds its files
    folder = tmp_path / "model"
    assert files.inner(folder, "1_Pooling", Path.is_dir) == folder / "1_Pooling"
    assert files.inner(folder, "1_Pooling") is None
    assert files.inner(folder, "blob") == folder / "blob"
    for name in ("", "."):
        assert files.inner(folder, name, Path.is_dir) == folder
    for name in ("../beside", str(tmp_path / "beside"), "missing", "a" * 5000, "a/" * 5000, "a\0b", 7, None):
        assert files.inner(folder, name) is None
