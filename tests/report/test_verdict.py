import math

import pytest
from sample_runs import answers, bench, ratio, run, scores

from platon_compress.report.run_data import Metric
from platon_compress.report.verdict import judge

UNCERTAIN = ratio("dense", "compressed", 0.98, decided=False)


def paired(ours, dense, count=872, shared=None):
    """parity.json's part with every example's answer: `ours` and `dense` right ones of `count`."""
    routes = {"onnx_compressed": ours, "dense": dense}
    right = {
        "dense": answers(count, dense),
        "onnx_compressed": answers(count, ours, min(ours, dense) if shared is None else shared),
    }
    return {"scores": {n: scores(r / count, 0.012, right[n]) for n, r in routes.items()}, "examples": count}


def test_yes():
    verdict = judge(run(bench([2.4, 2.7], [1.4, 1.6])))
    assert verdict.answer == "yes"
    assert verdict.against == ()
    assert verdict.sentence == (
        "faster than dense and dense int8, smaller on disk, and not measurably worse on the task"
    )
    assert verdict.points == (
        (
            "2.40x (2.38-2.42) the speed of dense (trained for the same 540 steps) at batch 1, 128 tokens and 2.70x "
            "(2.68-2.72) at batch 2, 128 tokens; 1.40x (1.38-1.42) that of dense int8 at batch 1, 128 tokens and 1.60x "
            "(1.58-1.62) at batch 2, 128 tokens"
        ),
        "0.20x the size on disk (encoder 1.00x, 0.80x the size of dense int8); 90.0% of the prunable weights are zero",
        "accuracy 84.0% against 85.0% for dense (-1.0 ± 3.4 points)",
    )
    assert verdict.line == f"Verdict: yes: {verdict.sentence}. {'; '.join(verdict.points)}."


def test_many_settings_are_a_range():
    line = judge(run(bench([2.4, 2.0, 3.0], [1.4, 1.5, 1.6]))).line
    assert (
        "2.40x (2.38-2.42) the speed of dense (trained for the same 540 steps) at batch 1, 128 tokens "
        "(2.00-3.00x over 3 settings)" in line
    )


@pytest.mark.parametrize(
    ("benchmark", "changes", "answer", "reason"),
    [
        (bench([0.93], [0.9]), {}, "no", "it is slower than dense"),
        (bench([2.0], [1.5]), {"ours": 0.7}, "no", "the accuracy falls too far below dense"),
        (
            bench([1.5], [0.8], disk=0.5),
            {"int8": 0.85},
            "no",
            "dense int8 is faster, no larger and no less accurate",
        ),
        (bench([1.5], [0.8], disk=0.5), {"int8": 0.6}, "mixed", "faster and no larger, though less accurate"),
        (bench([1.5], [0.8]), {}, "mixed", "slower than dense int8 at batch 1, 128 tokens"),
        (bench([2.0, 0.9], [1.5, 1.5]), {}, "mixed", "slower than dense at batch 2, 128 tokens"),
        (bench([2.0], [1.5], disk=1.1, int8_disk=2), {}, "mixed", "it is not smaller on disk (1.10x)"),
        (bench([2.0], [1.5], disk=0.97, int8_disk=2), {}, "mixed", "it is hardly smaller on disk (0.97x)"),
        (bench([2.0], [1.5], disk=0.45), {}, "mixed", "larger on disk than dense int8 (1.80x)"),
        (bench([2.0], [1.5]), {"ours": 0.81, "error": 0.005}, "mixed", "the accuracy is lower than dense"),
        (bench([1.01], [1.2]), {}, "undecided", "whether it is faster than dense is undecided"),
        (
            bench([2.0, 1.0], [1.5, 1.5]),
            {},
            "undecided",
            "faster than dense is undecided at batch 2, 128 tokens",
        ),
        (bench([2.0], [1.01]), {}, "undecided", "whether it is faster than dense int8 is undecided"),
        (bench([2.0], [1.5]), {"ours": 0.82, "error": 0.03}, "undecided", "too few examples to tell"),
        (
            bench([2.0], [1.5]),
            {"error": 0.05},
            "undecided",
            "too few examples to tell how far the accuracy falls",
        ),
        (bench([]), {}, "undecided", "speed was not measured"),
    ],
)
def test_what_speaks_against_it(benchmark, changes, answer, reason):
    verdict = judge(run(benchmark, **changes))
    assert verdict.answer == answer
    assert verdict.line.startswith(f"Verdict: {answer}: ")
    assert reason in verdict.line
    assert "\n" not in verdict.line


