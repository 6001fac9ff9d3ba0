"""The statistics of a reader study: do readers call forged images unhealthy more often than real healthy ones?

Bar-on 2020, section 3.2: 80 readings of real healthy mammograms and 180 of injected ones (`BLIND`); then 84 readings by
readers who were warned (`WARNED`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from scanward.bench.confusion import Confusion
from scanward.errors import ArgumentError

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
    first, second = np.arange(n + 1)[:, None], np.arange(m + 1)[None]
    weight = stats.binom.pmf(first, n, a / n) * stats.binom.pmf(second, m, b / m)
    return float(weight[_p(first, n, second, m, corrected) < alpha].sum())


def resampled_power(table: Table, *, draws: int = DRAWS, alpha: float = ALPHA, corrected: bool = False,
                    seed: int = 0) -> tuple[float, float, float]:
    """`power` as the report has it, from `draws` random tables; with the 95 % range that so many draws scatter over."""
    (a, n), (b, m) = _totals(table)
    rng = np.random.default_rng(seed)
    drawn = _p(rng.binomial(n, a / n, draws), n, rng.binomial(m, b / m, draws), m, corrected) < alpha
    low, high = stats.binom.ppf((0.025, 0.975), draws, power(table, alpha=alpha, corrected=corrected)) / draws
    return float(drawn.mean()), float(low), float(high)


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
