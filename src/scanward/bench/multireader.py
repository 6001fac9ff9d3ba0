"""Multi-reader multi-case statistics: figures averaged over readers, with intervals for other readers and other cases.

Obuchowski and Rockette 1995 with Hillis's degrees of freedom (Hillis 2007, Hillis, Obuchowski and Berbaum 2011): a
figure of test i by reader j is θ_ij = μ + τ_i + R_j + (τR)_ij + ε_ij, and the errors ε, of which the cases are the
source, have the variance Var and the covariances Cov1 (one reader, two tests), Cov2 (two readers, one test) and Cov3
(two readers, two tests). These come from a jackknife that leaves out one group of cases (a patient) at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Figure = Literal["AUC", "sensitivity", "specificity", "accuracy"]
DRAWS = 2000
ALPHA = 0.05


@dataclass(frozen=True)
class Task:
    """What every reader was to tell apart."""

    scores: Floats
    """(reader, case): positive where the reader calls the case positive, larger where they are surer; NaN where the
    reader did not read it."""
    positive: npt.NDArray[np.bool_]
    """(case,)"""
    groups: tuple[str, ...]
    """(case,): the patient. Tests that share patients are correlated by them."""


@dataclass(frozen=True)
class Components:
    """Variance components of two tests, from a study of so many cases; a power calculation needs them."""

    test_reader: float
    """Var(τR), which may come out negative."""
    error: float
    cov1: float
    cov2: float
    cov3: float
    cases: int


VAN_DYKE = Components(test_reader=0.00020040252, error=0.00080228827, cov1=0.00034661371, cov2=0.00034407483,
                      cov3=0.00023902837, cases=114)
"""Of AUCs: five readers, two kinds of MRI (Van Dyke 1993), the example of Hillis and others 2011; as OR-DBM MRMC 2.51
prints them, with the digits of RJafroc."""


@dataclass(frozen=True)
class Average:
    """A figure averaged over readers, or a difference of two."""

    value: float
    low: float
    high: float
    """The 95 % interval for other readers and other cases; of one reader for other cases only. NaN where there is
    none: all readers alike, and no case that matters."""
    error: float
    """The standard error."""
    df: float
    """Degrees of freedom; infinite for one reader."""
    p: float = float("nan")
    """Of a difference: two-sided, of F = (value / error)² with 1 and `df` degrees of freedom."""


@dataclass(frozen=True)
class Studied:
    """A figure of several tests by the same readers."""

    figures: Floats
    """(test, reader)"""
    covariances: Floats
    """(test, reader, test, reader), of the errors"""
    cases: int
    """Groups that were left out in turn."""
    drawn: Floats
    """(draw, test): the averages when readers and patients are drawn with replacement."""


def studied(tests: Sequence[Task], figure: Figure, draws: int = DRAWS, seed: int = 0) -> Studied:
    """A figure of every test and reader, its jackknife covariances, and a bootstrap over readers and groups."""
    _, codes = np.unique([group for test in tests for group in test.groups], return_inverse=True)
    members = np.split(codes, np.cumsum([len(test.groups) for test in tests])[:-1])
    count, readers = int(codes.max()) + 1, len(tests[0].scores)

    def values(weights: Floats) -> Floats:
        """(draw, test, reader) from the weights of groups, (draw, group)."""
        return np.stack([np.stack([_figure(figure, scores, test.positive, weights[:, member])
                                   for scores in test.scores], axis=1)
                         for test, member in zip(tests, members, strict=True)], axis=1)

    left = values(1 - np.eye(count))
    off = left - left.mean(0)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, readers, (draws, readers))
    drawn = values(rng.multinomial(count, np.full(count, 1 / count), draws).astype(np.float64))
    averaged = np.take_along_axis(drawn, picks[:, None, :], axis=2).mean(2)
    return Studied(values(np.ones((1, count)))[0], (count - 1) / count * np.einsum("kij,kab->ijab", off, off), count,
                   averaged[~np.isnan(averaged).any(1)])


def average(found: Studied, test: int) -> Average:
    """A test's figure averaged over readers: standard error √([MS(R) + r max(Cov2, 0)] / r), Hillis's degrees of
    freedom [MS(R) + r max(Cov2, 0)]² / [MS(R)² / (r − 1)], each of this test alone (Hillis 2007)."""
    figures = found.figures[test]
    r, covariances = len(figures), found.covariances[test, :, test]
    if r == 1:
        return _interval(float(figures[0]), float(covariances[0, 0]), float("inf"))
    spread, shared = float(figures.var(ddof=1)), r * max(_off_diagonal(covariances), 0.0)
    return _interval(float(figures.mean()), (spread + shared) / r, _degrees(spread, shared, r))


def difference(found: Studied, first: int, second: int) -> Average:
    """By how much the second test's average exceeds the first's: see `compared`."""
    return compared(found.figures[[first, second]], components(found, first, second))


def compared(figures: Floats, parts: Components) -> Average:
    """The difference of two tests' averages from their (2, reader) figures and the error's components.

    F = MS(T) / [MS(TR) + r max(Cov2 − Cov3, 0)], with 1 and [MS(TR) + r max(Cov2 − Cov3, 0)]² / [MS(TR)² / (r − 1)]
    degrees of freedom. One reader: z² = difference² / 2(Var − Cov1), for other cases only.
    """
    r = figures.shape[1]
    value = float(figures[1].mean() - figures[0].mean())
    if r == 1:
        return _interval(value, 2 * (parts.error - parts.cov1), float("inf"), tested=True)
    spread, shared = _interaction(figures), r * max(parts.cov2 - parts.cov3, 0.0)
    return _interval(value, 2 * (spread + shared) / r, _degrees(spread, shared, r), tested=True)


def components(found: Studied, first: int, second: int) -> Components:
    """The variance components of two tests; Var(τR) = MS(TR) − Var + Cov1 + max(Cov2 − Cov3, 0) (Hillis 2011, eq. 9),
    NaN for one reader."""
    own, other = found.covariances[first, :, first], found.covariances[second, :, second]
    cross = found.covariances[first, :, second]
    error, cov1 = float((np.trace(own) + np.trace(other)) / (2 * len(own))), float(np.trace(cross) / len(cross))
    cov2, cov3 = (_off_diagonal(own) + _off_diagonal(other)) / 2, _off_diagonal(cross)
    spread = _interaction(found.figures[[first, second]]) if len(own) > 1 else float("nan")
    return Components(spread - error + cov1 + max(cov2 - cov3, 0.0), error, cov1, cov2, cov3, found.cases)


def power(effect: float, readers: int, cases: int, parts: Components, alpha: float = ALPHA) -> float:
    """The probability that a study of so many readers, who all read all of so many cases with both tests, gives
    p < `alpha` where the averages differ by `effect` > 0 (Hillis, Obuchowski and Berbaum 2011). The error's components
    shrink as 1 / cases, which takes the same share of positive cases for granted:

    λ = r d² / 2 / [Var(τR) + c*/c (Var − Cov1 + (r − 1) max(Cov2 − Cov3, 0))], with 1 and
    [the same]² (r − 1) / [Var(τR) + c*/c (Var − Cov1 − max(Cov2 − Cov3, 0))]² degrees of freedom.
    """
    known, own = parts.cases / cases, max(parts.test_reader, 0.0)
    apart, shared = parts.error - parts.cov1, max(parts.cov2 - parts.cov3, 0.0)
    whole, spread = own + known * (apart + (readers - 1) * shared), own + known * (apart - shared)
    df = whole**2 * (readers - 1) / spread**2
    return float(stats.ncf.sf(stats.f.isf(alpha, 1, df), 1, df, readers * effect**2 / 2 / whole))


def _figure(figure: Figure, scores: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """One reader's figure under each row of weights, (draw, case); NaN where no case counts."""
    read = ~np.isnan(scores)
    ill, well = positive & read, ~positive & read
    if figure == "AUC":
        gap = scores[ill][:, None] - scores[well][None]
        wins = np.einsum("dp,pn,dn->d", weights[:, ill], (np.sign(gap) + 1) / 2, weights[:, well], optimize=True)
        return _ratio(wins, weights[:, ill].sum(1) * weights[:, well].sum(1))
    counted = {"sensitivity": ill, "specificity": well, "accuracy": read}[figure]
    right = (scores[counted] > 0) == positive[counted]
    return _ratio(weights[:, counted] @ right, weights[:, counted].sum(1))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.asarray(np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0), np.float64)


def _interaction(figures: Floats) -> float:
    """MS(TR) of two tests: half the variance of the readers' differences."""
    return float((figures[1] - figures[0]).var(ddof=1) / 2)


def _off_diagonal(matrix: Floats) -> float:
    n = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (n * (n - 1))) if n > 1 else 0.0


def _degrees(spread: float, shared: float, readers: int) -> float:
    return (spread + shared) ** 2 * (readers - 1) / spread**2 if spread > 0 else float("inf")


def _interval(value: float, variance: float, df: float, *, tested: bool = False) -> Average:
    if not variance > 0:
        nothing = float("nan")
        return Average(value, nothing, nothing, nothing, df)
    error = float(np.sqrt(variance))
    far = float(stats.t.ppf(0.975, df)) * error
    p = float(2 * stats.t.sf(abs(value) / error, df)) if tested else float("nan")
    least = -1.0 if tested else 0.0
    return Average(value, max(least, value - far), min(1.0, value + far), error, df, p)
