"""The nipple, on breasts whose nipple is known."""

import numpy as np
import pytest

from scanward.anatomy.breast import breast_small
from scanward.anatomy.nipple import nipple_of

RADIUS = 220


def breast(muscle=False, nipple=None, marker=None):
    """A half disc of `RADIUS` about (300, 0), with a bump and a white marker where they are wanted; the muscle's edge
    falls from (40, 130) to (300, 0)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:600, :400].astype(np.float32)
    inside = np.hypot(y - 300, x) < RADIUS
    if nipple is not None:
        inside |= np.hypot(y - nipple[0], x - nipple[1]) < 12
    plane = np.where(inside, 1800 + rng.normal(0, 40, inside.shape), 30)
    if muscle:
        plane[(y < 300) & (x < 130)] = np.maximum(plane, 1800)[(y < 300) & (x < 130)]
        plane[y - 40 < 260 * (1 - x / 130)] = 3200
    if marker is not None:
        plane[np.hypot(y - marker[0], x - marker[1]) < 8] = 4095
    return plane.astype(np.float32)


def on_skin(degrees):
    """(y, x) of the skin, so far below the horizontal."""
    return 300 + RADIUS * np.sin(np.radians(degrees)), RADIUS * np.cos(np.radians(degrees))


def found(plane, oblique=False):
    return nipple_of(plane, breast_small(plane), oblique=oblique)


@pytest.mark.parametrize("degrees", [-25, 0, 20])
def test_what_bulges_is_the_nipple(degrees):
    y, x = on_skin(degrees)
    nipple = found(breast(nipple=(y, x)))
    assert nipple.distance(300 + (y - 300) * 232 / RADIUS, x * 232 / RADIUS) < 6


def test_of_a_smooth_breast_it_is_what_is_farthest_from_the_chest_wall():
    nipple = found(breast())
    assert nipple.distance(300, RADIUS) < 8
    assert nipple.inward == (0.0, -1.0)
    assert nipple.depth(300, 120) == pytest.approx(100, abs=3)


def test_of_an_oblique_view_it_is_what_is_farthest_from_the_muscle():
    """Its edge rises by 260 over 130, so that the line at a right angle to it falls by 1 over 2."""
    nipple = found(breast(muscle=True), oblique=True)
    assert nipple.inward == pytest.approx((-1 / 5**0.5, -2 / 5**0.5), abs=0.12)
    assert nipple.distance(300 + RADIUS / 5**0.5, 2 * RADIUS / 5**0.5) < 25


def test_a_breast_from_the_right_is_the_mirror_image_of_one_from_the_left():
    plane = breast(nipple=on_skin(15))
    one, other = found(plane), found(np.ascontiguousarray(plane[:, ::-1]))
    assert (other.y, other.x) == pytest.approx((one.y, 399 - one.x), abs=3)
    assert other.inward == (0.0, 1.0)


def test_a_marker_on_the_skin_hides_nothing():
    plain, marked = found(breast()), found(breast(marker=(300, RADIUS)))
    assert marked.distance(plain.y, plain.x) < 15


def test_a_crop_of_tissue_shows_none():
    assert found(np.random.default_rng(0).normal(1800, 40, (300, 300)).astype(np.float32)) is None
