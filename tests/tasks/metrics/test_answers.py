"""SQuAD's exact match and F1: worked by hand, and against transformers where it still has them."""

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.tasks.metrics.answers import answer_scores, normalised, trivial_answers


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("a.b-c", "abc"),
        ("An apple, a pear and the\tplum\n", "apple pear and plum"),
        ("theatre of Athens", "theatre of athens"),
        ("«Zürich»", "«zürich»"),
        ("the", ""),
    ],
)
def test_normalisation_is_the_official_one(text, left):
    assert normalised(text) == left


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [
        ("the Eiffel tower.", ["Eiffel Tower"], 1, 1),
        ("in Paris", ["Paris", "Paris, France"], 0, 2 / 3),
        ("Paris", ["London", "Paris"], 1, 1),
        ("blue blue cat", ["blue cat cat"], 0, 2 / 3),
        ("dog", ["cat"], 0, 0),
        ("", [], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("the", [""], 1, 1),
        ("", ["the"], 1, 1),
        ("", ["the", "cat"], 0, 0),
    ],
)
def test_cases_worked_by_hand(answer, gold, exact, f1):
    scores = answer_scores([answer], [gold])
    assert scores.values == pytest.approx({"f1": f1, "exact_match": exact})


def test_random_answers_count_as_in_transformers():
    squad = pytest.importorskip("transformers.data.metrics.squad_metrics")
    generator = np.random.default_rng(0)
    words = ["the", "a", "cat", "Cat!", "red", "of-the", "-", "an", "dog."]

    def text():
        return " ".join(generator.choice(words, generator.integers(1, 5)))

    predicted, gold = [text() for _ in range(200)], [[text(), text()] for _ in range(200)]
    kept = [[each for each in texts if squad.normalize_answer(each)] or [""] for texts in gold]
    scores = answer_scores(predicted, gold)
    exact = [max(squad.compute_exact(g, p) for g in texts) for texts, p in zip(kept, predicted, strict=True)]
    f1 = [max(squad.compute_f1(g, p) for g in texts) for texts, p in zip(kept, predicted, strict=True)]
    assert scores.values == pytest.approx({"f1": np.mean(f1), "exact_match": np.mean(exact)})


def test_articles_are_resampled_whole():
    predicted, gold = ["x"] * 60, [["x"]] * 40 + [["y"]] * 20
    # Article a is right throughout, b wrong throughout, c right, with different numbers of questions.
    groups = ["a"] * 30 + ["c"] * 10 + ["b"] * 20
    scores = answer_scores(predicted, gold, groups)
    assert (scores.unit, scores.units) == ("article", 3)
    assert scores.value == pytest.approx(40 / 60)
    sizes, right = np.array([30, 20, 10]), np.array([30, 0, 10])
    possible = {
        round(right[list(three)].sum() / sizes[list(three)].sum(), 9) for three in np.ndindex(3, 3, 3)
    }
    assert {round(value, 9) for value in scores.replicates} == possible
    assert scores.standard_error > 2 * answer_scores(predicted, gold).standard_error


@pytest.mark.parametrize("groups", [None, ["one"] * 4, ["a", "b", "c", "d"]])
def test_questions_are_resampled_without_articles(groups):
    scores = answer_scores(["x", "y", "z", "z"], [["x"], ["y"], ["x"], ["x"]], groups, "exact_match")
    assert (scores.unit, scores.units) == ("question", 4)
    assert scores.right.tolist() == [True, True, False, False]
    assert scores.standard_error > 0.1


def test_never_answering_is_right_where_there_is_no_answer():
    gold = [["x"], [], ["y"], []]
    assert trivial_answers(gold, "exact_match") == trivial_answers(gold) == 0.5
    assert trivial_answers([["x"]]) == 0


@pytest.mark.parametrize(
    ("predicted", "gold", "groups", "said"),
    [
        (
            ["x"],
            ["x"],
            None,
            "question 0 has the answer 'x' and the gold answers 'x'; give a text and a list",
        ),
        ([None], [["x"]], None, "question 0 has the answer None"),
        (["x"], [["x", 3]], None, r"gold answers \['x', 3\]"),
        (["x"], [], None, "1 answers and 0 lists of gold answers"),
        (["x"], [["x"]], ["a", "b"], "1 answers and 2 groups"),
        ([], [], None, "no answers to judge"),
    ],
)
def test_bad_input_is_refused(predicted, gold, groups, said):
    with pytest.raises(InputError, match=said):
        answer_scores(predicted, gold, groups)


def test_an_unknown_metric_is_refused():
    with pytest.raises(InputError, match="'em' is unknown here; take one of f1, exact_match"):
        answer_scores(["x"], [["x"]], None, "em")
