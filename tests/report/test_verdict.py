import copy
from pathlib import Path

import pytest

from platon_compress.measure.bench_report import BenchReport
from platon_compress.report.run_data import RunData
from platon_compress.report.verdict import judge

MEGABYTE = 1_000_000
SIZE = {
    "disk_bytes": 90 * MEGABYTE,
    "zipped_bytes": 80 * MEGABYTE,
    "parameters": 20_000_000,
    "nonzeros": 20_000_000,
    "encoder_bytes": 40 * MEGABYTE,
    "embedding_bytes": 50 * MEGABYTE,
    "sparse_index_bytes": 0,
}


def ratio(baseline, candidate, median, decided=True):
    spread = 0.02 if decided else 0.3
    low, high = median - spread, median + spread
    statement = "faster" if low > 1 else "slower" if high < 1 else "undecided"
    return {
        "baseline": baseline,
        "candidate": candidate,
        "pairs": 50,
        "median": median,
        "quartile_low": low,
        "quartile_high": high,
        "low": low,
        "high": high,
        "statement": statement,
    }


def bench(speeds, int8_speeds=None, disk=0.5, int8_disk=0.25, **changes):
    """A benchmark of `len(speeds)` batch sizes: compressed against dense, and against int8."""
    settings = []
    for index, speed in enumerate(speeds):
        ratios = [ratio("dense", "compressed", speed)]
        if int8_speeds is not None:
            ratios.append(ratio("dense_int8", "compressed", int8_speeds[index]))
        settings.append({"batch": 2**index, "tokens": 128, "samples": {}, "ratios": ratios})
    sizes = {"dense": 1.0, "dense_int8": int8_disk, "pruned": 1.0, "compressed": disk}
    variants = {
        name: {
            "file": f"{name}.onnx",
            "size": {**SIZE, "disk_bytes": int(share * SIZE["disk_bytes"])},
            "native_kernel": True if name == "compressed" else None,
        }
        for name, share in sizes.items()
    }
    if int8_speeds is None:
        variants["dense_int8"] = {"file": "dense-int8.onnx", "unavailable": "no quantiser"}
    data = {
        "version": 1,
        "environment": {},
        "config": {},
        "unavailable": None,
        "baseline": "dense",
        "variants": variants,
        "settings": settings,
    }
    return {**data, **changes}


def run(data, *, ours=0.84, dense=0.85, error=0.012, steps=(540, 540), int8=None, **files):
    trained = {"metric": "accuracy", "standard_error": error, "examples": 872, "history": []}
    stages = {"bake": {"result": {"sparsity": 0.9}}}
    if ours is not None:
        stages["prune"] = {"result": {**trained, "value": ours, "steps": steps[1]}}
    if dense is not None:
        stages["dense"] = {"result": {**trained, "value": dense, "steps": steps[0]}}
    parity = {"rows": [], "metrics": {}, "passed": True, "atol": 1e-4}
    if int8 is not None:
        parity["metrics"] = {"dense_int8": {"accuracy": int8, "standard_error": error}}
    layer = {"name": "w", "shape": [4, 4], "density": 0.1, "form": "csr", "reason": "faster"}
    return RunData(
        folder=Path("run"),
        bench=BenchReport.from_dict(copy.deepcopy(data)),
        plan={"layers": [layer]},
        parity=files.get("parity", parity),
        recipe=files.get("recipe", {}),
        state={"kind": files.get("kind", "run"), "stages": stages},
    )


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
