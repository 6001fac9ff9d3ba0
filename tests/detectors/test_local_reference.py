"""What grain should be like at each place: smooth changes are explained, forgeries are not."""

import cv2
import numpy as np
import pytest

from scanward.anatomy.breast import breast_mask
from scanward.detectors.self_reference.local import BLOCK, field_of, fitted, measure
from scanward.detectors.self_reference.reference import KERNELS, Reference, strips_of
from scanward.detectors.self_reference.reference import measure as measure_whole

EVERYWHERE = np.ones((768, 640), bool)


def film(sigma, seed=0, shape=(768, 640)):
    """Tissue whose grain has the standard deviation `sigma`, a number or (y, x)."""
    y, x = np.mgrid[:shape[0], :shape[1]]
    smooth = 2000 + 500 * np.sin(y / 90 + seed) * np.cos(x / 70)
    return (smooth + sigma * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def spreads(plane, reference, boxes):
    """Of the first residual, stabilised and divided by the local gain, in each box."""
    residual = cv2.filter2D(reference.stabilise(plane), -1, KERNELS[0])
    rows, columns = (-(-side // BLOCK) for side in plane.shape)
    gain = reference.gains_at(slice(0, rows), slice(0, columns))[0].repeat(BLOCK, 0).repeat(BLOCK, 1)
    return [float((residual * gain[:plane.shape[0], :plane.shape[1]])[box].std()) for box in boxes]


def test_grain_that_grows_from_one_side_to_the_other_is_even_once_it_is_divided_by_the_field():
    plane = film(np.linspace(10, 30, 640)[None])
    boxes = [np.s_[50:-50, start:start + 80] for start in (60, 280, 500)]
    global_ones = spreads(plane, measure_whole(plane, EVERYWHERE), boxes)
    assert global_ones[2] / global_ones[0] > 1.8
    assert spreads(plane, measure(plane, EVERYWHERE), boxes) == pytest.approx([1, 1, 1], abs=0.1)


def test_even_grain_has_an_even_field():
    found = measure(film(15.0), EVERYWHERE)
    assert found.field.shape == (15, 48, 40)
    assert np.median(np.abs(np.log(found.field))) < 0.05


def test_a_forgery_of_a_tenth_of_the_image_hardly_moves_its_own_field():
    plane = film(15.0)
    forged = plane.copy()
    forged[200:424, 200:424] = film(4.0)[200:424, 200:424]
    before, after = (measure(one, EVERYWHERE).field[:, 14:25, 14:25] for one in (plane, forged))
    # its grain is a quarter of the rest's: a field that followed it would be four times as large
    assert np.exp(np.mean(np.log(after / before))) < 1.35
    inside = spreads(forged, measure(forged, EVERYWHERE), [np.s_[220:400, 220:400], np.s_[500:700, 300:600]])
    assert inside[0] < 0.5 < inside[1]


def test_a_turned_film_has_the_turned_field():
    plane = film(np.linspace(10, 30, 640)[None])
    there = measure(plane, EVERYWHERE).field
    back = measure(np.ascontiguousarray(plane[::-1, ::-1]), EVERYWHERE).field[:, ::-1, ::-1]
    assert np.abs(np.log(there / back)).mean() < 0.05


def test_too_few_blocks_have_no_field():
    plane = film(15.0, shape=(96, 96))
    tissue = np.ones(plane.shape, bool)
    found = measure(plane, tissue)
    assert found is not None and found.field is None
    assert measure(np.full((512, 512), 9, np.float32), np.ones((512, 512), bool)) is None


def test_blocks_that_are_cut_off_at_white_are_left_out_of_the_fit():
    plane = film(15.0)
    reference = measure_whole(plane, EVERYWHERE)
    cut = plane.copy()
    cut[:, :320] = plane.max()
    free = field_of(cut, EVERYWHERE, reference, strips_of(EVERYWHERE))
    assert np.abs(np.log(free[:, :, 24:])).mean() < 0.08


def test_coefficients_by_hand_and_without_the_outlier():
    columns = np.stack([np.ones(2000), np.arange(2000) / 2000], 1).astype(np.float32)
    values = columns @ np.array([[1.0], [2.0]], np.float32) + 0.01 * np.random.default_rng(0).normal(size=(2000, 1))
    values[::8] += 5
    assert fitted(columns, values.astype(np.float32))[:, 0] == pytest.approx([1, 2], abs=0.1)


def test_gains_of_a_part_by_hand():
    field = np.arange(15 * 3 * 2, dtype=np.float32).reshape(15, 3, 2)
    reference = Reference(np.arange(3.0), np.arange(3.0), np.full(15, 2, np.float32), field)
    assert reference.gains_at(slice(1, 3), slice(0, 1))[1].tolist() == [[16], [20]]
    # beyond the image its last blocks go on
    assert reference.gains_at(slice(2, 4), slice(1, 3))[0].tolist() == [[10, 10], [10, 10]]
    part = reference.within((slice(16, 48), slice(16, 32)))
    assert part.gains_at(slice(0, 2), slice(0, 1))[0].tolist() == [[6], [10]]


def test_the_field_of_a_film_with_black_beside_it_is_of_the_film():
    plane = np.zeros((1024, 800), np.float32)
    y, x = np.mgrid[:1024, :800]
    inside = np.hypot(y - 512, x) < 600
    plane[inside] = film(12.0, shape=(1024, 800))[inside]
    found = measure(plane, breast_mask(plane))
    assert np.isfinite(found.field).all() and found.field.shape == (15, 64, 50)