def test_the_strongest_reason_comes_first_and_none_is_hidden():
    verdict = judge(run(bench([2.0, 1.0], [1.5, 1.5], disk=0.5), ours=0.6))
    assert verdict.answer == "no"
    assert verdict.against == (
        "the accuracy falls too far below dense",
        "whether it is faster than dense is undecided at batch 2, 128 tokens",
        "larger on disk than dense int8 (2.00x)",
    )


def test_failed_parity_is_a_no():
    parity = {"rows": [{"pair": "a", "max_abs": 0.5, "mean_abs": 0.1}], "passed": False}
    verdict = judge(run(bench([3.0], [2.0]), parity=parity))
    assert (
        "outputs differ from those of the pruned model (max difference 0.5, allowed 0.0001)" in verdict.line
    )
    assert verdict.answer == "no"


def test_without_parity_there_is_no_yes():
    verdict = judge(run(bench([3.0], [2.0]), parity={"passed": None}))
    assert verdict.answer == "undecided"
    assert verdict.sentence == "it was not checked against the pruned model"


def test_dense_fallback_of_the_operator_is_a_no():
    data = bench([2.0], [1.5])
    data["variants"]["compressed"]["native_kernel"] = False
    verdict = judge(run(data))
    assert verdict.answer == "no"
    assert "did not run in the native kernel" in verdict.line


def test_an_interval_around_one_decides_nothing():
    data = bench([2.0], [1.5])
    data["settings"][0]["ratios"][0] = UNCERTAIN
    verdict = judge(run(data))
    assert verdict.answer == "undecided"
    assert "0.98x (0.68-1.28, undecided) the speed of dense" in verdict.line
    assert "no measurable difference" not in verdict.line


def test_too_few_pairs_decide_nothing():
    data = bench([3.51], [1.5])
    data["settings"][0]["ratios"][0].update(low=None, high=None, statement="undecided")
    verdict = judge(run(data))
    assert verdict.answer == "undecided"
    assert "3.51x (undecided, too few pairs)" in verdict.line


def test_without_a_metric_there_is_no_yes():
    verdict = judge(run(bench([2.0], [1.5]), ours=None, dense=None))
    assert verdict.answer == "undecided"
    assert verdict.sentence == "the task metric was not measured"
    assert "worse on the task" not in verdict.line


@pytest.mark.parametrize(
    ("changes", "guess"),
    [
        ({"dense": 0.338, "ours": 0.338, "classes": ["a", "b", "c"]}, "33.3%"),
        ({"dense": 0.50, "ours": 0.52, "classes": ["a", "b"]}, "50.0%"),
        ({"dense": 0.70, "ours": 0.70, "classes": ["a", "b"], "parity": {"trivial": 0.69}}, "69.0%"),
        ({"dense": 0.60, "ours": 0.60, "parity": {"trivial": 0.69}}, "69.0%"),
    ],
)
def test_a_baseline_that_guesses_measures_nothing(changes, guess):
    verdict = judge(run(bench([3.0], [2.0]), **changes))
    assert verdict.answer == "not measured"
    assert verdict.line.startswith("Verdict: not measured: the baseline has not learnt the task: accuracy ")
    assert f"where always predicting the most frequent class gives {guess}" in verdict.line


def test_a_learnt_baseline_of_uneven_classes_counts():
    changes = {"dense": 0.85, "ours": 0.84, "parity": {"trivial": 0.69}}
    assert judge(run(bench([3.0], [2.0]), **changes)).answer == "yes"


def test_a_checkpoint_that_came_alone_must_have_learnt_too():
    verdict = judge(run(bench([3.0], [2.0]), ours=0.34, dense=None, kind="compress", classes=["a", "b", "c"]))
    assert verdict.sentence.startswith("the model has not learnt the task: accuracy 34.0%")


def test_a_file_that_is_gone_is_not_recommended():
    verdict = judge(run(bench([3.0], [2.0]), file_problem="onnx/compressed.onnx is gone"))
    assert verdict.line.startswith("Verdict: not measured: onnx/compressed.onnx is gone. 3.00x")


def test_metrics_are_compared_example_by_example():
    agreeing = judge(run(bench([2.0], [1.5]), parity=paired(706, 750)))
    assert agreeing.answer == "no"
    assert (
        "accuracy 81.0% against 86.0% for dense (-5.0 ± 1.5 points, paired on 872 examples)" in agreeing.line
    )
    crossing = judge(run(bench([2.0], [1.5]), parity=paired(740, 750, shared=700)))
    assert crossing.answer == "yes"
    assert "(-1.1 ± 2.2 points, paired on 872 examples)" in crossing.line


