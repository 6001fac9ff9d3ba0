"""Metrics and their intervals, as functions of plain arrays."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt


def wilson(k: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of the proportion k / n (Wilson 1927); (0, 1) where n is 0. An effective number need not
    be whole."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return max(0.0, centre - half), min(1.0, centre + half)


def auc(scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Area under the ROC curve, ties counted half; NaN where only one class is present.

    `weights` (≥ 0) counts a sample that many times.
    """
    s, y = np.asarray(scores, np.float64).ravel(), np.asarray(labels).ravel().astype(bool)
    w = np.ones_like(s) if weights is None else np.asarray(weights, np.float64).ravel()
    values, where = np.unique(s, return_inverse=True)
    positive = np.bincount(where, w * y, len(values))
    negative = np.bincount(where, w * ~y, len(values))
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs)


def drawn_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """The 95 % percentile interval (low, high) of bootstrap draws, a sequence of numbers; NaN without any."""
    drawn = np.asarray(values, np.float64)
    low, high = np.percentile(drawn, (2.5, 97.5)) if drawn.size else (np.nan, np.nan)
    return float(low), float(high)


def auc_interval(scores: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike, draws: int = 2000,
                 seed: int = 0) -> tuple[float, float, float]:
    """(AUC, low, high): 95 % percentile interval from resampling whole groups (patients) with replacement."""
    s, y, g = np.asarray(scores, np.float64), np.asarray(labels).astype(bool), np.asarray(groups)
    _, member = np.unique(g, return_inverse=True)
    count = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        weight = np.bincount(rng.integers(0, count, count), minlength=count)[member]
        value = auc(s, y, weight)
        if not np.isnan(value):
            drawn.append(value)
    return auc(s, y), *drawn_interval(drawn)


def mean_interval(values: npt.ArrayLike, groups: npt.ArrayLike, draws: int = 2000,
                  seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high): 95 % percentile interval from resampling whole groups (patients) with replacement."""
    v, g = np.asarray(values, np.float64), np.asarray(groups)
    _, member = np.unique(g, return_inverse=True)
    count = int(member.max()) + 1
    total, size = np.bincount(member, v, count), np.bincount(member, minlength=count)
    picks = np.random.default_rng(seed).integers(0, count, (draws, count))
    means = total[picks].sum(1) / size[picks].sum(1)
    return float(v.mean()), *drawn_interval(means)


def iou(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    p, t = np.asarray(predicted, bool), np.asarray(truth, bool)
    union = np.count_nonzero(p | t)
    return 1.0 if union == 0 else np.count_nonzero(p & t) / union
