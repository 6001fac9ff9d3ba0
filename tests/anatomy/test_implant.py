"""An implant is a plateau with a steep rim; dense tissue, muscle and bright films are none."""

import numpy as np
import pytest

from scanward.anatomy.implant import shows_implant


def breast(seed=0, size=600):
    """A half disc of restless tissue on black (y, x), 12 bits, and where each pixel lies from its middle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - size / 2, x)
    tissue = 900 + 250 * np.sin(y / 23) * np.cos(x / 31) + rng.normal(0, 40, (size, size))
    return np.where(distance < 0.45 * size, tissue, 0).astype(np.float32), distance


@pytest.mark.parametrize("level", [2000.0, 4000.0])
def test_a_plateau_with_a_steep_rim_is_an_implant(level):
    plane, distance = breast()
    assert not shows_implant(plane)
    inside = distance < 170
    plane[inside] = level + np.random.default_rng(1).normal(0, 15, int(inside.sum()))
    assert shows_implant(plane)
    assert shows_implant(plane[:, ::-1]) and shows_implant(0.05 * plane + 3)


def test_what_is_bright_otherwise_is_none():
    plane, distance = breast()
    gradual = np.where(distance < 270, plane + 3000 * np.exp(-np.square(distance / 120)), 0).astype(np.float32)
    assert not shows_implant(gradual), "it falls slowly, as a dense breast does"
    plane[distance < 60] = 4000
    assert not shows_implant(plane), "it is small, as a mass is"
    assert not shows_implant(np.zeros((40, 40), np.float32)) and not shows_implant(np.ones((8, 900), np.float32))
