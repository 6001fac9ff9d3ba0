"""The statistics of a reader study: do readers call forged images unhealthy more often than real healthy ones?

Bar-on 2020, section 3.2: 80 readings of real healthy mammograms and 180 of injected ones (`BLIND`); then 84 readings by
readers who were warned (`WARNED`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from scanward.bench.confusion import Confusion
from scanward.errors import ArgumentError
from scanward.metrics import drawn_interval

Table = tuple[tuple[int, int], tuple[int, int]]
"""Two groups of readings: of each, how many were called unhealthy and how many healthy."""

BLIND: Table = ((36, 44), (124, 56))
"""Bar-on 2020: real healthy mammograms, then injected ones."""
WARNED = Confusion(tn=48, fp=8, fn=15, tp=13)
"""Bar-on 2020: what the same four radiologists called real or fake once they knew of fakes."""
ALPHA, DRAWS = 0.05, 1000


@dataclass(frozen=True)
class Association:
    """Tests of whether two groups of readings differ."""

    chi2: float
    """Pearson's χ², one degree of freedom."""
    p: float
    chi2_corrected: float
    """The same with Yates's correction."""
    p_corrected: float
    p_fisher: float
    """Fisher's exact test, two-sided."""


def association(table: Table) -> Association:
    """The tests of a 2 × 2 table; `ArgumentError` where a row or column is empty or a count negative."""
    counts = _checked(table)
    plain, corrected = (stats.chi2_contingency(counts, correction=c) for c in (False, True))
    return Association(float(plain.statistic), float(plain.pvalue), float(corrected.statistic),
                       float(corrected.pvalue), float(stats.fisher_exact(counts).pvalue))


def power(table: Table, *, alpha: float = ALPHA, corrected: bool = False) -> float:
    """The probability that a study of this size and these rates gives p < `alpha`: over every table two binomials can
    give, weighted by their probabilities."""
    (a, n), (b, m) = _totals(table)
    return power_of((a / n, b / m), (n, m), alpha=alpha, corrected=corrected)


def power_of(rates: tuple[float, float], readings: tuple[int, int], *, alpha: float = ALPHA,
             corrected: bool = False) -> float:
    """`power` before there is a table: from the rates at which both groups will be called unhealthy, and how many
    readings of each there will be."""
    (p, q), (n, m) = rates, readings
    first, second = np.arange(n + 1)[:, None], np.arange(m + 1)[None]
    weight = stats.binom.pmf(first, n, p) * stats.binom.pmf(second, m, q)
    return float(weight[_p(first, n, second, m, corrected) < alpha].sum())


def resampled_power(table: Table, *, draws: int = DRAWS, alpha: float = ALPHA, corrected: bool = False,
                    seed: int = 0) -> tuple[float, float, float]:
    """`power` as the report has it, from `draws` random tables; with the 95 % range that so many draws scatter over."""
    (a, n), (b, m) = _totals(table)
    rng = np.random.default_rng(seed)
    drawn = _p(rng.binomial(n, a / n, draws), n, rng.binomial(m, b / m, draws), m, corrected) < alpha
    low, high = stats.binom.ppf((0.025, 0.975), draws, power(table, alpha=alpha, corrected=corrected)) / draws
    return float(drawn.mean()), float(low), float(high)


def fleiss(ratings: Sequence[Sequence[int]]) -> float:
    """Fleiss' κ of readers' agreement: of each image how many readers chose each category. Images may have different
    numbers of readers; those of one alone say nothing. NaN where fewer than two have two, as chance cannot be told from
    a single image, or all readings are of one category.

    With two readers of every image it is Scott's π, Cohen's κ with one set of marginals for both.
    """
    counts = np.asarray([row for row in ratings if sum(row) > 1], np.float64)
    if len(counts) < 2:
        return float("nan")
    n = counts.sum(1)
    agreed = float((((counts**2).sum(1) - n) / (n * (n - 1))).mean())
    by_chance = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    return (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def fleiss_interval(ratings: Sequence[Sequence[int]], draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """`fleiss` with its 95 % percentile interval from drawing images with replacement."""
    rows = [row for row in ratings if sum(row) > 1]
    rng = np.random.default_rng(seed)
    drawn = [fleiss([rows[i] for i in rng.integers(0, len(rows), len(rows))]) for _ in range(draws if rows else 0)]
    kept = [value for value in drawn if not np.isnan(value)]
    return fleiss(rows), *drawn_interval(kept)


def cohen(first: Sequence[int], second: Sequence[int]) -> float:
    """Cohen's κ of two readers who read the same images, each answer a category; NaN of fewer than two, and where
    chance alone would have them agree always."""
    a, b = np.asarray(first), np.asarray(second)
    if len(a) < 2:
        return float("nan")
    by_chance = sum(float((a == k).mean() * (b == k).mean()) for k in np.union1d(a, b))
    return (float((a == b).mean()) - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def _p(first: npt.NDArray[np.int_], n: int, second: npt.NDArray[np.int_], m: int,
       corrected: bool) -> npt.NDArray[np.float64]:
    """The p of tables with `first` of n and `second` of m; 1 where a column is empty."""
    called = first + second
    gap = np.abs(first * (m - second) - second * (n - first)).astype(np.float64)
    if corrected:
        gap = np.maximum(gap - (n + m) / 2, 0)
    below = np.maximum(n * m * called * (n + m - called), 1).astype(np.float64)
    return np.asarray(stats.chi2.sf(gap**2 * (n + m) / below, 1), np.float64)


def _checked(table: Table) -> npt.NDArray[np.int_]:
    counts = np.asarray(table)
    if counts.shape != (2, 2) or counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ArgumentError("A reader study's table holds two by two counts, none of them negative.")
    if not counts.sum(0).all() or not counts.sum(1).all():
        raise ArgumentError("A reader study's table has a row or a column without readings; nothing can be compared.")
    return counts


def _totals(table: Table) -> tuple[tuple[int, int], tuple[int, int]]:
    counts = _checked(table)
    return (int(counts[0, 0]), int(counts[0].sum())), (int(counts[1, 0]), int(counts[1].sum()))
