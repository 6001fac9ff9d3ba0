"""Where the lungs are: a phantom whose answer is known, and real chests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from scanward.anatomy.lung import Lungs, grown, lungs_of, near
from scanward.datasets.chests import SHARP, scan_of
from scanward.image import Image


def chest(spacing=(2.5, 2.0, 2.0), depth=24):
    z, y, x = np.mgrid[:depth, :160, :180]
    plane = np.where(np.hypot((y - 80) / 70, (x - 90) / 85) < 1, 40.0, -1000.0)
    lungs = np.zeros(plane.shape, bool)
    for side in (50, 130):
        lungs |= np.hypot((y - 80) / 45, (x - side) / 25) < 1
    plane = np.where(lungs, -850.0, plane)
    nodule = np.sqrt((z - 12) ** 2 * 6.25 + (y - 80) ** 2 * 4 + (x - 50) ** 2 * 4) < 8
    plane = np.where(nodule, 30.0, plane)
    return Image(plane.astype(np.float32), "CT", spacing), lungs


def test_the_lungs_of_a_phantom_with_the_nodule_inside():
    image, truth = chest()
    found = lungs_of(image)
    assert found.mask[found.at((12, 80, 50))]
    assert not found.mask[found.at((12, 80, 90))]
    assert not found.mask[found.at((12, 2, 2))]
    volume = found.mask.sum() * np.prod(found.spacing)
    assert volume == pytest.approx(truth.sum() * 2.5 * 4, rel=0.08)
    index = found.at((12, 80, 50))
    assert np.abs(np.array(found.voxel(index)) - (12, 80, 50)).max() < 1.5


def test_depth_is_in_millimetres_and_the_ends_of_a_scan_are_no_edge():
    image, _ = chest()
    depth = lungs_of(image).depth
    assert depth.max() == pytest.approx(50, abs=4)
    assert depth[0].max() == pytest.approx(depth[12].max(), abs=0.1)


@pytest.mark.parametrize("diameter", [10, 20, 30])
@pytest.mark.parametrize("spacing", [(2.5, 2.0, 2.0), (1.0, 1.0, 1.0)])
def test_a_solid_lesion_of_any_size_lies_in_the_lungs(diameter, spacing):
    z, y, x = np.mgrid[:30, :150, :150]
    plane = np.where(np.hypot(y - 75, x - 75) < 70, 40.0, -1000.0)
    plane = np.where(np.hypot(y - 75, x - 75) < 55, -850.0, plane)
    steps = zip((z - 15, y - 75, x - 75), spacing, strict=True)
    plane = np.where(sum((d * s) ** 2 for d, s in steps) < (diameter / 2) ** 2, 30.0, plane)
    found = lungs_of(Image(plane.astype(np.float32), "CT", spacing))
    assert found.mask[found.at((15, 75, 75))]


def test_the_couch_and_the_air_around_the_patient_are_no_lungs():
    image, _ = chest()
    pixels = image.pixels.copy()
    y, x = np.mgrid[:160, :180]
    pixels[:, (y > 152) & (y < 158) & (x > 20) & (x < 160)] = -1000
    foam = (y > 153) & (y < 157) & (x > 25) & (x < 155)
    pixels[:, foam] = -930
    found = lungs_of(Image(pixels, "CT", image.spacing))
    assert found.mask.sum() == lungs_of(image).mask.sum()
    assert not found.mask[found.at((12, 155, 90))]


def test_a_lung_that_the_field_of_view_cuts_off_is_one():
    image, _ = chest()
    y, x = np.mgrid[:160, :180]
    pixels = np.where(np.hypot(y - 80, x - 90) > 58, -1024, image.pixels).astype(np.float32)
    found = lungs_of(Image(pixels, "CT", image.spacing))
    assert found.mask[found.at((12, 80, 45))]
    assert found.mask[found.at((12, 80, 135))]
    assert not found.mask[found.at((12, 80, 28))]


@pytest.mark.parametrize("value", [-1000.0, 40.0])
def test_nothing_but_air_or_tissue_has_no_lungs(value):
    image = Image(np.full((20, 64, 64), value, np.float32), "CT", (2.5, 2.0, 2.0))
    assert not lungs_of(image).mask.any()


@pytest.mark.data("ct", "mias")
def test_a_real_chest_has_two_lungs_of_a_usual_size():
    found = lungs_of(scan_of(SHARP))
    litres = found.mask.sum() * np.prod(found.spacing) / 1e6
    assert 2 < litres < 7
    middle = found.mask.shape[2] // 2
    halves = [found.mask[:, :, :middle].sum(), found.mask[:, :, middle:].sum()]
    assert min(halves) > 0.6 * max(halves)


@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20)),
       reach=st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), share=st.floats(0, 0.1))
def test_growing_a_mask_is_scipys_dilation(seed, shape, reach, share):
    mask = np.random.default_rng(seed).random(shape) < share
    offsets = np.mgrid[tuple(slice(-n, n + 1) for n in reach)]
    ball = np.linalg.norm(offsets, axis=0) <= 2.3
    assert (grown(mask, ball) == ndimage.binary_dilation(mask, ball)).all()


@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(st.integers(1, 9), st.integers(4, 20), st.integers(4, 20)),
       share=st.floats(0, 1))
def test_depth_is_the_distance_within_the_whole_volume(seed, shape, share):
    """Ends of the scan that the lungs reach, and borders of its slices, are none of theirs."""
    mask = ndimage.uniform_filter(np.random.default_rng(seed).random(shape), 3) < share
    mask[:, 0, 0] = False
    whole = ndimage.distance_transform_edt(np.pad(mask, ((1, 1), (0, 0), (0, 0)), mode="edge"), (2.0, 1.5, 1.0))
    assert np.allclose(Lungs(mask, (1.0, 1.0, 1.0), (2.0, 1.5, 1.0)).depth, whole[1:-1], atol=1e-5)


def test_holes_are_filled_where_a_lesion_could_leave_them():
    """A hole of 28 mm in one lung, of 44 mm in the other, and an inlet from the slice's border, which is no hole."""
    image, _ = chest()
    _, y, x = np.mgrid[:24, :160, :180]
    holes = (np.hypot(y - 100, x - 50) < 7) | (np.hypot(y - 80, x - 130) < 11) | ((x < 44) & (abs(y - 80) < 8))
    pixels = np.where(holes, 40, image.pixels).astype(np.float32)[:, :, 34:]
    found = lungs_of(Image(np.ascontiguousarray(pixels), "CT", image.spacing))
    assert found.mask[found.at((12, 100, 50 - 34))]
    assert not found.mask[found.at((12, 80, 130 - 34))] and not found.mask[found.at((12, 80, 2))]


def test_gas_of_the_bowel_below_and_of_the_throat_above_is_no_lung_but_a_collapsed_lung_beside_the_other_one_is():
    mask = np.zeros((60, 20, 40), np.bool_)
    mask[15:45, 3:17, 22:38] = True  # one lung
    collapsed, bowel, throat = mask.copy(), mask.copy(), mask.copy()
    collapsed[20:32, 5:12, 5:10] = True
    bowel[0:13, 4:12, 10:16] = True
    throat[50:58, 8:12, 18:22] = True
    assert np.array_equal(near(collapsed), collapsed)
    assert np.array_equal(near(bowel), mask)
    assert np.array_equal(near(throat), mask)


def test_two_lungs_however_unlike_stay_where_neither_is_a_tenth_of_the_other():
    mask = np.zeros((40, 10, 30), np.bool_)
    mask[20:40, :, 20:30] = True
    mask[0:9, 0:5, 0:5] = True  # 225 of 2000 voxels
    assert np.array_equal(near(mask), mask)
