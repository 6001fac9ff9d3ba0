"""Copies within a chest CT, on chests whose noise is known: found whichever way they lie, and nothing else is."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage

from scanward.anatomy import airways
from scanward.anatomy.airways import lungs_alone
from scanward.bench.purify import eight_bits, jpeg2000
from scanward.detectors.ct_copy_move import CtCopyMove
from scanward.detectors.ct_copy_move.slices import repeated, resampled
from scanward.detectors.ct_copy_move.verify import Move
from scanward.image import Image
from scanward.judging.scan import scan

SPACING = (2.5, 0.8, 0.8)
SOURCE, TARGET = (8, 110, 48), (12, 130, 138)
"""(z, y, x), in the one lung and in the other."""


def chest(seed=0, noise=25.0, shape=(20, 192, 192), spacing=SPACING, across=0.0, within=0.6):
    """Lungs with vessels under noise as a reconstruction leaves it; `across` slices that share it."""
    rng = np.random.default_rng(seed)
    _, y, x = np.mgrid[:shape[0], -1:1:shape[1] * 1j, -1:1:shape[2] * 1j]
    plane = np.where(np.hypot(y / 0.88, x / 0.94) < 1, 40.0, -1000.0)
    lung = np.hypot(y / 0.6, (np.abs(x) - 0.46) / 0.34) < 1
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), (1, 3, 3))
    plane = np.where(lung, -850 + np.clip(texture / texture.std() - 1.8, 0, 2) * 300, plane)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape), (across, within, within))
    return Image(np.rint(plane + noise * grain / grain.std()).astype(np.float32), "CT", spacing)


def ball(image, centre, mm):
    """The voxels of a ball, (n, 3) offsets from its centre."""
    reach = [math.ceil(mm / 2 / step) for step in image.spacing]
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1).reshape(-1, 3)
    return offsets[np.linalg.norm(offsets * image.spacing, axis=1) <= mm / 2]


def copied(image, way=lambda z, y, x: (z, y, x), mm=12.0, offset=0.0, rim=0.0, source=SOURCE, target=TARGET):
    """A ball about `target` that holds what is about `source`: at offset (z, y, x) that of `way` of it."""
    away = ball(image, target, mm)
    there = away + target
    values = image.pixels[tuple(np.stack(way(*away.T)) + np.reshape(source, (3, 1)))] + offset
    depth = mm / 2 - np.linalg.norm(away * image.spacing, axis=1)
    weight = np.clip(depth / rim, 0, 1) if rim else 1.0
    pixels = image.pixels.copy()
    own = pixels[tuple(there.T)]
    pixels[tuple(there.T)] = np.rint(own + weight * (values - own))
    return dataclasses.replace(image, pixels=pixels)


WAYS = {"plain": (lambda z, y, x: (z, y, x), "neither mirrored nor turned"),
        "mirrored": (lambda z, y, x: (z, y, -x), "mirrored left to right"),
        "front to back": (lambda z, y, x: (z, -y, x), "mirrored front to back"),
        "upside down": (lambda z, y, x: (-z, y, x), "upside down"),
        "half turn": (lambda z, y, x: (z, -y, -x), "turned by 180°"),
        "quarter turn": (lambda z, y, x: (z, x, -y), "90°"),
        "mirrored, turned": (lambda z, y, x: (z, x, y), "mirrored")}


@pytest.fixture(scope="module")
def host():
    return chest()


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_found_at_both_places_whichever_way_it_lies(host, way):
    evidence = CtCopyMove().detect(copied(host, WAYS[way][0]))
    assert evidence.label == "tampered" and evidence.score > 0.99
    assert len(evidence.findings) == 2
    for place in (SOURCE, TARGET):
        assert evidence.heat[place] >= evidence.heat_threshold
        around = [finding for finding in evidence.findings
                  if all(low <= v < high for v, low, high in zip(place, finding.box[:3], finding.box[3:], strict=True))]
        assert len(around) == 1
        assert max(around[0].box.size[1:]) * 0.8 <= 16  # of 12 mm, and no more than the rim beside it
    assert WAYS[way][1] in evidence.reason


def test_the_reason_names_both_places_and_the_way_between_them_in_mm(host):
    reason = CtCopyMove().detect(copied(host)).reason
    # 90 pixels of .8 mm, 20 of .8 mm, four slices of 2.5 mm, the one way or the other
    assert "(+72.0, +16.0, +10.0) mm" in reason or "(-72.0, -16.0, -10.0) mm" in reason
    assert "which is the original the pixels do not tell" in reason


@pytest.mark.parametrize("more", [{"offset": 30.0}, {"rim": 3.0, "mm": 16.0}, {"mm": 8.0}], ids=str)
def test_brightness_a_soft_rim_and_a_small_size_hide_nothing(host, more):
    evidence = CtCopyMove().detect(copied(host, **more))
    assert evidence.label == "tampered"
    assert evidence.heat[SOURCE] >= 0.5 and evidence.heat[TARGET] >= 0.5


def test_a_little_noise_on_the_copy_hides_nothing(host):
    forged = copied(host, mm=16.0)
    added = np.rint(np.random.default_rng(5).normal(0, 3, forged.shape))
    noisy = forged.pixels + added * (forged.pixels != host.pixels)
    assert CtCopyMove().detect(dataclasses.replace(forged, pixels=noisy.astype(np.float32))).label == "tampered"


def test_eight_bits_hide_nothing(host):
    forged = copied(host)
    assert CtCopyMove().detect(dataclasses.replace(forged, pixels=eight_bits(forged.pixels))).label == "tampered"


def calm(image):
    evidence = CtCopyMove().detect(image)
    assert (evidence.label, evidence.findings, evidence.reason) == ("authentic", (), "")
    assert evidence.score < 0.1
    return True


@pytest.mark.parametrize("made", [
    lambda: chest(seed=1), lambda: chest(seed=2, noise=8.0), lambda: chest(seed=3, within=1.6),
    lambda: chest(seed=4, shape=(40, 160, 160), spacing=(0.8, 0.8, 0.8)),
    lambda: chest(seed=5, shape=(40, 160, 160), spacing=(1.0, 0.8, 0.8), across=1.5)],
    ids=["plain", "quiet", "soft kernel", "cubes", "overlapping slices"])
def test_authentic_chests_raise_no_alarm(made):
    assert calm(made())


@pytest.mark.parametrize("step", [jpeg2000, eight_bits, lambda p: np.clip(p, -860, None),
                                  lambda p: np.rint(ndimage.zoom(p, (2, 1, 1), order=1)),
                                  lambda p: np.rint(ndimage.zoom(p, (1, 1.3, 1.3), order=1))],
                         ids=["jpeg 2000", "8 bits", "air cut off", "slices between slices", "larger"])
def test_an_authentic_chest_raises_no_alarm_whatever_it_went_through(host, step):
    assert calm(dataclasses.replace(host, pixels=np.asarray(step(host.pixels), np.float32)))


def test_a_pattern_that_repeats_everywhere_is_no_copy(host):
    y, x = np.mgrid[:192, :192]
    pattern = 60 * np.sin(2 * np.pi * y / 7) * np.sin(2 * np.pi * x / 11)
    assert calm(dataclasses.replace(host, pixels=np.rint(host.pixels + pattern).astype(np.float32)))


def test_a_slice_that_repeats_is_a_finding_of_its_own(host):
    pixels = host.pixels.copy()
    pixels[15] = pixels[6]
    evidence = CtCopyMove().detect(dataclasses.replace(host, pixels=pixels))
    assert (evidence.label, evidence.score) == ("tampered", 1.0)
    assert evidence.reason.startswith("The slices 7 and 16 hold the same values")
    assert {z for finding in evidence.findings for z in range(finding.box.z0, finding.box.z1)} == {6, 15}


def test_slices_that_all_repeat_were_resampled(host):
    evidence = CtCopyMove().detect(dataclasses.replace(host, pixels=host.pixels.repeat(2, axis=0)))
    assert evidence.label == "inconclusive" and "resampling" in evidence.reason


def test_which_slices_repeat():
    volume = np.random.default_rng(0).normal(size=(6, 8, 8)).astype(np.float32)
    volume[4], volume[2], volume[3] = volume[1], 7, 7
    assert repeated(volume) == [(1, 4)]  # slices of one value are padding
    assert not resampled(volume)
    assert resampled(volume.repeat(2, axis=0))


def test_a_move_by_hand():
    # a quarter turn takes one voxel along x to one along y; upside down, one slice up to one down
    move = Move((5, 10, 20), (8, 30, 40), 1j, False, True)
    z, y, x = move(np.array([6.0]), np.array([10.0]), np.array([21.0]))
    assert (z[0], y[0], x[0]) == pytest.approx((7, 31, 40))
    # a mirror leaves x and takes y to -y
    mirror = Move((5, 10, 20), (8, 30, 40), 1 + 0j, True, False)
    z, y, x = mirror(np.array([5.0]), np.array([12.0]), np.array([23.0]))
    assert (z[0], y[0], x[0]) == pytest.approx((8, 28, 43))


def test_a_ct_without_lungs_does_not_concern_it():
    evidence = CtCopyMove().detect(Image(np.full((10, 64, 64), 40, np.float32), "CT", SPACING))
    assert not evidence.concerned


def test_a_plain_scan_asks_both_detectors_and_finds_the_lungs_once(host, monkeypatch):
    asked = []
    monkeypatch.setattr(
        airways, "lungs_in", lambda image, small, own=airways.lungs_in: (asked.append(image), own(image, small))[1])
    forged = copied(host)
    verdict = scan(forged)
    assert verdict.label == "tampered"
    assert [one.method for one in verdict.evidence] == ["ct-self-reference", "ct-copy-move"]
    assert "ct-copy-move" in {finding.method for finding in verdict.findings}
    assert len(asked) == 1
    assert lungs_alone(forged) is lungs_alone(forged)
