from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers
from exported_models import CORPUS

from platon_compress.errors import InputError
from platon_compress.runtime import load
from platon_compress.runtime.numbers import softmax

LONG = " ".join(CORPUS * 2)
QUESTIONS = ["who flew?", "what do naïve owners pay", "where?", "who flew?"]
UNDERFLOW = 1e-30  # what is left of a smaller score differs between versions of NumPy
CONTEXTS = [CORPUS[0], CORPUS[3], LONG, "zzz"]


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) > 4, reason="transformers 5 has no such pipeline"
)
@pytest.mark.parametrize("whole_words", [True, False])
@pytest.mark.parametrize("top_k", [1, 4])
@pytest.mark.parametrize("nothing", [True, False])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_answers_are_the_pipelines(exported, family, nothing, top_k, whole_words):
    model, tokenizer, folder = exported(family, "answers")
    found = load(folder, threads=1).answer(
        QUESTIONS,
        CONTEXTS,
        top_k=top_k,
        no_answer=0.0 if nothing else None,
        whole_words=whole_words,
        batch_size=3,
    )
    theirs = transformers.pipeline("question-answering", model=model, tokenizer=tokenizer)
    for own, question, context in zip(found, QUESTIONS, CONTEXTS, strict=True):
        rows = theirs(
            question=question,
            context=context,
            top_k=top_k,
            handle_impossible_answer=nothing,
            align_to_words=whole_words,
        )
        rows = [row for row in (rows if isinstance(rows, list) else [rows]) if row["score"] > UNDERFLOW]
        answers = [answer for answer in own if answer.score > UNDERFLOW]
        assert [(a.text, a.start, a.end) for a in answers] == [
            (r["answer"], r["start"], r["end"]) for r in rows
        ]
        assert np.allclose([a.score for a in answers], [r["score"] for r in rows], atol=1e-5)


def test_the_best_span_of_one_window_by_hand(exported):
    """The definition itself: the pair of context tokens with the largest product, no longer than allowed."""
    model, tokenizer, folder = exported("bert", "answers")
    batch = tokenizer(QUESTIONS[0], CORPUS[0], return_tensors="pt", return_offsets_mapping=True)
    offsets, sequences = batch.pop("offset_mapping")[0], batch.sequence_ids()
    with torch.inference_mode():
        out = model(**batch)
    allowed = np.array([s == 1 for s in sequences])
    allowed[0] = True
    starts, ends = (
        softmax(np.where(allowed, v[0].numpy(), -1e4)) for v in (out.start_logits, out.end_logits)
    )
    best = max(
        (
            (float(starts[i] * ends[j]), i, j)
            for i in range(1, len(starts))
            for j in range(i, min(i + 3, len(ends)))
            if allowed[i] and allowed[j]
        ),
    )
    ((found,),) = load(folder).answer(QUESTIONS[:1], CORPUS[:1], max_answer_tokens=3, whole_words=False)
    assert found.score == pytest.approx(best[0], rel=1e-3)
    assert (found.start, found.end) == (int(offsets[best[1]][0]), int(offsets[best[2]][1]))


def test_threads_may_share_a_runner(exported):
    """Windows of different lengths at once: the limit is a setting of the one tokenizer."""
    runner = load(exported("bert", "answers")[2], threads=1)
    limits = [24, 30, 36, 48] * 4
    alone = {limit: runner.answer(QUESTIONS, CONTEXTS, max_tokens=limit, stride=2) for limit in set(limits)}
    assert len({str(answers) for answers in alone.values()}) > 1
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: runner.answer(QUESTIONS, CONTEXTS, max_tokens=n, stride=2), limits))
    for limit, answers in zip(limits, found, strict=True):
        assert [(a.text, a.start) for own in answers for a in own] == [
            (a.text, a.start) for own in alone[limit] for a in own
        ]


def test_the_threshold_of_no_answer_moves_it(exported):
    runner = load(exported("bert", "answers")[2])
    counts = [
        sum(not own[0].text for own in runner.answer(QUESTIONS, CONTEXTS, no_answer=threshold))
        for threshold in (-1.0, 1.0)
    ]
    assert counts == [len(QUESTIONS), 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"questions": QUESTIONS[:3]}, "3 questions and 4 contexts; give one context for each question"),
        ({"contexts": [*CONTEXTS[:3], " "]}, "context 3 is empty; leave the pair out"),
        ({"questions": ["", *QUESTIONS[1:]]}, "question 0 is empty"),
        ({"questions": [None, *QUESTIONS[1:]]}, "questions must be strings, entry 0 is a NoneType"),
        ({"contexts": "one"}, "contexts must be a list of strings, got a str"),
        ({"questions": [LONG, *QUESTIONS[1:]]}, "leaves 0 of 48 to the context, the stride is 24; shorten the question"),
        ({"stride": 47}, "the stride is 47"),
        ({"top_k": 0}, "top_k is 0; give a whole number from 1"),
        ({"max_answer_tokens": 1.5}, "max_answer_tokens is 1.5; give a whole number from 1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(exported, arguments, message):
    given = {"questions": QUESTIONS, "contexts": CONTEXTS, **arguments}
    with pytest.raises(InputError, match=message):
        load(exported("bert", "answers")[2]).answer(given.pop("questions"), given.pop("contexts"), **given)
