"""Copies that were not resampled, found by their identical values."""

from __future__ import annotations

import numpy as np
import pytest

from scanward.detectors.copy_move import exact

INSIDE = np.ones((300, 300), np.bool_)


def grain(levels: int = 6, seed: int = 0) -> np.ndarray:
    """Unrelated 8-bit grain of a few grey levels on a slope."""
    rng = np.random.default_rng(seed)
    return np.rint(100 + np.arange(300) / 5 + rng.normal(0, levels / 4, (300, 300))).astype(np.float32)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarter", range(4))
def test_a_small_patch_is_traced_to_where_it_came_from(mirror: bool, quarter: int) -> None:
    plane = grain()
    patch = plane[40:64, 50:74]
    plane[200:224, 220:244] = np.rot90(patch[::-1] if mirror else patch, quarter) + 9
    matches = exact.find(plane, INSIDE, 1)
    found = [m for m in matches if 190 < m.corner[1] + m.region.nonzero()[0].mean() < 230]
    assert found
    rows, columns = found[0].region.nonzero()
    assert 0.8 * patch.size < len(rows) < 1.3 * patch.size
    assert abs(rows.mean() + found[0].corner[1] - 211.5) < 2
    assert abs(columns.mean() + found[0].corner[0] - 231.5) < 2
    assert np.allclose(found[0].matrix @ [61.5, 51.5, 1.0], [231.5, 211.5]), "(x, y) of the patch's middle"
    assert found[0].log_nfa < -10


@pytest.mark.parametrize("levels", [2, 6])
def test_unrelated_grain_holds_no_copy(levels: int) -> None:
    assert all(m.log_nfa > 0 for m in exact.find(grain(levels), INSIDE, 1))


def test_a_painted_pattern_is_no_copy() -> None:
    """Every place of a pattern is the same as many others; so is every place of a flat area."""
    tile = np.random.default_rng(0).integers(90, 110, (10, 10)).astype(np.float32)
    for plane in (np.tile(tile, (30, 30)), np.full((300, 300), 80, np.float32)):
        assert exact.find(plane, INSIDE, 1) == []


def test_values_that_are_not_stored_ones_are_left_alone() -> None:
    assert exact.find(grain() + np.float32(0.5), INSIDE, 1) == []
    assert exact.find(grain() - np.float32(200), INSIDE, 1) == []


def test_the_answer_lies_on_the_working_grid() -> None:
    plane = np.kron(np.ones((2, 2), np.float32), grain()) + grain(seed=3)[:1, :1]
    plane = np.rint(plane + np.random.default_rng(5).normal(0, 2, plane.shape)).astype(np.float32)
    plane[400:440, 450:490] = plane[100:140, 120:160]
    found = exact.find(plane, INSIDE, 2)
    centres = [(m.corner[0] + m.region.nonzero()[1].mean(), m.corner[1] + m.region.nonzero()[0].mean()) for m in found]
    assert any(abs(x - 235) < 3 and abs(y - 210) < 3 for x, y in centres)
