"""Pairs of chest CT: what is altered and what is not, and what a network gets to see of it."""

import numpy as np
import pytest
from scipy import ndimage

from scanward.anatomy.airways import lungs_alone
from scanward.datasets.thorax import Scan
from scanward.detectors.ct_self_reference.reference import ACROSS, CHANNELS
from scanward.image import Image
from scanward.training import ct_bank
from scanward.training.ct_bank import LOWEST, SIDE, Bank, bank_of, forge_once, stabilised, variant
from scanward.training.ct_pairs import RECIPES, SHARES, Scene, forged, pick, region


def chest(seed=0, depth=16, spacing=(2.5, 0.8, 0.8), side=224):
    rng = np.random.default_rng(seed)
    _, y, x = np.mgrid[:depth, -1:1:side * 1j, -1:1:side * 1j]
    plane = np.where(np.hypot(y / 0.85, x / 0.95) < 1, 40.0, -1000.0)
    plane = np.where(np.hypot(y / 0.6, (np.abs(x) - 0.45) / 0.32) < 1, -850.0, plane)
    grain = ndimage.gaussian_filter(rng.standard_normal(plane.shape), (0, 0.5, 0.5))
    return Image(np.rint(plane + 25 * grain / grain.std()).astype(np.float32), "CT", spacing)


@pytest.fixture(scope="module")
def scans():
    made = [chest(seed) for seed in (0, 1)]
    return [Scan(name, image, lungs_alone(image)) for name, image in zip("ab", made, strict=True)]


def scene(shape=(9, 40, 40), seed=0):
    rng = np.random.default_rng(seed)
    cube, other, donor = (np.rint(-850 + 30 * rng.standard_normal(shape)).astype(np.float32) for _ in range(3))
    z, y, x = np.mgrid[:shape[0], :shape[1], :shape[2]]
    weight = np.clip(8 - np.sqrt((3 * (z - 4.0)) ** 2 + (y - 20.0) ** 2 + (x - 20.0) ** 2), 0, 1).astype(np.float32)
    return Scene(cube, (2.5, 0.8, 0.8), weight, other, donor, rng)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_changes_its_region_and_nothing_else(name, seed):
    given = scene(seed=seed)
    made = forged(name, given)
    assert made.shape == given.cube.shape and np.isfinite(made).all()
    assert np.array_equal(made[given.weight == 0], given.cube[given.weight == 0])
    assert np.abs(made - given.cube)[given.weight == 1].mean() > 1


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works_on_a_single_slice(name):
    given = scene((1, 40, 40))
    weight = np.zeros((1, 40, 40), np.float32)
    weight[0, 12:28, 12:28] = 1
    made = forged(name, Scene(given.cube, given.spacing, weight, given.noise_from, given.donor, given.rng))
    assert made.shape == (1, 40, 40) and np.isfinite(made).all()


def test_a_region_is_as_large_as_asked_for_whatever_the_slices_distance():
    for spacing in ((1.0, 0.7, 0.7), (5.0, 0.9, 0.9)):
        image = Image(np.zeros((60, 120, 120), np.float32), "CT", spacing)
        volumes = []
        for seed in range(12):
            made = region(image, (30.0, 60.0, 60.0), 16.0, np.random.default_rng(seed))
            assert made.weight[0].max() == 0 or made.box[0].start == 0
            volumes.append((made.weight >= 0.5).sum() * np.prod(spacing))
        assert (6 * np.median(volumes) / np.pi) ** (1 / 3) == pytest.approx(16, rel=0.15)


def test_every_recipe_is_drawn():
    rng = np.random.default_rng(0)
    drawn = [pick(rng, SHARES) for _ in range(2000)]
    assert set(drawn) == set(RECIPES)
    assert drawn.count("resampled") / 2000 == pytest.approx(SHARES["resampled"], abs=0.04)


def test_another_scanners_scan_is_whole_numbers_of_the_same_patient():
    image = chest()
    for seed in range(12):
        made = variant(image, np.random.default_rng(seed))
        assert np.array_equal(made.pixels, np.rint(made.pixels)) and made.pixels.min() >= image.pixels.min()
        assert made.shape[0] * made.spacing[0] == pytest.approx(image.shape[0] * 2.5, rel=0.15)
        assert abs(float(np.median(made.pixels)) - float(np.median(image.pixels))) < 30


def test_a_forgery_changes_the_box_that_it_names(scans):
    made = [forge_once(scans[0], scans[0].image, scans, np.random.default_rng(seed)) for seed in range(8)]
    for one in filter(None, made):
        before = scans[0].image.pixels[one.box]
        assert one.values.shape == one.truth.shape == before.shape and one.truth.any(), one.name
        assert np.abs(one.values - before)[one.truth].mean() > 0.5
        assert one.donor == ("b" if one.name == "foreign" else "")


def test_a_bank_shows_the_same_slices_twice_and_what_was_forged(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(ct_bank, "VISIT", 6)
    bank = bank_of(tmp_path, scans[0], scans, 40, seed=1)
    assert bank is not None and len(bank) >= 8
    for index in range(len(bank)):
        before, after = (np.asarray(bank.planes[index, half], np.int32) for half in (0, 1))
        truth = np.asarray(bank.masks[index]) > 0
        assert truth.any() and truth.shape == (SIDE, SIDE)
        changed = before[1] != after[1]
        assert changed[truth].mean() > 0.3
        far = ~ndimage.binary_dilation(truth, iterations=16)
        assert changed[far].mean() < 0.02
        gains = np.asarray(bank.gains[index], np.float32)
        assert gains.shape == (2, CHANNELS, SIDE // 8, SIDE // 8) and (gains > 0).all()
    window = stabilised(bank, 0, 0)
    table = np.asarray(bank.tables[bank.about[0]["table"]])
    assert window[1, 3, 4] == table[int(bank.planes[0, 0, 1, 3, 4]) - LOWEST]
    again = bank_of(tmp_path, scans[0], [], 40, seed=2)
    assert again is not None and np.array_equal(np.asarray(again.planes), np.asarray(bank.planes))
    assert isinstance(again, Bank)


def test_windows_are_told_by_whose_tissue_they_show():
    rows = [{"scan": "a"}, {"scan": "a", "donor": ""}, {"scan": "a", "donor": "b"}, {"scan": "b", "donor": ""}]
    none = np.zeros(0)
    bank = Bank(none, none, none, rows, none)
    assert bank.showing({"a", "b"}) == [0, 1, 2, 3]
    assert bank.showing({"a"}) == [0, 1]
    assert bank.showing({"b"}) == [3]


def test_a_single_slice_shows_no_neighbours(tmp_path, monkeypatch):
    image = chest(3, depth=1)
    lungs = lungs_alone(Image(image.pixels, "CT", (60.0, 0.8, 0.8)))
    other = Scan("many/b", chest(4, depth=1), lungs)
    monkeypatch.setattr(ct_bank, "SINGLE", 6)
    bank = bank_of(tmp_path, Scan("many/a", image, lungs), [other], 40, seed=1)
    assert bank is not None
    assert not np.asarray(bank.gains)[:, :, list(ACROSS)].any()
