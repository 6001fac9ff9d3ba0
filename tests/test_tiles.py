"""Cutting and merging on answers written by hand, and sums against the plain loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanward import tiles

PLANE = np.arange(16, dtype=np.float32).reshape(4, 4)


def test_cut_by_hand():
    cut = tiles.cut(PLANE, 2, 2)
    assert cut.tolist() == [[[[0, 1], [4, 5]], [[2, 3], [6, 7]]], [[[8, 9], [12, 13]], [[10, 11], [14, 15]]]]


def test_merge_by_hand():
    """2×2 tiles at every pixel of a 3×3 plane: the middle is the mean of all four."""
    merged = tiles.merge(np.array([[1.0, 2.0], [3.0, 6.0]]), (3, 3), 2, 1)
    assert merged.tolist() == [[1, 1.5, 2], [2, 3, 4], [3, 4.5, 6]]


def test_merge_leaves_what_no_tile_covers_at_zero():
    merged = tiles.merge(np.array([[5.0]]), (3, 4), 2, 2)
    assert merged.tolist() == [[5, 5, 0, 0], [5, 5, 0, 0], [0, 0, 0, 0]]


def test_merging_what_was_cut_restores_a_plane_of_tile_means():
    flat = np.full((8, 8), 3.0, np.float32)
    means = tiles.cut(flat, 4, 2).mean((2, 3))
    assert np.array_equal(tiles.merge(means, flat.shape, 4, 2), flat)


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 20), st.integers(0, 20))
def test_window_sums_are_the_sums_of_the_tiles(size, stride, extra_y, extra_x):
    plane = np.random.default_rng(size).normal(size=(size + extra_y, size + extra_x))
    expected = tiles.cut(plane, size, stride).sum((2, 3))
    assert np.allclose(tiles.window_sums(plane, size, stride), expected)
    assert expected.size == len(tiles.origins(plane.shape, size, stride))


@given(st.integers(1, 90), st.integers(1, 90))
def test_padding_is_centred_and_loses_nothing(height, width):
    plane = np.random.default_rng(0).uniform(1, 2, (height, width)).astype(np.float32)
    canvas, (y, x) = tiles.pad_centred(plane, 64, 16)
    assert all(side >= 64 and (side == 64 or side % 16 == 0) for side in canvas.shape)
    assert np.array_equal(canvas[y:y + height, x:x + width], plane)
    assert np.count_nonzero(canvas) == plane.size
    assert abs(y - (canvas.shape[0] - height - y)) <= 1


@given(st.integers(1, 400), st.integers(1, 6), st.integers(0, 4))
def test_bands_keep_every_row_once_and_read_around_it(height, rows, halo):
    found = tiles.bands(height, rows * 16, halo * 16, 16)
    assert [row for _, _, keep, end in found for row in range(keep, end)] == list(range(height))
    for start, stop, keep, end in found:
        assert start == max(0, keep - halo * 16)
        assert stop == min(height, end + halo * 16)
        assert start % 16 == 0


def test_bands_refuse_a_halo_off_the_grid():
    with pytest.raises(ValueError, match="multiples"):
        tiles.bands(64, 32, 8, 16)
