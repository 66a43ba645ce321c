import math

import pytest

from platon_compress.budget import Budget, Figures, parse_bytes, parse_seconds
from platon_compress.errors import InputError

FIGURES = Figures(latency_seconds=0.0104, speedup=2.9, size_bytes=48_000_000)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10ms", 0.01), ("0.01s", 0.01), ("2.5 ms", 0.0025), (" 800us ", 0.0008), ("1s", 1)]
)
def test_times(text, seconds):
    assert math.isclose(parse_seconds(text, "--max-latency"), seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("50MB", 50_000_000), ("1.5 kB", 1500), ("2GiB", 2 * 2**30), ("3MiB", 3 * 2**20)]
)
def test_sizes(text, size):
    assert parse_bytes(text, "--max-size") == size


@pytest.mark.parametrize(
    "text",
    [
        "10",
        "ms",
        "-1ms",
        "0ms",
        "1e3ms",
        "10 MS",
        "10m",
        "1,5ms",
        "10ms 2",
        "nan ms",
        "",
        "\u0661ms",
        "9" * 20 + "ms",
    ],
)
def test_what_is_no_time(text):
    with pytest.raises(
        InputError, match="give a number above 0 with one of the units us, ms, s, for example 10ms"
    ):
        parse_seconds(text, "--max-latency")


@pytest.mark.parametrize("text", ["5mb", "5", "5 M", "0MB"])
def test_what_is_no_size(text):
    with pytest.raises(InputError, match=r"^--max-size is .*for example 50MB$"):
        parse_bytes(text, "--max-size")


@pytest.mark.parametrize(
    ("budget", "tolerance", "missed"),
    [
        ({"max_latency_seconds": 0.0104, "min_speedup": 2.9, "max_size_bytes": 48_000_000}, 0, []),
        ({"max_latency_seconds": 0.01}, 0, ["10.4 ms (limit 10 ms)"]),
        ({"max_latency_seconds": 0.01}, 0.1, []),
        ({"min_speedup": 3}, 0, ["2.90x the speed of dense (target 3x)"]),
        ({"min_speedup": 3}, 0.1, []),
        ({"max_size_bytes": 47_000_000}, 0.1, ["48 MB (limit 47 MB)"]),
        ({"max_drop": 1.0}, 0, []),
    ],
)
def test_what_is_missed(budget, tolerance, missed):
    assert list(Budget(**budget).misses(FIGURES, tolerance=tolerance)) == missed


def test_a_tightened_budget_asks_for_more():
    budget = Budget(max_latency_seconds=0.01, min_speedup=3.0, max_size_bytes=100, max_drop=1.0).tightened(
        0.25
    )
    assert budget == Budget(max_latency_seconds=0.0075, min_speedup=4.0, max_size_bytes=75, max_drop=1.0)


def test_only_speed_and_size_can_be_searched():
    assert not Budget(max_drop=1.0).asks_for_speed_or_size
    assert Budget(max_size_bytes=1).asks_for_speed_or_size
    assert Budget(max_latency_seconds=0.01, max_drop=1).spoken() == "at most 10 ms, at most 1 point lost"


def test_figures_survive_their_json_form():
    assert Figures.from_dict(FIGURES.to_dict()) == FIGURES


@pytest.mark.parametrize(
    "content",
    [
        3,
        {},
        {**FIGURES.to_dict(), "more": 1},
        *({**FIGURES.to_dict(), "speedup": v} for v in ("2", True, 0, math.nan)),
    ],
)
def test_other_content_is_no_figures(content):
    with pytest.raises(InputError, match="these are no figures of a model"):
        Figures.from_dict(content)
