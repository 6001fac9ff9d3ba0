"""Forgeries go inside the breast."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanward.attacks.places import breast_mask, draw_places
from scanward.errors import ArgumentError
from scanward.image import Image


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(3, 60))
def test_places_lie_in_the_breast_as_deep_as_their_radius(make_film, seed: int, diameter: float) -> None:
    host = make_film(1, 8)
    inside = breast_mask(host.plane)
    y, x = np.mgrid[:200, :160]
    for place in draw_places(host, np.random.default_rng(seed), 5, diameter):
        assert place.diameter == diameter
        disc = np.hypot(y - place.y, x - place.x) < diameter / 2 - 2
        assert inside[disc].all()
        assert diameter / 2 - 2 <= place.y <= 201 - diameter / 2


def test_places_are_spread_and_reproducible(host: Image) -> None:
    first = draw_places(host, np.random.default_rng(4), 50, 20)
    assert first == draw_places(host, np.random.default_rng(4), 50, 20)
    assert np.std([p.y for p in first]) > 15 and np.std([p.x for p in first]) > 15
    assert first == draw_places(host.plane, np.random.default_rng(4), 50, 20)


def test_a_region_too_large_for_the_breast_lies_as_deep_as_it_can(host: Image) -> None:
    places = draw_places(host, np.random.default_rng(0), 20, 150)
    inside = breast_mask(host.plane)
    assert all(inside[round(p.y), round(p.x)] for p in places)


def test_a_crop_of_tissue_offers_all_of_itself(host: Image) -> None:
    crop = np.ascontiguousarray(host.plane[60:140, 10:90])
    places = draw_places(crop, np.random.default_rng(0), 200, 10)
    assert min(p.y for p in places) < 12 and max(p.y for p in places) > 68


@pytest.mark.parametrize("diameter", [0.0, 2.0, 161.0, float("nan")])
def test_refuses_diameters_that_do_not_fit(host: Image, diameter: float) -> None:
    with pytest.raises(ArgumentError):
        draw_places(host, np.random.default_rng(0), 1, diameter)
