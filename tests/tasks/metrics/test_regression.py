"""Against scipy: correlations."""

import warnings

import numpy as np
import pytest
from scipy import stats

from platon_compress.errors import InputError
from platon_compress.scoring import resampled
from platon_compress.tasks.metrics.regression import regression_scores

LIBRARY = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}


def _answers(rows=30):
    """Targets in steps, so that there are ties, as human scores have them."""
    generator = np.random.default_rng(0)
    predicted = generator.normal(size=rows).astype(np.float32)
    return predicted, np.round(predicted + generator.normal(size=rows))


@pytest.mark.parametrize("metric", LIBRARY)
@pytest.mark.usefixtures("few_resamples")
def test_values_and_every_resample_are_those_of_scipy(metric):
    predicted, targets = _answers()
    scores = regression_scores(predicted, targets, metric)
    assert scores.value == pytest.approx(LIBRARY[metric](predicted, targets).statistic)
    expected = resampled(
        30, lambda chosen: LIBRARY[metric](predicted[chosen].astype(float), targets[chosen]).statistic
    )
    assert scores.replicates == pytest.approx(expected)


@pytest.mark.parametrize("metric", LIBRARY)
@pytest.mark.parametrize("constant", [0.1, 1e30])
def test_constant_predictions_correlate_with_nothing(metric, constant):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ours, theirs in ([constant] * 6, [1, 2, 3, 4, 5, 5]), ([1, 2, 3, 4, 5, 5], [constant] * 6):
            scores = regression_scores(ours, theirs, metric)
            assert set(scores.values.values()) == {0.0}
            assert not scores.replicates.any()


@pytest.mark.parametrize("metric", LIBRARY)
def test_few_rows_and_huge_numbers_stay_finite(metric):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ours, theirs in ([1, 2], [5, 4]), ([1e200, 2e200, -1e200], [1, 2, -1]), ([1, 1 + 1e-15], [0, 1]):
            scores = regression_scores(ours, theirs, metric)
            assert np.isfinite(scores.replicates).all()
            assert np.isfinite(list(scores.values.values())).all()
    assert regression_scores([1, 2], [5, 4], metric).value == pytest.approx(-1)


@pytest.mark.parametrize(
    ("predicted", "targets", "said"),
    [
        ([1.0], [1.0], "one row, and a correlation needs two"),
        ([1.0, float("inf")], [1.0, 2.0], "1 of the 2 predictions are NaN or infinite"),
        ([1.0, 2.0], [1.0, None], "targets are no numbers but object"),
        ([1.0, 2.0], [1.0], "2 predictions and 1 targets"),
        ([], [], "no predictions to judge"),
    ],
)
def test_bad_input_is_refused(predicted, targets, said):
    with pytest.raises(InputError, match=said):
        regression_scores(predicted, targets)


def test_an_unknown_metric_is_refused():
    with pytest.raises(InputError, match="'kendall' is unknown here; take one of spearman, pearson"):
        regression_scores([1, 2], [1, 2], "kendall")
