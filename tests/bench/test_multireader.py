"""Multi-reader statistics, against arithmetic by hand and against published components and what followed from them."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanward.bench.multireader import (
    VAN_DYKE as PARTS,
)
from scanward.bench.multireader import (
    Components,
    Task,
    average,
    compared,
    components,
    difference,
    power,
    studied,
)
from scanward.metrics import drawn_interval

VAN_DYKE = np.array([[0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
                     [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169]])
"""AUCs of five readers with two kinds of MRI (Van Dyke 1993), as OR-DBM MRMC 2.51 (Hillis and others) prints them."""
PUBLISHED = Components(test_reader=0.00020040, error=0.00080229, cov1=0.00034661, cov2=0.00034407, cov3=0.00023903,
                       cases=114)


def test_the_published_components_give_the_published_test():
    """What the same programme prints of them: F(1, 15.26) = 4.46, p = .0517, .04380 ± .02075, −.00036 to .08796."""
    found = compared(VAN_DYKE, PUBLISHED)
    assert found.value == pytest.approx(0.04380, abs=5e-6) and found.error == pytest.approx(0.02075, abs=5e-6)
    assert found.df == pytest.approx(15.26, abs=5e-3) and found.p == pytest.approx(0.0517, abs=5e-5)
    assert (found.value / found.error) ** 2 == pytest.approx(4.46, abs=5e-3)
    assert (found.low, found.high) == (pytest.approx(-0.00036, abs=1e-5), pytest.approx(0.08796, abs=1e-5))


def test_one_reader_is_compared_over_cases_only():
    """Reader 1 alone: .02818 ± .02551, p = .2693, −.02182 to .07818."""
    found = compared(VAN_DYKE[:, :1], Components(float("nan"), 0.00069890, 0.00037347, 0, 0, 114))
    assert found.error == pytest.approx(0.02551, abs=5e-6) and found.p == pytest.approx(0.2693, abs=5e-5)
    assert np.isinf(found.df)
    assert (found.low, found.high) == (pytest.approx(-0.02182, abs=1e-5), pytest.approx(0.07818, abs=1e-5))


@pytest.mark.parametrize(("effect", "readers", "cases", "published"), [(0.043800322, 10, 165, 0.80541995),
                                                                       (0.043800322, 6, 111, 0.5526116)])
def test_the_published_power(effect, readers, cases, published):
    """As RJafroc prints it of the same components."""
    assert power(effect, readers, cases, PARTS) == pytest.approx(published, abs=2e-6)


def test_the_published_number_of_cases():
    """RJafroc: six readers need 251 cases for a power of .80."""
    assert power(0.043800322, 6, 250, PARTS) < 0.80 <= power(0.043800322, 6, 251, PARTS)


def test_power_without_an_effect_is_the_level():
    assert power(1e-6, 4, 100, PARTS) == pytest.approx(0.05)
    assert power(0.05, 8, 100, PARTS) > power(0.05, 4, 100, PARTS) > power(0.05, 4, 50, PARTS)


def test_the_jackknife_by_hand():
    """Two readers, two patients of either kind; every AUC without one patient is counted out in fractions."""
    positive = np.array([True, True, False, False])
    scores = np.array([[2, 1, 1, -1], [1, -1, 0, -2]], float)
    # Reader 1: pairs 2>1, 2>-1, 1=1, 1>-1: 3.5/4; without each patient in turn 1.5/2, 2/2, 2/2, 1.5/2.
    # Reader 2: pairs 1>0, 1>-2, -1<0, -1>-2: 3/4; without each in turn 1/2, 2/2, 2/2, 1/2.
    left = [[Fraction(3, 4), 1, 1, Fraction(3, 4)], [Fraction(1, 2), 1, 1, Fraction(1, 2)]]
    means = [sum(row) / 4 for row in left]
    covariances = [[float(Fraction(3, 4) * sum((a - means[i]) * (b - means[j]) for a, b in zip(left[i], left[j],
                    strict=True))) for j in (0, 1)] for i in (0, 1)]
    found = studied([Task(scores, positive, ("a", "b", "c", "d"))], "AUC", draws=50)
    assert found.figures.tolist() == [[0.875, 0.75]] and found.cases == 4
    assert found.covariances[0, :, 0] == pytest.approx(np.array(covariances))
    # MS(R) = (.875 − .75)² / 2; Var = (MS(R) + 2 Cov2) / 2; df = (MS(R) + 2 Cov2)² / MS(R)²
    spread, shared = 0.125**2 / 2, 2 * covariances[0][1]
    one = average(found, 0)
    assert one.value == 0.8125 and one.error == pytest.approx(((spread + shared) / 2) ** 0.5)
    assert one.df == pytest.approx((spread + shared) ** 2 / spread**2)
    assert one.low >= 0 and one.high == 1  # cut off at what an AUC can be


def test_rates_count_what_was_read():
    scores = np.array([[1, -1, -3, np.nan], [2, 2, 1, -1]], float)
    task = Task(scores, np.array([True, True, False, False]), tuple("abcd"))
    assert studied([task], "sensitivity", 1).figures.tolist() == [[0.5, 1.0]]
    assert studied([task], "specificity", 1).figures.tolist() == [[1.0, 0.5]]
    assert studied([task], "accuracy", 1).figures.tolist() == [[2 / 3, 3 / 4]]
    assert studied([task], "AUC", 1).figures.tolist() == [[1.0, 1.0]]


def simulated(rng, cases, readers, gap, kinds=2, films_apart=False):
    """Ratings of readers who share what the cases are like: (tasks)."""
    positive = np.arange(cases) % 2 == 0
    skill = rng.normal(1.5, 0.3, readers)
    made = []
    for kind in range(kinds):
        case = rng.normal(0, 1, cases)
        raw = case + rng.normal(0, 0.7, (readers, cases)) + np.outer(skill + gap * kind, positive)
        made.append(Task(np.rint(raw * 2), positive, tuple(f"{kind if films_apart else 0} {i}" for i in range(cases))))
    return made


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Over 150 simulated studies without a difference, p < .05 in about 5 %, and both ways of drawing agree."""
    rng = np.random.default_rng(3)
    alarms, apart = 0, []
    for _ in range(150):
        found = studied(simulated(rng, 60, 4, 0.0, films_apart=True), "AUC", draws=200)
        one = difference(found, 0, 1)
        low, high = drawn_interval(found.drawn[:, 1] - found.drawn[:, 0])
        alarms += one.p < 0.05
        apart.append((high - low) / (one.high - one.low))
    assert alarms <= 15  # binomial(150, .05) exceeds it once in 400 times
    assert 0.6 < np.mean(apart) < 1.3
    strong = difference(studied(simulated(rng, 200, 6, 1.5), "AUC", draws=10), 0, 1)
    assert strong.p < 0.01 and strong.low > 0


