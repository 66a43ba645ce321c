"""Where lines and progress go: a pipe that closes does not end the work, a terminal gets a bar."""

import io
import os
import subprocess
import sys

from platon_compress.pipeline.reporter import Reporter


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch):
    stream = _Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Reporter().progress("  train [1]") as progress:
        progress(3, 10, "loss [0.5]")
    shown = stream.getvalue()
    assert "train [1]" in shown
    assert "3/10" in shown
    assert "loss [0.5]" in shown


def test_elsewhere_short_work_leaves_no_line(capsys):
    with Reporter().progress("work") as progress:
        for done in range(100):
            progress(done, 100)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_quiet_says_nothing_at_all(capsys):
    talk = Reporter(quiet=True)
    talk.say("a line")
    talk.heading(1, 2, "a heading")
    with talk.progress("work") as progress:
        progress(1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_closed_pipe_does_not_end_the_work():
    """Rule: `platon-compress run ... | head -1` goes on to its end and says so once."""
    code = (
        "import sys\n"
        "from platon_compress.pipeline.output import say\n"
        "from platon_compress.pipeline.reporter import Reporter\n"
        "talk = Reporter()\n"
        "sys.stdin.read()\n"
        "for number in range(2000): talk.say(f'line {number}')\n"
        "talk.table('t', ('a', 'b'), [('1', '2')])\n"
        "say('the end')\n"
        "print('still here', file=sys.stderr)\n"
    )
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    os.close(reading)
    _, errors = process.communicate("")
    assert process.returncode == 0
    assert errors.splitlines() == ["standard output was closed; the work goes on without it", "still here"]
