"""The step from heat to findings, of planes and of volumes."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanward.box import Box
from scanward.detectors.base import findings_of, regions
from scanward.image import Image

CELL = 8
GRID = (2, 3, 3)
"""Boxes are planted one a cell, and never at its far end, so that no two of them touch."""


def image_like(heat, spacing=(1.0, 1.0, 1.0)):
    return Image(np.zeros(heat.shape, np.float32), "MG" if heat.shape[0] == 1 else "CT", spacing)


def found_in(heat, threshold=0.5, **options):
    return findings_of(heat, threshold, image_like(heat), "some", **options)


@st.composite
def planted(draw, grid=GRID):
    """Heat of background and boxes of different heat, and the boxes with theirs."""
    heat = np.full([CELL * n for n in grid], 0.25, np.float32)
    cells = draw(st.lists(st.sampled_from(list(np.ndindex(grid))), unique=True, max_size=6))
    boxes = {}
    for cell in cells:
        low = [CELL * c + draw(st.integers(0, 3)) for c in cell]
        size = draw(st.tuples(*[st.integers(2, 4)] * 3))
        box = Box(*low, *(a + b for a, b in zip(low, size, strict=True)))
        boxes[box] = (64 + len(boxes)) / 128
        heat[box.slices] = boxes[box]
    return heat, boxes


@given(planted())
def test_boxes_in_a_volume_come_back_as_they_are_the_hottest_first(made):
    heat, boxes = made
    found = found_in(heat)
    assert [f.box for f in found] == sorted(boxes, key=boxes.get, reverse=True)
    assert [f.score for f in found] == [boxes[f.box] for f in found]
    for f in found:
        assert all(f.box.x0 <= x < f.box.x1 and f.box.y0 <= y < f.box.y1 for x, y in f.outline)


@given(planted())
def test_nothing_lies_below_the_threshold(made):
    heat, boxes = made
    assert found_in(heat, threshold=0.75) == ()
    assert [f.box for f in found_in(heat, threshold=0.51)] == [f.box for f in found_in(heat) if boxes[f.box] >= 0.51]


@given(st.lists(st.sampled_from([0.0, 0.5, 0.625, 0.75]), min_size=16, max_size=16), st.integers(0, 2))
def test_heat_in_one_slice_of_a_volume_is_found_as_in_an_image_of_that_slice(values, z):
    plane = np.kron(np.array(values, np.float32).reshape(4, 4), np.ones((3, 3), np.float32))
    heat = np.zeros((3, *plane.shape), np.float32)
    heat[z] = plane
    alone = {dataclasses.replace(f, box=f.box._replace(z0=z, z1=z + 1), box_mm=None) for f in found_in(plane[None])}
    assert {dataclasses.replace(f, box_mm=None) for f in found_in(heat)} == alone


def test_slices_that_touch_at_a_corner_are_one_region_drawn_where_it_is_hottest():
    heat = np.zeros((5, 20, 20), np.float32)
    heat[1, 2:12, 3:15] = 0.6
    heat[2, 12:15, 15:19] = 0.9
    first, = findings_of(heat, 0.5, image_like(heat, (2.5, 0.5, 0.5)), "some")
    assert first.box == Box(1, 2, 3, 3, 15, 19) and first.score == np.float32(0.9)
    assert first.box_mm == (2.5, 1, 1.5, 7.5, 7.5, 9.5)
    assert set(first.outline) == {(15, 12), (18, 12), (18, 14), (15, 14)}


def test_regions_smaller_than_two_millimetres_a_side_are_dropped():
    heat = np.zeros((6, 20, 20), np.float32)
    heat[1:3, 2:4, 2:4], heat[4, 8:15, 8:9] = 0.9, 0.9
    assert [f.box for f in found_in(heat)] == [Box(1, 2, 2, 3, 4, 4)]  # 8 mm³, and 7
    assert len(found_in(heat, least_mm=1)) == 2
    assert [f.box for f in found_in(heat[1:2])] == [Box(0, 2, 2, 1, 4, 4)]
    fine = image_like(heat, (1.0, 0.9, 1.0))
    assert findings_of(heat, 0.5, fine, "some") == ()
    assert findings_of(heat[1:2], 0.5, dataclasses.replace(fine, pixels=fine.pixels[1:2]), "some") == ()


def test_what_was_called_tampered_has_a_place_though_its_heat_is_low():
    for slices in (1, 4):
        heat = np.zeros((slices, 20, 20), np.float32)
        heat[0, 5:8, 5:8] = 0.2
        assert [f.box for f in regions(heat, 0.5, image_like(heat), "some")] == [Box(0, 5, 5, 1, 8, 8)]
        assert regions(0 * heat, 0.5, image_like(heat), "some") == ()
