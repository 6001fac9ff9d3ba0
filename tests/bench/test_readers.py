"""The reader study's statistics against the report's own counts and tables computed by hand."""

import pytest

from scanward.bench.confusion import SOURCE, TARGET, Confusion
from scanward.bench.readers import BLIND, WARNED, association, power, power_of, resampled_power
from scanward.errors import ArgumentError


def test_the_published_p_comes_from_the_published_counts():
    tests = association(BLIND)
    assert tests.p == pytest.approx(0.00026, abs=5e-6)  # as printed: without Yates's correction
    assert tests.p < tests.p_fisher < tests.p_corrected < 0.001


def test_chi_square_by_hand():
    tests = association(((10, 20), (30, 40)))
    # (10·40 − 20·30)² · 100 / (30 · 70 · 40 · 60); corrected: (200 − 50)² in place of 200²
    assert tests.chi2 == pytest.approx(200**2 * 100 / (30 * 70 * 40 * 60))
    assert tests.chi2_corrected == pytest.approx(150**2 * 100 / (30 * 70 * 40 * 60))


def test_fisher_by_hand():
    assert association(((3, 0), (0, 3))).p_fisher == pytest.approx(2 / 20)  # the two extreme ones of C(6, 3) tables


def test_power_by_hand():
    # of two and two readings only (2, 0) and (0, 2) reach χ² = 4, p = .046; each comes up once in sixteen
    assert power(((1, 1), (1, 1))) == pytest.approx(2 / 16)
    assert power(((1, 1), (1, 1)), corrected=True) == 0  # there χ² is 1


def test_the_published_power_is_what_so_few_draws_may_give():
    exact = power(BLIND)
    assert exact == pytest.approx(0.956, abs=5e-4)
    drawn, low, high = resampled_power(BLIND)
    assert low <= drawn <= high
    assert low < exact < high
    assert low <= 0.968 <= high  # as printed
    assert power(BLIND, corrected=True) < exact


def test_power_before_the_study_is_the_same_as_after():
    assert power_of((36 / 80, 124 / 180), (80, 180)) == pytest.approx(power(BLIND))
    assert power_of((0.5, 0.5), (400, 400)) == pytest.approx(0.05, abs=0.01)


def test_resampling_nears_the_exact_power():
    drawn, low, high = resampled_power(((5, 15), (30, 20)), draws=200_000)
    assert high - low < 0.01
    assert drawn == pytest.approx(power(((5, 15), (30, 20))), abs=0.005)


def test_the_warned_readers():
    assert [round(100 * a / b, 1) for a, b in (WARNED.npv, WARNED.ppv, WARNED.tnr, WARNED.tpr, WARNED.accuracy)] == \
        [76.2, 61.9, 85.7, 46.4, 72.6]


def test_the_published_detector():
    assert [round(100 * a / b, 1) for a, b in (SOURCE.npv, SOURCE.ppv, SOURCE.tnr, SOURCE.tpr, SOURCE.accuracy)] == \
        [86.8, 93.8, 93.9, 86.5, 90.1]
    assert [round(100 * a / b, 1) for a, b in (TARGET.npv, TARGET.ppv, TARGET.tnr, TARGET.tpr, TARGET.accuracy)] == \
        [60.0, 66.7, 75.0, 50.0, 62.5]
    assert TARGET.balanced == pytest.approx(0.625)


def test_rates_of_nothing():
    assert Confusion(0, 0, 0, 0).npv == (0, 0)
    assert Confusion(0, 0, 1, 1).balanced != Confusion(0, 0, 1, 1).balanced  # NaN


@pytest.mark.parametrize("bad", [((0, 0), (1, 2)), ((0, 1), (0, 2)), ((-1, 2), (3, 4)), ((1.5, 2), (3, 4)),
                                 ((1, 2, 3), (4, 5, 6))], ids=str)
def test_tables_that_are_none(bad):
    with pytest.raises(ArgumentError, match="reader study"):
        association(bad)
