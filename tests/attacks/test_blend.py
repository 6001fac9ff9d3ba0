"""Shapes and gradient-domain blending against exact answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import spsolve

from scanward.attacks.base import Lesion
from scanward.attacks.blend import Region, compose, membrane, poisson, region_of, start
from scanward.image import Image


def shape(kind: str = "ellipse", diameter: float = 40.0, feather: float = 0.0, **more: float) -> dict:
    return {"kind": kind, "y": 60.0, "x": 60.0, "diameter": diameter, "aspect": 1.0, "angle": 0.0, "seed": 1,
            "feather": feather} | more


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["ellipse", "blob", "polygon"]), st.floats(16, 60), st.integers(0, 10**6),
       st.floats(0.7, 1), st.floats(0, 180))
def test_shapes_have_the_area_of_the_disc_asked_for(kind, diameter, seed, aspect, angle) -> None:
    region = region_of(shape(kind, diameter, seed=seed, aspect=aspect, angle=angle), (240, 240))
    area = (region.weight >= 0.5).sum()
    assert area == pytest.approx(np.pi * diameter**2 / 4, rel=0.06)
    assert region.weight.min() >= 0 and region.weight.max() == 1


def test_a_sharp_disc_by_hand() -> None:
    region = region_of(shape(diameter=4.0), (120, 120))
    y0, x0 = region.origin
    full = np.zeros((120, 120))
    full[region.box] = region.weight
    rows = [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]
    got = full[58:63, 58:63]
    # pixels exactly on the edge, two away along the axes, weigh one half
    assert np.allclose(got, np.where(np.hypot(*np.mgrid[-2:3, -2:3]) == 2, 0.5, rows))
    assert full.sum() == got.sum()
    assert y0 < 58 and x0 < 58


def test_an_ellipse_is_longer_along_its_angle() -> None:
    lying = region_of(shape(aspect=0.5), (120, 120)).weight >= 0.5
    assert np.ptp(np.nonzero(lying.any(0))) == pytest.approx(2 * np.ptp(np.nonzero(lying.any(1))), rel=0.06)


def test_feather_spans_the_width_asked_for() -> None:
    region = region_of(shape(feather=10.0), (120, 120))
    row = region.weight[60 - region.origin[0], 60 - region.origin[1]:]
    partly = np.flatnonzero((row > 0) & (row < 1))
    assert partly.min() >= 15 and partly.max() <= 25
    assert 8 <= len(partly) <= 10
    assert (np.diff(row) <= 0).all()


def test_compose_by_hand() -> None:
    plane = np.full((4, 4), 10, np.float32)
    region = Region((slice(1, 3), slice(1, 3)), np.array([[0, 0.4], [0.5, 1]], np.float32))
    made = compose(plane, region, np.full((2, 2), 20, np.float32), 0.5)
    assert made.box == (0, 1, 1, 1, 3, 3)
    assert np.allclose(made.values[0], [[10, 12], [12.5, 15]])
    assert np.array_equal(made.mask[0], [[False, False], [True, True]])
    assert plane.max() == 10


def laplace_exactly(values: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Direct solution with zero-gradient borders, by sparse elimination."""
    height, width = values.shape
    index = np.arange(values.size).reshape(values.shape)
    matrix, right = sparse.lil_matrix((values.size, values.size)), np.zeros(values.size)
    for y in range(height):
        for x in range(width):
            i = index[y, x]
            if not unknown[y, x]:
                matrix[i, i], right[i] = 1, values[y, x]
                continue
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < height and 0 <= u < width:
                    matrix[i, i] += 1
                    matrix[i, index[v, u]] -= 1
    return spsolve(matrix.tocsr(), right).reshape(values.shape)


@pytest.mark.parametrize("seed", range(3))
def test_membrane_is_near_the_direct_solution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :36]
    values = (100 + 2 * y - x + 10 * np.sin(x / 5) * np.cos(y / 7) + rng.normal(0, 1, (40, 36))).astype(np.float32)
    unknown = np.hypot(y - 20, x - 15) < 12
    got, exact = membrane(values, unknown), laplace_exactly(values, unknown)
    assert np.array_equal(got[~unknown], values[~unknown])
    assert np.abs(got - exact).max() < 0.04 * np.ptp(values[~unknown])


def test_membrane_extremes() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(membrane(values, np.zeros((3, 4), bool)), values)
    assert np.allclose(membrane(values, np.ones((3, 4), bool)), 5.5)


@pytest.fixture
def textured() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:80, :90]
    host = (20000 + 100 * y + rng.normal(0, 300, (80, 90))).astype(np.float32)
    return host, np.hypot(y - 40, x - 45) < 20, rng.normal(0, 300, (80, 90)).astype(np.float32)


def test_poisson_ignores_a_constant(textured) -> None:
    host, inside, _ = textured
    assert np.abs(poisson(host, host + 9000, inside) - host).max() < 30


def test_poisson_keeps_the_sources_gradients(textured) -> None:
    host, inside, noise = textured
    source = 5000 + noise
    blended = poisson(host, source, inside)
    assert np.array_equal(blended[~inside], host[~inside])
    deep = np.hypot(*np.mgrid[-40:40, -45:45]) < 12
    both = deep & np.roll(deep, 1, 1)
    step = (blended - np.roll(blended, 1, 1))[both]
    wanted = (source - np.roll(source, 1, 1))[both]
    assert np.corrcoef(step, wanted)[0, 1] > 0.98
    assert blended[deep].mean() == pytest.approx(host[deep].mean(), abs=150)


def test_mixed_gradients_leave_the_host_where_the_source_is_flat(textured) -> None:
    host, inside, _ = textured
    blended = poisson(host, np.full_like(host, 123), inside, mixed=True)
    # plain gradients would lose the grain, of which 300 is the standard deviation
    assert np.abs(blended - host)[inside].mean() < 60
    assert np.abs(poisson(host, np.full_like(host, 123), inside) - host)[inside].mean() > 200


def test_start_draws_every_kind_and_sharp_edges_too() -> None:
    host = Image(np.zeros((1, 64, 64), np.float32), "MG")
    drawn = [start(host, Lesion((0, 30, 30), 20), np.random.default_rng(s), 1.0)["shape"] for s in range(80)]
    assert {d["kind"] for d in drawn} == {"ellipse", "blob", "polygon"}
    assert any(d["feather"] == 0 for d in drawn) and any(d["feather"] > 4 for d in drawn)
