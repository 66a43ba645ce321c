"""Bi-encoders: which rows they learn from, what they are judged by, and a whole run through every door."""

import functools
import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tiny_berts import letter_texts, saved_bert, tiny_text_recipe

from platon_compress.errors import InputError
from platon_compress.export.parity import torch_outputs
from platon_compress.pipeline.dry_run import describe_run
from platon_compress.pipeline.reporter import Reporter
from platon_compress.recipe import DataSection, parse_recipe
from platon_compress.tasks.data.rows import SimilarityRows
from platon_compress.tasks.embedding_losses import imitation_loss, pair_loss
from platon_compress.tasks.models import load_checkpoint
from platon_compress.tasks.sentence_similarity import SentenceSimilarity, _says_the_same

_saved = functools.partial(saved_bert, spread=0.3)  # answers that differ from text to text
NAME = "sentence-similarity"


@pytest.fixture
def dense(tmp_path):
    return load_checkpoint(_saved(tmp_path / "dense"), NAME)


@pytest.fixture
def pairs():
    texts = letter_texts(40)
    return SimilarityRows(list(zip(texts[:20], texts[20:], strict=True)), [float(i % 6) for i in range(20)])


def _task(**data):
    return SentenceSimilarity(DataSection(max_length=16, **data))


def _file(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(path)


def test_embeddings_are_those_of_sentence_transformers(dense, pairs, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    dense.save(tmp_path / "saved")
    texts = pairs.distinct()
    wanted = library.SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(texts)
    task = _task()
    single = task.encode(SimilarityRows([(text,) for text in texts]), dense, [])
    batch = task.collate([single[i] for i in range(len(texts))], dense.processor)
    with torch.no_grad():
        found = task.forward(dense.model, batch)["sentence_embedding"].numpy()
    assert np.abs(found - wanted).max() < 1e-5


def test_texts_are_cut_where_the_folder_cuts_them(dense, tmp_path):
    dense.save(tmp_path / "short")
    (tmp_path / "short" / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    short = load_checkpoint(str(tmp_path / "short"), NAME)
    rows = SimilarityRows([("a b c d e f g", "a b c x")], [1.0])
    for checkpoint, length in ((short, 5), (dense, 9)):
        for task in (_task(), SentenceSimilarity(DataSection())):
            assert len(task.encode(rows, checkpoint, []).features[0]["texts"][0]["input_ids"]) == length


def test_scored_pairs_are_judged_by_their_cosines(dense, pairs):
    task = _task()
    task.reference = lambda: dense
    evaluation = task.evaluation(task.encode(pairs, dense, []), dense, 8)
    scores = evaluation.score(torch_outputs(dense.model, evaluation.batches))
    vectors = {}
    for text in pairs.distinct():
        encoded = dense.processor(text, return_tensors="pt")
        with torch.no_grad():
            vectors[text] = dense.model(**encoded).last_hidden_state[0].mean(0).numpy()
    cosines = [
        vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])
        for a, b in pairs.texts
    ]
    assert scores.value == pytest.approx(spearmanr(cosines, pairs.scores).statistic, abs=1e-6)
    assert scores.values["fidelity"] == pytest.approx(1)
    assert set(scores.values) == {"spearman", "pearson", "fidelity", "similarity_spearman"}
    assert (scores.unit, scores.units, evaluation.trivial, evaluation.examples) == ("row", 20, 0.0, 20)


def test_the_dense_model_embeds_the_same_texts_once(dense, pairs, tmp_path):
    task = _task()
    first = load_checkpoint(_saved(tmp_path / "first", seed=5), NAME)
    seen = []
    first.model.register_forward_pre_hook(
        lambda module, args, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )
    task.reference = lambda: first
    examples = task.encode(pairs, dense, [])
    outputs = torch_outputs(dense.model, task.evaluation(examples, dense, 8).batches)
    near = [task.evaluation(part, dense, 8).score(outputs) for part in (examples, examples)]
    assert sum(seen) == len(pairs.distinct())
    assert near[0].values == near[1].values
    few = task.evaluation(task.part(examples, 3), dense, 8)
    assert sum(seen) == len(pairs.distinct()) + sum(len(batch["input_ids"]) for batch in few.batches)
    task.reference = lambda: dense
    again = task.evaluation(examples, dense, 8).score(outputs)
    assert again.values["fidelity"] == pytest.approx(1)
    assert near[0].values["fidelity"] < 0.9


def test_without_a_dense_model_only_the_scores_judge(dense, pairs):
    task = _task()
    evaluation = task.evaluation(task.encode(pairs, dense, []), dense, 8)
    scores = evaluation.score(torch_outputs(dense.model, evaluation.batches))
    assert set(scores.values) == {"spearman", "pearson"}


def test_rows_without_scores_are_judged_by_fidelity(dense, tmp_path):
    path = _file(tmp_path / "v.csv", "text", [[text] for text in letter_texts(12)])
    task = _task(train=path, validation=path)
    rows = task.read("validation", 1)
    assert task.metric == "fidelity"
    other = load_checkpoint(_saved(tmp_path / "other", seed=5), NAME)
    task.reference = lambda: dense
    evaluation = task.evaluation(task.encode(rows, dense, []), dense, 5)
    ours, theirs = (evaluation.score(torch_outputs(c.model, evaluation.batches)) for c in (dense, other))
    assert (ours.metric, ours.unit, ours.value) == ("fidelity", "text", pytest.approx(1))
    assert theirs.value < 0.9
    assert 0 < evaluation.trivial < 1


def test_a_metric_of_scores_needs_scores(tmp_path):
    path = _file(tmp_path / "v.csv", "text", [[text] for text in letter_texts(12)])
    task = SentenceSimilarity(DataSection(train=path, validation=path), "pearson")
    with pytest.raises(
        InputError, match=r"metric is pearson, but the validation file .* holds no scores; name"
    ):
        task.read("validation", 1)


def test_rows_that_nothing_can_judge_are_refused(dense):
    rows = SimilarityRows([("a",), ("b",)])
    task = _task()
    with pytest.raises(InputError, match="holds no scores, and without --dense there is no model to compare"):
        task.check_rows(rows)
    task.metric = "fidelity"
    with pytest.raises(
        InputError, match="fidelity compares with the dense model, which is not given; give it"
    ):
        task.evaluation(task.encode(rows, dense, []), dense, 8)


def test_without_labels_every_text_is_learnt_once(tmp_path):
    path = _file(tmp_path / "t.csv", "text,text_pair,label", [["a", "b", 1], ["b", "c", 2], ["a", "c", 3]])
    rows = _task(train=path, validation=path).read("train", 1, labelled=False)
    assert rows.texts == [("a",), ("b",), ("c",)]
    assert not rows.scores
    assert [rows.origin.place(i)[:5] for i in range(3)] == ["row 1", "row 1", "row 2"]


def test_single_texts_need_a_teacher(tmp_path):
    path = _file(tmp_path / "t.csv", "text", [["a"], ["b"]])
    task = _task(train=path, validation=path)
    with pytest.raises(
        InputError, match=r"holds single texts, which only a teacher can train; set distill.labels"
    ):
        task.names(task.read("train", 1), None)


def test_the_losses_take_each_column_of_a_batch(dense, pairs):
    task = _task()
    examples = task.encode(pairs, dense, [])
    batch = task.collate([examples[i] for i in range(6)], dense.processor)
    assert batch["input_ids"].shape[0] == 12
    assert batch["labels"].tolist() == pairs.scores[:6]
    outputs = task.forward(dense.model, batch)
    vectors = outputs["sentence_embedding"]
    assert task.loss(outputs, batch) == pair_loss(vectors[:6], vectors[6:], batch["labels"])
    other = {"sentence_embedding": vectors.flip(0)}
    assert task.taught(outputs, other, batch, 2.0) == imitation_loss(vectors, vectors.flip(0))


def test_anchors_find_their_positives(dense):
    task = _task()
    texts = letter_texts(12)
    triples = SimilarityRows(list(zip(texts[:4], texts[4:8], texts[8:], strict=True)))
    examples = task.encode(triples, dense, [])
    batch = task.collate([examples[i] for i in range(4)], dense.processor)
    assert batch["input_ids"].shape[0] == 12
    assert batch["labels"].tolist() == [0, 1, 2, 3]
    vectors = torch.nn.functional.normalize(task.forward(dense.model, batch)["sentence_embedding"], dim=-1)
    logits = 20 * vectors[:4] @ vectors[4:].T
    wanted = torch.nn.functional.cross_entropy(logits, torch.arange(4))
    assert task.loss(task.forward(dense.model, batch), batch).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_what_says_the_same_is_no_wrong_answer():
    anchors, positives, negatives = [[1], [1], [3]], [[5], [6], [5]], [[1], [9], [6]]
    found = _says_the_same(torch.tensor(anchors + positives + negatives), 3).int().tolist()
    assert found == [
        # the other positive of an equal anchor, the same positive, the anchor itself
        [0, 1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0, 1],
        [1, 0, 0, 0, 0, 0],
    ]


def test_a_teacher_of_another_width_is_refused(dense, tmp_path):
    teacher = load_checkpoint(_saved(tmp_path / "wide", hidden_size=48), NAME)
    with pytest.raises(
        InputError, match="its embeddings have 48 numbers, the student's 32; give one of that width"
    ):
        _task().check_teacher(teacher, dense)


def test_nan_embeddings_are_refused(dense, pairs):
    task = _task()
    examples = task.encode(pairs, dense, [])
    batch = task.collate([examples[0]], dense.processor)
    outputs = task.forward(dense.model, batch)
    task.check_answers(outputs, batch, dense)
    outputs["sentence_embedding"] = outputs["sentence_embedding"] * torch.nan
    with pytest.raises(InputError, match="BertModel gives embeddings that are NaN or infinite"):
        task.check_answers(outputs, batch, dense)


@pytest.mark.parametrize(
    ("distill", "teacher"),
    [(None, None), ({"labels": False}, "m"), ({"labels": False, "teacher": "t"}, "t"), ({}, None)],
)
def test_without_labels_the_model_teaches_itself(distill, teacher):
    recipe = parse_recipe(
        {
            "model": {"name": "m", "task": NAME},
            "data": {"train": "t.csv", "validation": "v.csv"},
            "prune": {"sparsity": 0.8},
            "distill": distill,
        }
    )
    assert recipe.teacher == teacher


@pytest.fixture
def recipe(tmp_path):
    """A tiny label-free run, judged by scored pairs."""
    texts = letter_texts(180)
    rows = [
        [a, b, len(set(a.split()) & set(b.split()))] for a, b in zip(texts[:70], texts[70:140], strict=True)
    ]
    data = {
        "train": _file(tmp_path / "t.csv", "text", [[text] for text in dict.fromkeys(texts)]),
        "validation": _file(tmp_path / "v.csv", "text,text_pair,label", rows),
        "max_length": 16,
    }
    return tiny_text_recipe(_saved(tmp_path / "model"), NAME, data, distill={"labels": False})


def test_steps_that_nobody_takes_are_not_announced(recipe, capsys):
    said = describe_run(parse_recipe(recipe), Reporter())
    shown = capsys.readouterr()
    assert said["steps"] == 0 < said["pruning_steps"]
    assert "dense steps" not in shown.out + shown.err


def _run(recipe, folder):
    from platon_compress.pipeline.runner import run_recipe

    return run_recipe(parse_recipe(recipe), folder, Reporter())


@pytest.mark.train
def test_a_label_free_run_ends_in_a_folder_for_every_door(recipe, tmp_path, capsys, through_onnx):
    library = pytest.importorskip("sentence_transformers")
    from platon_compress import runtime

    results = _run(recipe, tmp_path / "run")
    said = capsys.readouterr().out
    assert "its own teacher, used without training: " in said
    assert said.count("the model has no modules.json: mean pooling is assumed") == 1
    assert results["dense"]["steps"] == 0
    assert results["dense"]["values"]["fidelity"] == pytest.approx(1)
    assert results["prune"]["distillation"]["teacher"] == recipe["model"]["name"]
    assert 0 < results["prune"]["values"]["fidelity"] < 1
    report = (tmp_path / "run" / "report.md").read_text()
    assert "the speed of the dense model as given" in report
    assert "the dense model is that same teacher, as given" in report
    assert "temperature" not in report

    texts = ["a b c", "d e f g h", "a"]
    wanted = library.SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu").encode(texts)
    onnx = through_onnx(library.SentenceTransformer, tmp_path / "run" / "onnx")
    ours = runtime.load(tmp_path / "run" / "onnx").encode(texts)
    assert np.abs(onnx.encode(texts) - wanted).max() < 1e-5
    assert np.abs(ours - wanted).max() < 1e-5
    for folder in ("model", "compressed", "onnx"):
        assert json.loads((tmp_path / "run" / folder / "1_Pooling" / "config.json").read_text())
        assert (tmp_path / "run" / folder / "modules.json").is_file()


@pytest.mark.train
@pytest.mark.parametrize("kind", ["pairs", "triples", "other teacher"])
def test_other_rows_and_teachers_train_too(recipe, tmp_path, kind):
    texts = letter_texts(90, seed=1)
    if kind == "pairs":
        recipe["data"]["train"], recipe["distill"] = recipe["data"]["validation"], {}
    elif kind == "triples":
        rows = list(zip(texts[:30], texts[30:60], texts[60:], strict=True))
        recipe["data"]["train"] = _file(tmp_path / "t3.csv", "text,text_pair,negative", rows)
        recipe["data"]["negative"] = "negative"
        recipe["data"]["validation"] = _file(tmp_path / "v1.csv", "text,text_pair", [r[:2] for r in rows] * 3)
        recipe["distill"] = None
    else:
        recipe["distill"]["teacher"] = _saved(tmp_path / "teacher", seed=4)
    results = _run(recipe, tmp_path / "run")
    assert results["dense"]["steps"] > 0
    assert results["dense"]["metric"] == ("fidelity" if kind == "triples" else "spearman")
    assert ("distillation" in results["dense"]) == (kind == "other teacher")


@pytest.mark.train
def test_compress_measures_a_sparse_bi_encoder(recipe, tmp_path):
    dense = load_checkpoint(recipe["model"]["name"], NAME)
    with torch.no_grad():
        for name, parameter in dense.model.named_parameters():
            if "layer." in name and parameter.ndim == 2:
                parameter[torch.rand_like(parameter) < 0.8] = 0
    dense.save(tmp_path / "sparse")
    given = {
        "kind": "compress",
        "model": {"name": str(tmp_path / "sparse"), "task": NAME},
        "dense": recipe["model"]["name"],
        "data": {"validation": recipe["data"]["validation"], "max_length": 16},
        "plan": recipe["plan"],
        "bench": recipe["bench"],
    }
    results = _run(given, tmp_path / "run")
    assert results["data"]["metric"] == "spearman"
    parity = json.loads((tmp_path / "run" / "parity.json").read_text())
    assert parity["scores"]["dense"]["values"]["fidelity"] == pytest.approx(1, abs=1e-6)
    assert parity["scores"]["onnx_compressed"]["values"]["fidelity"] < 0.99


def test_a_model_that_teaches_itself_is_refused_by_its_own_name(recipe, tmp_path):
    """Rule: nobody gave a teacher, so no message speaks of one."""
    types = [("", "Transformer"), ("1_Dense", "Dense")]
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(types)
    ]
    (tmp_path / "model" / "modules.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match=r"^\S*modules\.json holds a Dense, which runs in"):
        _run(recipe, tmp_path / "run")
