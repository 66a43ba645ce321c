"""`--require`: a tiny language, and an exit status that a CI can use."""

import pytest

from platon_compress.cli.require import Requirement, check_requirements, parse_requirements
from platon_compress.errors import CheckFailedError, InputError
from platon_compress.report.requirements import FIGURES


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("speedup>=2", [("speedup", ">=", 2)]),
        (" accuracy_drop <= 1.5 ,speedup>2", [("accuracy_drop", "<=", 1.5), ("speedup", ">", 2)]),
        ("accuracy_drop<-1e-1", [("accuracy_drop", "<", -0.1)]),
        (None, []),
    ],
)
def test_what_is_read(text, wanted):
    assert parse_requirements(text) == tuple(Requirement(*parts) for parts in wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speedup=2", "write a figure, one of <= >= < > and a number, for example speedup>=2"),
        ("speedup==2", "write a figure"),
        ("2<=speedup", "names '2'"),
        ("speedup>=2,", "holds ''; write a figure"),
        ("", "holds ''"),
        ("luck>=2", "names 'luck'; the figures are metric, metric_drop"),
        ("speedup>=nan", "'nan' is no number"),
        ("speedup>=inf", "'inf' is no number"),
        ("speedup>=two", "'two' is no number; write for example 2.5"),
        ("speedup>=1>=2", "write a figure"),
        ("speedup>=2;size_mb<9", "write a figure"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_requirements(text)


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        ("<=", True, True, False),
        (">=", False, True, True),
        ("<", True, False, False),
        (">", False, False, True),
    ],
)
def test_the_comparisons(comparison, below, equal, above):
    wanted = Requirement("speedup", comparison, 2)
    assert [wanted.holds({"speedup": value}) for value in (1.9, 2, 2.1)] == [below, equal, above]


def test_what_was_not_measured_is_not_met():
    assert not Requirement("accuracy_drop", "<=", 1).holds({})


def test_the_line_names_all_that_fails(monkeypatch, tmp_path):
    monkeypatch.setattr("platon_compress.report.run_data.read_run", lambda folder: folder)
    monkeypatch.setattr(
        "platon_compress.report.requirements.figures", lambda run: {"speedup": 1.5, "size_mb": 3.0}
    )
    wanted = parse_requirements("speedup>=2, size_mb<4, accuracy_drop<=1")
    with pytest.raises(
        CheckFailedError, match=r"speedup>=2 \(it is 1\.5\), accuracy_drop<=1 \(it was not measured\)"
    ) as e:
        check_requirements(wanted, tmp_path)
    assert e.value.exit_code == 1
    assert "size_mb" not in str(e.value)
    check_requirements(wanted[1:2], tmp_path)
    check_requirements((), tmp_path)


def test_every_figure_can_be_named():
    assert [r.name for r in parse_requirements(",".join(f"{name}>=0" for name in FIGURES))] == list(FIGURES)
