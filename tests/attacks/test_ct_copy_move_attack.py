"""Copies within a chest CT: which values come to lie where, worked out by hand on volumes whose values are places."""

import numpy as np
import pytest
from forging import chest
from scipy import ndimage

from scanward.anatomy.lung import lungs_of
from scanward.attacks.base import Lesion
from scanward.attacks.ct_copy_move import CtCopyMove, CtCopyMoveRemove
from scanward.image import Image

SPACING = (2.0, 1.0, 1.0)


def numbered():
    """A volume whose every value says where it stands: 10,000 z + 100 y + x."""
    z, y, x = np.mgrid[:20, :60, :60]
    return Image((10000 * z + 100 * y + x).astype(np.float32), "CT", SPACING, integer=False)


def applied(**more):
    params = {"centre": [10.0, 30.0, 40.0], "spacing": list(SPACING), "diameter_mm": 8.0, "source": [5, 20, 15],
              "flips": [False] * 3, "turn": 0.0, "rim_mm": 0.0, "offset_hu": 0.0, "strength": 1.0, **more}
    host = numbered()
    patch = CtCopyMove().apply(host, params)
    made = host.pixels.copy()
    made[patch.box.slices] = patch.values
    mask = np.zeros(host.shape, bool)
    mask[patch.box.slices] = patch.mask
    return host.pixels, made, mask


@pytest.mark.parametrize(("more", "there"), [
    ({}, (5 + 1, 20 + 2, 15 + 1)),
    ({"flips": [True, False, False]}, (5 - 1, 20 + 2, 15 + 1)),
    ({"flips": [False, True, False]}, (5 + 1, 20 - 2, 15 + 1)),
    ({"flips": [False, False, True]}, (5 + 1, 20 + 2, 15 - 1)),
    ({"turn": 180.0}, (5 + 1, 20 - 2, 15 - 1)),
    ({"turn": 90.0}, (5 + 1, 20 - 1, 15 + 2)),  # right was (x, y) = (1, 2); a quarter turn takes (2, -1) there
], ids=str)
def test_stored_values_come_from_the_place_that_the_transform_says(more, there):
    before, made, _ = applied(**more)
    assert made[10, 30, 40] == before[5, 20, 15]
    assert made[11, 32, 41] == before[there]


def test_only_the_ball_changes_and_the_truth_is_the_ball():
    before, made, mask = applied()
    z, y, x = np.mgrid[:20, :60, :60]
    ball = np.sqrt((2.0 * (z - 10)) ** 2 + (y - 30) ** 2 + (x - 40) ** 2) <= 4
    assert np.array_equal(made != before, ball)
    assert np.array_equal(mask, ball)


def test_a_rim_blends_and_an_offset_is_added():
    before, made, mask = applied(rim_mm=2.0, offset_hu=50.0)
    assert made[10, 30, 40] == before[5, 20, 15] + 50
    # 3 mm from the centre: half of the rim, so half of each
    assert made[10, 30, 43] == pytest.approx(0.5 * before[10, 30, 43] + 0.5 * (before[5, 20, 18] + 50))
    assert mask[10, 30, 43] and not mask[10, 30, 44]


def test_a_tilt_turns_what_it_copies():
    x = np.mgrid[:20, :60, :60][2]
    ramp = Image((3.0 * x).astype(np.float32), "CT", SPACING, integer=False)
    params = {"centre": [10.0, 30.0, 30.0], "spacing": list(SPACING), "diameter_mm": 12.0, "source": [8, 30, 30],
              "flips": [False] * 3, "turn": 30.0, "rim_mm": 0.0, "offset_hu": 0.0, "strength": 1.0}
    patch = CtCopyMove().apply(ramp, params)
    # from the right comes x cos + y sin, as with the quarter turn above
    inner = patch.values[:, 6 - 3:6 + 4, 6 - 3:6 + 4][3]
    assert np.gradient(inner, axis=1).mean() == pytest.approx(3 * np.cos(np.pi / 6), abs=1e-3)
    assert np.gradient(inner, axis=0).mean() == pytest.approx(3 * np.sin(np.pi / 6), abs=1e-3)


def test_what_is_drawn_hangs_on_the_seed_and_covers_every_kind():
    host = chest()
    lungs = lungs_of(host)
    drawn = [CtCopyMove().draw(host, Lesion((12, 60, 35), 8.0), np.random.default_rng(seed), anatomy=lungs)
             for seed in range(60)]
    again = CtCopyMove().draw(host, Lesion((12, 60, 35), 8.0), np.random.default_rng(3), anatomy=lungs)
    assert again == drawn[3]
    assert {one["turn"] for one in drawn} >= {0.0, 90.0, 180.0, 270.0}
    assert any(one["turn"] % 90 for one in drawn)
    assert {one["flips"][axis] for one in drawn for axis in range(3)} == {True, False}
    for one in drawn:
        away = np.linalg.norm((np.array(one["source"]) - one["centre"]) * host.spacing)
        assert away > 8  # apart, or there would be nothing to see
        assert lungs.mask[lungs.at(tuple(one["source"]))]


def test_the_dense_one_takes_a_nodule_and_the_remover_calm_lung():
    host = chest()
    z, y, x = np.mgrid[:24, :120, :120]
    nodule = np.exp(-((z - 12) ** 2 + (y - 60) ** 2 + (x - 85) ** 2) / (2 * 1.5**2))
    host = Image(np.rint(host.pixels + 800 * nodule).astype(np.float32), "CT", host.spacing)
    place = Lesion((12, 60, 35), 10.0)
    inside = []
    for attack in (CtCopyMove(), CtCopyMoveRemove()):
        for seed in range(12):
            params = attack.draw(host, place, np.random.default_rng(seed))
            patch = attack.apply(host, {**params, "offset_hu": 0.0})
            inside.append(float(patch.values[ndimage.binary_erosion(patch.mask)].mean()))
    assert max(inside[12:]) < -800
    assert np.median(inside[:12]) > np.median(inside[12:])