def test_metrics_without_resamples_are_compared_by_their_errors():
    one, other = (Metric(name="f1", value=v, standard_error=0.03) for v in (0.8, 0.7))
    change = one.minus(other)
    assert not change.paired
    assert change.high - change.low == pytest.approx(4 * math.hypot(0.03, 0.03))
    unknown = Metric(name="f1", value=0.8).minus(Metric(name="f1", value=0.7))
    assert unknown.low == unknown.high == pytest.approx(0.1)


def test_different_training_lengths_are_named():
    line = judge(run(bench([2.0], [1.5]), steps=(100, 540))).line
    assert "dense (trained for 100 steps, the pruned model for 540)" in line


def test_missing_int8_is_named():
    line = judge(run(bench([2.0]))).line
    assert "dense int8 was not measured (no quantiser)" in line
    assert "faster than dense, smaller" in line


def test_int8_stands_beside_ours_with_its_setting():
    data = bench([2.0], [1.5])
    data["variants"]["dense_int8"]["quantisation"] = {"setting": "per channel, signed 8-bit weights"}
    line = judge(run(data, int8=0.845)).line
    assert "; dense int8 84.5%" in line
    assert "that of dense int8 (per channel, signed 8-bit weights)" in line


def test_device_that_was_not_there():
    data = bench([], unavailable="cuda not measured: CUDAExecutionProvider is not active")
    verdict = judge(run(data))
    assert verdict.answer == "not measured"
    assert verdict.line.startswith("Verdict: not measured: cuda not measured: CUDAExecutionProvider")


def test_without_a_dense_model():
    data = bench([2.0], [1.5], baseline="pruned")
    data["settings"][0]["ratios"][0]["baseline"] = "pruned"
    line = judge(run(data, ours=None, dense=None)).line
    assert "the speed of the same weights in dense kernels" in line


def test_sparse_checkpoint_that_came_alone_has_no_dense_rival():
    verdict = judge(run(bench([2.0], [1.5]), kind="compress"))
    assert verdict.answer == "undecided"
    assert "the speed of the same weights in dense kernels" in verdict.line
    assert "accuracy 84.0%, no dense model to compare with" in verdict.line
    assert "worse on the task" not in verdict.line
    given = judge(run(bench([2.0], [1.5]), kind="compress", recipe={"dense": "some/model"})).line
    assert "accuracy 84.0% against 85.0% for dense" in given


def _judged(metric, task, value, trivial, **files):
    entry = {**scores(value, 0.01), "metric": metric, "values": {metric: value}}
    routes = {"onnx_compressed": entry, "dense": entry}
    parity = {"scores": routes, "trivial": trivial, "examples": 800, **files}
    return judge(run(bench([2.4]), parity=parity, recipe={"model": {"task": task}}))


@pytest.mark.parametrize(
    ("metric", "task", "said"),
    [
        ("f1", "token-classification", "entity F1 80.6 against 80.6 for dense"),
        ("f1", "question-answering", "answer F1 80.6 against 80.6 for dense"),
        ("spearman", "text-classification", "Spearman correlation 80.6 against 80.6 for dense"),
        ("exact_match", "question-answering", "exact match 80.6% against 80.6% for dense"),
        ("accuracy", "text-classification", "accuracy 80.6% against 80.6% for dense"),
    ],
)
def test_figures_are_said_in_the_tasks_own_words(metric, task, said):
    """Shares of examples are percent; correlations and F1 are points of a hundred."""
    assert said in _judged(metric, task, 0.806, 0.0).line


@pytest.mark.parametrize(
    ("metric", "task", "said"),
    [
        (
            "spearman",
            "text-classification",
            "Spearman correlation 1.0, where any answer that ignores the input gives 0.0",
        ),
        ("f1", "token-classification", "entity F1 1.0, where a model that finds no entity gives 0.0"),
        ("f1", "question-answering", 'answer F1 1.0, where always answering "no answer" gives 0.0'),
        ("f1_micro", "text-classification", "micro F1 1.0, where the best answer that ignores the input gives 0.0"),
    ],
)  # fmt: skip
def test_a_baseline_that_has_not_learnt_is_said_in_the_tasks_words(metric, task, said):
    assert _judged(metric, task, 0.01, 0.0).sentence == f"the baseline has not learnt the task: {said}"


def test_the_verdict_names_the_test_rows():
    verdict = _judged("accuracy", "text-classification", 0.8, 0.5, inputs="test data")
    assert "paired on 872 test examples" in verdict.line
    assert "paired on 872 examples" in _judged("accuracy", "text-classification", 0.8, 0.5).line
