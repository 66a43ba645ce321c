"""Cross-encoders: labels and teachers they learn from, whole queries, and a whole run through every door."""

import functools
import json

import numpy as np
import pytest
import torch
from tiny_berts import letter_texts, saved_bert, tiny_text_recipe

from platon_compress.errors import InputError
from platon_compress.export.parity import torch_outputs
from platon_compress.recipe import DataSection, parse_recipe
from platon_compress.tasks.data.rows import RankingRows
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.metrics.ranking import ranking_scores
from platon_compress.tasks.models import load_checkpoint
from platon_compress.tasks.text_ranking import TextRanking

_saved = functools.partial(saved_bert, spread=0.3)  # answers that differ from text to text
NAME = "text-ranking"
KIND = "BertForSequenceClassification"
TASK = TextRanking(DataSection(max_length=24))


@pytest.fixture
def model(tmp_path):
    return load_checkpoint(_saved(tmp_path / "model", KIND, num_labels=1), NAME)


@pytest.fixture
def rows():
    """Ten queries with five passages each, the second one the most relevant, the third one a little."""
    queries = [query for query in letter_texts(10) for _ in range(5)]
    return RankingRows(
        queries, letter_texts(50, seed=1), [str(i // 5) for i in range(50)], [0.0, 2.0, 1.0, 0.0, 0.0] * 10
    )


def _answers(checkpoint, rows):
    encoded = checkpoint.processor(rows.queries, rows.passages, padding=True, return_tensors="pt")
    with torch.no_grad():
        return checkpoint.model(**encoded).logits[:, 0].numpy()


def test_grades_are_shares_of_the_largest(model, rows):
    assert TASK.encode(rows, model, []).labels.tolist() == [0, 1, 0.5, 0, 0] * 10


def test_the_loss_is_the_cross_entropy_of_the_sigmoid(model, rows):
    examples = TASK.encode(rows, model, [])
    batch = TASK.collate([examples[i] for i in range(8)], model.processor)
    labels = np.array([0, 1, 0.5, 0, 0, 0, 1, 0.5])
    chances = 1 / (1 + np.exp(-_answers(model, rows).astype(np.float64)[:8]))
    wanted = -np.mean(labels * np.log(chances) + (1 - labels) * np.log(1 - chances))
    assert TASK.loss(TASK.forward(model.model, batch), batch).item() == pytest.approx(wanted, rel=1e-5)


def test_a_teacher_is_followed_in_its_scores(model, rows, tmp_path):
    teacher = load_checkpoint(_saved(tmp_path / "teacher", KIND, num_labels=1, seed=3), NAME)
    TASK.check_teacher(teacher, model)
    unlabelled = RankingRows(rows.queries, rows.passages, rows.groups)
    examples = TASK.encode(unlabelled, model, [])
    batch = TASK.collate([examples[i] for i in range(8)], model.processor)
    assert "labels" not in batch
    wanted = np.mean((_answers(model, rows)[:8] - _answers(teacher, rows)[:8]) ** 2)
    found = TASK.taught(TASK.forward(model.model, batch), TASK.forward(teacher.model, batch), batch, 2.0)
    assert found.item() == pytest.approx(wanted, rel=1e-4)


def test_a_teacher_with_classes_is_refused(model, tmp_path):
    teacher = load_checkpoint(_saved(tmp_path / "two", KIND, num_labels=2), NAME)
    with pytest.raises(InputError, match="the model has 2 outputs; give a cross-encoder with one"):
        TASK.check_teacher(teacher, model)
    with pytest.raises(InputError, match="the model has 2 outputs"):
        TASK.known_names(None, teacher)


def test_answers_are_one_score_a_row(tmp_path, rows):
    two = load_checkpoint(_saved(tmp_path / "two", KIND, num_labels=2), NAME)
    examples = TASK.encode(rows, two, [])
    batch = TASK.collate([examples[0], examples[1]], two.processor)
    with pytest.raises(InputError, match=r"answers with \[2, 2\], not with one score for each row"):
        TASK.check_answers(TASK.forward(two.model, batch), batch, two)


@pytest.mark.parametrize("metric", ["mrr@10", "ndcg@10", "average_precision"])
def test_it_is_judged_query_by_query(model, rows, metric):
    task = TextRanking(DataSection(max_length=24), metric)
    evaluation = task.evaluation(task.encode(rows, model, []), model, 7)
    scores = evaluation.score(torch_outputs(model.model, evaluation.batches))
    wanted = ranking_scores(_answers(model, rows), rows.labels, rows.groups, metric)
    assert scores.values == pytest.approx(wanted.values)
    assert (scores.metric, scores.unit, scores.units) == (metric, "query", 10)
    assert 0 < evaluation.trivial < 1


@pytest.mark.parametrize(("limit", "queries"), [(50, 10), (49, 9), (20, 4), (3, 1)])
def test_a_part_holds_whole_queries(model, rows, limit, queries):
    part = TASK.part(TASK.encode(rows, model, []), limit)
    groups, counts = np.unique(part.rows.groups, return_counts=True)
    assert (len(groups), set(counts)) == (queries, {5})
    assert len(part) == len(part.rows) == 5 * queries


def test_a_part_can_be_judged():
    """Nine of ten queries have no relevant passage."""
    labels = [1.0, *[0.0] * 19]
    rows = RankingRows(letter_texts(20), letter_texts(20, seed=1), [str(i // 2) for i in range(20)], labels)
    part = TASK.part(Examples([{}] * 20, labels, rows), 6)
    assert sum(part.rows.labels) == 1


@pytest.mark.parametrize(
    ("groups", "labels", "told"),
    [
        ("aabb", [1, 0, 1, 1], "1 of the 2"),  # every passage of b is relevant
        ("abcd", [1, 0, 1, 0], "0 of the 4"),  # one passage each
        ("aabb", [1, 0, 0, 0], "1 of the 2"),
    ],
)
def test_queries_of_one_kind_of_passage_say_nothing(groups, labels, told):
    rows = RankingRows(["q"] * 4, ["p"] * 4, list(groups), labels)
    with pytest.raises(
        InputError, match=f"{told} queries of the data have both a relevant passage and another"
    ):
        TASK.check_rows(rows)


def test_two_queries_with_both_kinds_are_enough():
    TASK.check_rows(RankingRows(["q"] * 4, ["p"] * 4, list("aabb"), [1, 0, 0, 2]))


@pytest.mark.train
@pytest.mark.parametrize("labelled", [True, False])
def test_a_run_ends_in_a_folder_for_every_door(tmp_path, rows, labelled, through_onnx):
    library = pytest.importorskip("sentence_transformers")
    from platon_compress import runtime
    from platon_compress.pipeline.reporter import Reporter
    from platon_compress.pipeline.runner import run_recipe

    columns = zip(rows.groups, rows.queries, rows.passages, rows.labels, strict=True)
    lines = [(f"{copy}{group}", *rest) for group, *rest in columns for copy in "ab"]
    table = "\n".join(["id\tquery\tpassage\tlabel", *("\t".join(map(str, line)) for line in lines)]) + "\n"
    (tmp_path / "rows.tsv").write_text(table)
    teacher = _saved(tmp_path / "teacher", KIND, num_labels=1, seed=3)
    file = str(tmp_path / "rows.tsv")
    data = {"train": file, "validation": file, "max_length": 24, "group": "id"}
    distill = {} if labelled else {"labels": False, "teacher": teacher}
    recipe = tiny_text_recipe(_saved(tmp_path / "model"), NAME, data, distill=distill)
    results = run_recipe(parse_recipe(recipe), tmp_path / "run", Reporter(quiet=True))
    assert results["dense"]["metric"] == "mrr@10"
    assert ("distillation" in results["dense"]) is not labelled
    pairs = list(zip(rows.queries, rows.passages, strict=True))
    wanted = library.CrossEncoder(str(tmp_path / "run" / "model"), device="cpu").predict(pairs)
    onnx = through_onnx(library.CrossEncoder, tmp_path / "run" / "onnx")
    ours = runtime.load(tmp_path / "run" / "onnx").predict(pairs)
    assert ours.activation == "sigmoid"
    assert ((wanted > 0) & (wanted < 1)).all()
    assert np.abs(onnx.predict(pairs) - wanted).max() < 1e-5
    assert np.abs(ours.scores - wanted).max() < 1e-5
    settings = json.loads((tmp_path / "run" / "onnx" / "config_sentence_transformers.json").read_text())
    assert settings["model_type"] == "CrossEncoder"