def test_tasks_on_different_patients_share_no_error():
    found = studied(simulated(np.random.default_rng(0), 60, 3, 0.0, films_apart=True), "AUC", draws=1)
    parts = components(found, 0, 1)
    assert abs(parts.cov1) < 1e-6 < parts.cov2 and abs(parts.cov3) < 1e-6
    assert found.cases == 120


def test_readers_with_films_of_their_own_share_no_error():
    task = simulated(np.random.default_rng(1), 60, 3, 0.0, kinds=1)[0]
    dealt = np.full((3, 60), np.nan)
    for reader, start in product(range(3), range(10)):
        dealt[reader, start * 6 + 2 * reader:start * 6 + 2 * reader + 2] = 1
    found = studied([Task(task.scores * dealt, task.positive, task.groups)], "AUC", draws=1)
    own = found.covariances[0, :, 0]
    assert np.abs(own - np.diag(np.diag(own))).max() < 1e-6 < np.diag(own).min()


def test_where_nothing_varies_there_is_no_interval():
    positive = np.array([True, True, False, False])
    found = studied([Task(np.array([[1, 1, -1, -1]] * 3, float), positive, tuple("abcd"))], "AUC", draws=20)
    one = average(found, 0)
    assert one.value == 1 and np.isnan([one.low, one.high]).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_turning_the_tasks_round_turns_the_difference_round(seed):
    found = studied(simulated(np.random.default_rng(seed), 24, 3, 0.4), "AUC", draws=1)
    one, other = difference(found, 0, 1), difference(found, 1, 0)
    assert one.value == pytest.approx(-other.value) and one.p == pytest.approx(other.p, nan_ok=True)
    assert one.low == pytest.approx(-other.high, nan_ok=True)
