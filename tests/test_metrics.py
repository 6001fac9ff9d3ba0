"""Metrics against hand-computed and independent answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, mannwhitneyu

from scanward import metrics


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_is_the_interval_of_scipy(k, n):
    k = min(k, n)
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert metrics.wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_of_nothing_says_nothing():
    assert metrics.wilson(0, 0) == (0.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_mann_whitney_statistic(pairs):
    scores, labels = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    if labels.all() or not labels.any():
        assert np.isnan(metrics.auc(scores, labels))
        return
    statistic = mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert metrics.auc(scores, labels) == pytest.approx(statistic / (labels.sum() * (~labels).sum()))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=20))
def test_a_weight_counts_a_sample_that_many_times(rows):
    scores, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    repeated = metrics.auc(np.repeat(scores, weights), np.repeat(labels, weights)) if weights.any() else float("nan")
    assert metrics.auc(scores, labels, weights) == pytest.approx(repeated, nan_ok=True)


def test_auc_interval_resamples_patients_not_images():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 40)
    scores = labels + rng.normal(0, 1.2, 80)
    many = metrics.auc_interval(scores, labels, np.arange(80) // 2)
    few = metrics.auc_interval(np.repeat(scores, 5), np.repeat(labels, 5), np.repeat(np.arange(80) // 2, 5))
    assert many[1] < many[0] < many[2]
    assert few == pytest.approx(many, abs=0.03), "copies of the same patients add no certainty"


def test_mean_interval_of_a_constant_has_no_width():
    assert metrics.mean_interval([0.7] * 9, list("aabbccddd")) == pytest.approx((0.7, 0.7, 0.7))


def test_iou_by_hand():
    predicted = [[1, 1, 0], [0, 0, 0]]
    truth = [[0, 1, 1], [0, 0, 0]]
    assert metrics.iou(predicted, truth) == pytest.approx(1 / 3)
    assert metrics.iou(np.zeros((2, 2)), np.zeros((2, 2))) == 1
