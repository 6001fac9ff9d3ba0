"""The CT detector's short cuts against the plain way: whole volumes, one slice after another, SciPy, no tables."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from scanward.anatomy.airways import lungs_alone
from scanward.detectors.ct_self_reference import CtSelfReference
from scanward.detectors.ct_self_reference.detect import (
    ALIGN,
    APART_MM,
    HALO,
    HEAT_MM,
    OUTSIDE,
    RIVAL,
    WINDOWS_MM,
    dense_logits,
    features_of,
    heat_of,
    peaks,
    pooled,
)
from scanward.detectors.ct_self_reference.reference import BLOCK, inside, measure, stack
from scanward.detectors.self_reference.reference import trimmed_sigma
from scanward.image import Image
from tests.detectors.test_ct_self_reference import chest, smoothed

SETTINGS = {"heat_slope": 1.3, "heat_offset": 0.4}


def sides_of(spacing, mm):
    return [max(1, 2 * round((mm / step - 1) / 2) + 1) for step in (spacing[0], 2 * spacing[1], 2 * spacing[2])]


def plain_logits(image, lungs, reference, infer):
    _, height, width = image.shape
    full = np.full((len(image.pixels), -(-height // 2), -(-width // 2)), -np.inf, np.float32)
    for z in range(len(image.pixels)):
        lung = inside(lungs, z, (height, width))
        places = np.argwhere(lung)
        if not len(places):
            continue
        top, left = np.maximum(places.min(0) - HALO, 0) // ALIGN * ALIGN
        bottom, right = np.minimum(places.max(0) + 1 + HALO, (height, width))
        hu = stack(image.pixels, z)[:, top:bottom, left:right]
        planes = np.interp(hu, reference.levels, reference.stabilised).astype(np.float32)
        planes = np.pad(planes, [(0, 0), *((0, -n % ALIGN) for n in planes.shape[1:])], mode="edge")
        gains = np.pad(reference.gains_at(image.pixels[z], z), [(0, 0), (0, 2), (0, 2)], mode="edge")
        rows, columns = (slice(first // BLOCK, (first + n) // BLOCK)
                         for first, n in zip((top, left), planes.shape[1:], strict=True))
        found = infer(planes, np.ascontiguousarray(gains[:, rows, columns]))
        half = cv2.resize(lung.astype(np.uint8), full.shape[:0:-1], interpolation=cv2.INTER_NEAREST) > 0
        for y, x in np.argwhere(half):
            if top // 2 <= y < -(-bottom // 2) and left // 2 <= x < -(-right // 2):
                full[z, y, x] = found[y - top // 2, x - left // 2]
    return full


def plain_pooled(logits, spacing, mm):
    clipped = np.clip(logits, OUTSIDE, -OUTSIDE).astype(np.float64)
    sides = sides_of(spacing, mm)
    planes = ndimage.uniform_filter(clipped, (1, *sides[1:]), mode="nearest")
    return ndimage.uniform_filter1d(planes, sides[0], axis=0, mode="constant", cval=OUTSIDE)


def plain_features(logits, spacing):
    found = []
    for mm in WINDOWS_MM:
        means = pooled(logits, spacing, mm)
        top = means == ndimage.maximum_filter(means, sides_of(spacing, APART_MM))
        places = [place for place in np.argwhere(top) if means[tuple(place)] > OUTSIDE + 0.01]
        kept, values = [], []
        for place in sorted(places, key=lambda at: -means[tuple(at)]):
            where = place * np.array([spacing[0], 2 * spacing[1], 2 * spacing[2]])
            if all(np.linalg.norm(where - other) > APART_MM for other in kept):
                kept.append(where)
                values.append(float(means[tuple(place)]))
        ranked = values + [OUTSIDE] * RIVAL
        found += [ranked[0], ranked[0] - ranked[RIVAL - 1]]
    return found


def plain_heat(logits, image):
    odds = SETTINGS["heat_slope"] * plain_pooled(logits, image.spacing, HEAT_MM) + SETTINGS["heat_offset"]
    probability = np.where(np.isneginf(logits), 0, 1 / (1 + np.exp(-odds))).astype(np.float32)
    large = [cv2.resize(plane, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR) for plane in probability]
    return np.stack(large)[:, :image.shape[1], :image.shape[2]]


def scattered(shape, seed):
    """Logits in two lumps that may touch the ends of the volume, -inf around them; so few are cut off that no two
    places are equally loud."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), (1, 3, 3))
    logits = (rng.normal(-2, 1, shape) + 1.5 * smooth / smooth.std()).astype(np.float32)
    z, y, x = np.mgrid[:shape[0], :shape[1], :shape[2]]
    kept = np.zeros(shape, bool)
    for centre in rng.uniform(0, shape, (2, 3)):
        kept |= np.sqrt(((z - centre[0]) / 4) ** 2 + ((y - centre[1]) / 14) ** 2 + ((x - centre[2]) / 11) ** 2) < 1
    return np.where(kept, logits, -np.inf).astype(np.float32)


