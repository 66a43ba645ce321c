"""Counting the steps of several pieces of work towards one total."""

from platon_compress.progress import Steps, silent


def test_walking_over_items_is_counted_and_looking_at_them_is_not():
    seen = []
    steps = Steps(5, lambda done, total, status: seen.append((done, total, status)))
    items = steps.over(["a", "b", "c"], "letters")
    assert (len(items), items[0], items[1:]) == (3, "a", ["b", "c"])
    assert seen == []
    assert list(items) == ["a", "b", "c"]
    steps.advance("the rest")
    assert seen == [(1, 5, "letters"), (2, 5, "letters"), (3, 5, "letters"), (4, 5, "the rest")]


def test_nobody_needs_to_watch():
    steps = Steps(2)
    list(steps.over([1, 2]))
    assert steps.done == 2
    assert silent(1, 2) is None
