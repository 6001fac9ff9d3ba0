"""Free response against answers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanward.bench.free_response import Reading, film_auc, peaks, read, sensitivity

NONE = -np.inf
FILMS = (Reading(0.9, (0.9, 0.3), (0.5,)), Reading(0.8, (), (0.8, 0.2)), Reading(0.6, (0.6,), ()),
         Reading(0.4, (), (0.4, 0.1)))
"""Three lesions (.9, .6, .3) and five false places (.8, .5, .4, .2, .1) in four films."""


@pytest.mark.parametrize(("allowed", "found"), [
    (0.0, 1 / 3),   # none may be false: only what is above .8
    (0.25, 2 / 3),  # one may: above .5
    (0.5, 2 / 3),   # two may: above .4
    (0.75, 1.0),    # three may: above .2
    (2.0, 1.0)])
def test_sensitivity_at_so_many_false_positives_a_film(allowed, found):
    assert sensitivity(FILMS, allowed) == pytest.approx(found)


def test_a_lesion_that_nothing_points_at_is_never_found():
    assert sensitivity([Reading(0.7, (NONE, 0.7), ())], 100) == 0.5


def test_a_lesion_as_loud_as_a_place_that_is_one_too_many_is_not_found():
    assert sensitivity([Reading(0.5, (0.5,), (0.5,))], 0.5) == 0.0


def test_without_lesions_there_is_no_sensitivity():
    assert np.isnan(sensitivity([Reading(0.5, (), (0.5,))], 1.0))


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4).filter(lambda w: w[0] + w[2] and w[1] + w[3]),
       st.sampled_from([0.0, 0.5, 1.0]))
def test_a_weight_counts_a_film_so_many_times(weights, allowed):
    drawn = [film for film, times in zip(FILMS, weights, strict=True) for _ in range(times)]
    assert sensitivity(FILMS, allowed, weights) == pytest.approx(sensitivity(drawn, allowed))
    assert film_auc(FILMS, weights) == pytest.approx(film_auc(drawn))


def test_area_over_films():
    assert film_auc(FILMS) == 0.75  # .9 beats .8 and .4, .6 beats .4 alone


def test_a_hit_lies_within_the_radius_or_ten_millimetres():
    small, large = (0.0, 0.0, 6.0), (100.0, 0.0, 40.0)
    said = read([(0.9, 0, 9.9), (0.8, 0, 10.1), (0.7, 119.9, 0), (0.6, 100, 0), (0.5, 120.1, 0)], [small, large])
    assert said == Reading(0.9, (0.9, 0.7), (0.8, 0.5))


def test_a_film_where_nothing_is_pointed_at():
    assert read([], [(0.0, 0.0, 6.0)]) == Reading(NONE, (NONE,), ())


def test_peaks_are_apart_and_the_loudest_comes_first():
    heat = np.zeros((40, 40), np.float32)
    heat[5, 5], heat[5, 8], heat[30, 20], heat[30, 26] = 0.5, 0.4, 0.9, 0.7
    assert [(round(v, 1), y, x) for v, y, x in peaks(heat, 5, most=3)] == [(0.9, 30, 20), (0.7, 30, 26), (0.5, 5, 5)]