@pytest.mark.parametrize(("shift", "cut"), [(0.0, 256), (0.25, 256), (0.0, 251)])
def test_logits_are_those_of_one_slice_after_another(shift, cut):
    """Of whole HU, which are looked up, of fractions, and where blocks and windows reach beyond the slice."""
    image, _ = smoothed(chest(depth=12, seed=5), centre=(6, 128, 72))
    image = dataclasses.replace(image, pixels=np.ascontiguousarray(image.pixels[:, 60:cut, :cut] + np.float32(shift)))
    lungs, infer = lungs_alone(image), CtSelfReference().infer
    reference = measure(image.pixels, lungs, image.spacing)
    plain = plain_logits(image, lungs, reference, infer)
    found = dense_logits(image, lungs, reference, infer)
    seen = np.isfinite(plain)
    assert seen.sum() > 10_000 and (np.isfinite(found) == seen).all()
    assert np.abs(found[seen] - plain[seen]).max() < 1e-3


def test_the_table_of_whole_hu_is_the_map_itself():
    image = chest(depth=10)
    reference = measure(image.pixels, lungs_alone(image), image.spacing)
    hu = np.random.default_rng(6).integers(-32768, 32768, (80, 90)).astype(np.float32)
    for values in (hu, hu + np.float32(0.5), 2 * hu):
        expected = np.interp(values, reference.levels, reference.stabilised).astype(np.float32)
        assert np.array_equal(reference.stabilise(values), expected)


def test_gains_of_some_blocks_are_a_part_of_all_of_them():
    image = chest(depth=10)
    reference = measure(image.pixels, lungs_alone(image), image.spacing)
    assert reference.coefficients is not None
    whole = reference.gains_at(image.pixels[4], 4)
    for rows, columns in ((slice(0, 32), slice(0, 32)), (slice(9, 10), slice(11, 20)), (slice(20, 32), slice(0, 3))):
        assert np.allclose(reference.gains_at(image.pixels[4], 4, (rows, columns)), whole[:, rows, columns], rtol=1e-4)


@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(8, 16), height=st.integers(30, 60), width=st.integers(30, 60),
       step=st.sampled_from([0.7, 1.25, 2.3, 3.7]), pixel=st.sampled_from([0.53, 0.8, 1.17]))
def test_features_and_heat_are_those_of_the_whole_volume(seed, depth, height, width, step, pixel):
    logits, spacing = scattered((depth, height, width), seed), (step, pixel, pixel)
    for mm in WINDOWS_MM:
        assert np.allclose(pooled(logits, spacing, mm), plain_pooled(logits, spacing, mm), atol=1e-5)
    if np.isfinite(logits).any():
        assert np.allclose(features_of(logits, spacing), plain_features(logits, spacing), atol=1e-3)
    for odd in (0, 1):
        image = Image(np.zeros((depth, 2 * height - odd, 2 * width - odd), np.float32), "CT", spacing)
        assert np.abs(heat_of(logits, image, SETTINGS) - plain_heat(logits, image)).max() < 1e-5


def test_a_slice_at_the_end_of_a_scan_counts_once():
    logits = np.zeros((9, 20, 20), np.float32)
    logits[0] = 3.0
    means = pooled(logits, (2.0, 0.5, 0.5), 6.0)  # of three slices
    assert np.allclose(means[:, 10, 10], [-1, 1, 0, 0, 0, 0, 0, 0, -2])  # (-6 + 3 + 0) / 3 first


def test_without_lungs_nothing_is_loud_and_there_is_no_heat():
    logits, image = np.full((8, 20, 20), -np.inf, np.float32), Image(np.zeros((8, 40, 40), np.float32), "CT")
    assert features_of(logits, (1.0, 1.0, 1.0)) == (OUTSIDE, 0.0) * len(WINDOWS_MM)
    assert not heat_of(logits, image, {}).any()
    assert len(peaks(pooled(logits, (1.0, 1.0, 1.0), 4.0), (1.0, 1.0, 1.0))[0]) == 0


@pytest.mark.parametrize("groups", [1, 7])
def test_trimmed_spreads_leave_out_what_lies_beyond_three(groups):
    rng = np.random.default_rng(7)
    magnitude, group = np.abs(rng.standard_normal(5000)), rng.integers(0, groups, 5000)
    magnitude[:200] *= 20
    for number, sigma in enumerate(trimmed_sigma(magnitude.astype(np.float32), group, groups)):
        own = magnitude.astype(np.float32).astype(np.float64)[group == number]
        kept = own
        for _ in range(3):
            expected = 1.2533 * kept.mean()
            kept = own[own <= 3 * expected]
        assert sigma == pytest.approx(expected, rel=1e-9) and expected == pytest.approx(1, abs=0.2)


def test_threads_get_each_their_own_answer(monkeypatch):
    monkeypatch.setenv("SCANWARD_ENGINE", "openvino")
    pytest.importorskip("openvino")
    infer, rng = CtSelfReference().infer, np.random.default_rng(8)
    given = [(rng.standard_normal((3, side, 64)).astype(np.float32), np.ones((16, side // 8, 8), np.float32))
             for side in (64, 96, 64, 128) * 4]
    alone = [infer(*one) for one in given]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda one: infer(*one), given))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one - other).max() < 1e-4
