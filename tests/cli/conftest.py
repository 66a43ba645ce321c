"""What a command that is given something wrong must do: one line with a cure, exit 2, and no file left behind."""

import pytest


@pytest.fixture(scope="session")
def house(tmp_path_factory):
    """A folder as a newcomer has it; no test may leave anything there."""
    from newcomers_house import furnish

    folder = tmp_path_factory.mktemp("house")
    furnish(folder)
    return folder


def _snapshot(folder):
    return {
        str(path.relative_to(folder)): path.stat().st_size if path.is_file() else -1
        for path in folder.rglob("*")
    }


@pytest.fixture
def refusal(capsys):
    """refusal(arguments, said=None) -> the line with a cure that a command is refused in; said: what else it printed."""
    from platon_compress.cli import main

    def line(arguments, said=None):
        capsys.readouterr()
        status = main(arguments)
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert (status, len(lines)) == (2, 1), captured.err
        assert lines[0].startswith("error: ")
        assert "; " in lines[0], f"no cure: {lines[0]}"
        assert "this is a bug" not in lines[0]
        assert len(lines[0]) < 700
        assert said is None or captured.out == said
        return lines[0]

    return line


@pytest.fixture
def refused(house, refusal, monkeypatch):
    """refused(arguments, said="") checks the refusal of a command in the house, which stays as it is."""

    def check(arguments, said=""):
        before = _snapshot(house)
        refusal([part.format(tmp=house) if "{tmp}" in part else part for part in arguments], said)
        assert _snapshot(house) == before

    monkeypatch.chdir(house)
    return check
