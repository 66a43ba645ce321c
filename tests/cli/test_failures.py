"""Every way a command can end early: one line, the way on, the exit status."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from platon_compress.cli.failures import fail
from platon_compress.errors import CheckFailedError, InputError


def _said(capsys, error, words=("run", "r.yaml"), **options):
    status = fail(error, words, **options)
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (InputError("no such\nkey"), 2, "error: no such key"),
        (CheckFailedError("parity failed"), 1, "error: parity failed"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            2,
            "/x/y: No space left on device; free some space",
        ),
        (OSError(errno.EROFS, "Read-only file system", "/x"), 2, "give a folder that can be written to"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "change its permissions"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), 2, "File name too long; give a shorter path"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), 2, "set TMPDIR"),
        (RuntimeError("[enforce fail] PytorchStreamWriter: file write failed"), 2, "the disk is full"),
        (Exception('Io(Os { code: 28, kind: StorageFull, message: "No space" })'), 2, "the disk is full"),
        (
            UnicodeEncodeError("latin-1", "d/\u4e2d.csv", 2, 3, "ordinal not in range"),
            2,
            "latin-1, cannot write '\u4e2d'; set LC_ALL=C.UTF-8",
        ),
        (MemoryError(), 2, "not enough memory: MemoryError; lower the batch"),
        (RuntimeError("Failed to allocate memory for requested buffer of size 99"), 2, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "not enough memory"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch.nn"),
            2,
            "pip install 'platon-compress[train]'",
        ),
        (ModuleNotFoundError("No module named 'sklearn'", name="sklearn"), 2, "'platon-compress[train]'"),
        (ModuleNotFoundError("No module", name="platon_compress.x"), 1, "this is a bug"),
        (KeyError("x"), 1, "error: KeyError: 'x' (this is a bug; --debug shows where)"),
        (OSError("without a number"), 1, "this is a bug"),
    ],
)
def test_every_error_is_one_line(capsys, error, status, text):
    got, said = _said(capsys, error)
    assert got == status
    assert len(said.splitlines()) == 1
    assert text in said


def test_a_flood_is_cut(capsys):
    _, said = _said(capsys, InputError("x" * 10_000_000))
    assert len(said) < 1100


def test_debug_shows_where(capsys):
    try:
        raise KeyError("here")
    except KeyError as error:
        _, said = _said(capsys, error, debug=True)
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("error: KeyError")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "r.yaml"], "repeat the command to resume at the first unfinished stage"),
        (["compress", "m"], "repeat the command to resume"),
        (["verify", "-o", "x"], "repeat the command to start the stage verify again"),
        (["run", "r.yaml", "--dry-run"], "nothing was written"),
        (["estimate", "m"], "nothing was written"),
        ([], "interrupted"),
    ],
)
def test_ctrl_c_says_how_to_go_on(capsys, words, text):
    status, said = _said(capsys, KeyboardInterrupt(), words)
    assert status == 130
    assert len(said.splitlines()) == 1
    assert text in said


def test_a_real_ctrl_c_in_a_real_process(tmp_path):
    """Rule: the signal that a terminal sends ends in one line and 130, whatever typer makes of it."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # who starts the tests in the background ignores it
        "import platon_compress.pipeline.runner as runner\n"
        "def slow(*args, **options):\n"
        "    print('working', flush=True)\n"
        "    time.sleep(600)\n"
        "runner.run_recipe = slow\n"
        "from platon_compress.cli import main\n"
        "sys.exit(main(['demo', '-o', 'x']))\n"
    )
    command = [sys.executable, "-P", "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=180)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors == ("error: interrupted; repeat the command to resume at the first unfinished stage\n")


def test_nobody_listening_is_no_second_error():
    """Rule: with standard error closed too the status still says what happened."""
    code = (
        "import os, sys\n"
        "from platon_compress.cli import main\n"
        "status = main(['run', 'missing.yaml', '-o', 'x'])\n"
        "os._exit(status)\n"
    )
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-P", "-c", code], stdout=writing, stderr=writing)
    os.close(writing)
    os.close(reading)
    assert process.wait(60) == 2


def test_a_terminal_without_the_sign_is_no_failure(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "platon_compress",
            "init",
            "text-classification",
            "-o",
            "\u00fc\u2211.yaml",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("??.yaml: fill in the data")


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors of POSIX")
@pytest.mark.parametrize(
    ("words", "status"),
    [(["init", "text-classification", "-o", "made.yaml"], 0), (["run", "no.yaml", "-o", "x"], 2)],
)
def test_closed_streams_are_no_failure(tmp_path, words, status):
    """As after `<&- >&- 2>&-`: Python has no streams then, and the next file would be descriptor 1."""
    code = (
        "import os, sys\n"
        "[os.close(descriptor) for descriptor in range(3)]\n"
        "os.execv(sys.executable, [sys.executable, '-P', '-m', 'platon_compress', *sys.argv[1:]])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, check=False)
    assert done.returncode == status
    if status == 0:
        assert (tmp_path / "made.yaml").read_text(encoding="utf-8").startswith("#")
