import pytest
from sample_runs import bench, ratio, run

from platon_compress.report.verdict import judge


def test_yes():
    verdict = judge(run(bench([2.4, 2.7], [1.4, 1.6])))
    assert verdict.answer == "yes"
    assert verdict.line == (
        "Verdict: yes: faster than dense and dense int8, smaller on disk, and not measurably worse in the "
        "task (within two standard errors). 90.0% sparse; 2.40x (2.38-2.42) at batch 1, 128 tokens and 2.70x (2.68-2.72) at "
        "batch 2, 128 tokens the speed of dense trained with the same 540 steps; 1.40x (1.38-1.42) at batch 1, "
        "128 tokens and 1.60x (1.58-1.62) at batch 2, 128 tokens that of dense int8; 0.50x the size on disk "
        "(encoder 1.00x, 2.00x of dense int8's); accuracy 84.0% against 85.0% dense (-1.0 points, standard "
        "error 1.7)."
    )


def test_many_settings_are_a_range():
    line = judge(run(bench([2.4, 2.0, 3.0], [1.4, 1.5, 1.6]))).line
    assert "2.40x (2.38-2.42) at batch 1, 128 tokens (2.00x to 3.00x over 3 settings) the speed" in line


@pytest.mark.parametrize(
    ("benchmark", "changes", "answer", "reason"),
    [
        (bench([0.93], [0.9]), {}, "no", "it is slower than dense"),
        (bench([1.01], [1.2]), {}, "no", "no measurable difference in speed from dense"),
        (bench([2.0], [1.5]), {"ours": 0.7}, "no", "the task metric falls too far below dense"),
        (bench([1.5], [0.8]), {}, "no", "dense int8 is faster, no larger and no less accurate"),
        (bench([1.5], [0.8]), {"int8": 0.6}, "mixed", "slower than dense int8 at batch 1, 128 tokens"),
        (bench([1.5], [0.8], disk=0.2), {}, "mixed", "slower than dense int8 at batch 1, 128 tokens"),
        (bench([2.0, 1.0], [1.5, 1.5]), {}, "mixed", "not faster than dense at batch 2, 128 tokens"),
        (bench([2.0], [1.5], disk=1.1), {}, "mixed", "it is not smaller on disk"),
        (bench([2.0], [1.5]), {"ours": 0.81, "error": 0.005}, "mixed", "the task metric is lower than dense"),
        (bench([2.0], [1.5]), {"ours": 0.82, "error": 0.03}, "mixed", "too few examples to tell"),
    ],
)
def test_what_speaks_against_it(benchmark, changes, answer, reason):
    verdict = judge(run(benchmark, **changes))
    assert verdict.answer == answer
    assert verdict.line.startswith(f"Verdict: {answer}: ")
    assert reason in verdict.line
    assert "\n" not in verdict.line


def test_failed_parity_is_a_no():
    parity = {"rows": [{"pair": "a", "max_abs": 0.5, "mean_abs": 0.1}], "passed": False, "atol": 1e-4}
    verdict = judge(run(bench([3.0], [2.0]), parity=parity))
    assert (
        "does not compute the same as the pruned model (max difference 0.5, allowed 0.0001)" in verdict.line
    )
    assert verdict.answer == "no"


def test_dense_fallback_of_the_operator_is_a_no():
    data = bench([2.0], [1.5])
    data["variants"]["compressed"]["native_kernel"] = False
    assert "did not run in the native kernel" in judge(run(data)).line


def test_undecided_ratio_is_said_as_such():
    data = bench([2.0], [1.5])
    data["settings"][0]["ratios"][0] = ratio("dense", "compressed", 0.98, decided=False)
    assert "0.98x (0.68-1.28, no measurable difference) at batch 1" in judge(run(data)).line


def test_without_a_metric_it_says_so():
    verdict = judge(run(bench([2.0], [1.5]), ours=None, dense=None))
    assert verdict.answer == "yes"
    assert verdict.line.endswith("accuracy was not measured.")
    assert "worse in the task" not in verdict.line


def test_different_training_lengths_are_named():
    line = judge(run(bench([2.0], [1.5]), steps=(100, 540))).line
    assert "dense (trained with 100 steps, pruned with 540)" in line


def test_missing_int8_is_named():
    line = judge(run(bench([2.0]))).line
    assert "dense int8 was not measured (no quantiser)" in line
    assert "faster than dense, smaller" in line


def test_int8_metric_stands_beside_ours():
    assert "; dense int8 84.5%" in judge(run(bench([2.0], [1.5]), int8=0.845)).line


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
    line = judge(run(bench([2.0], [1.5]), kind="compress")).line
    assert "the speed of the same weights in dense kernels" in line
    assert "accuracy 84.0%, no dense model to compare with" in line
    assert "worse in the task" not in line
    given = judge(run(bench([2.0], [1.5]), kind="compress", recipe={"dense": "some/model"})).line
    assert "accuracy 84.0% against 85.0% dense" in given


def test_too_few_pairs_decide_nothing():
    data = bench([2.0], [1.5])
    data["settings"][0]["ratios"][0].update(low=None, high=None, statement="undecided")
    verdict = judge(run(data))
    assert verdict.answer == "no"
    assert "2.00x (too few pairs to decide)" in verdict.line
