"""Masses at a digital mammogram's own pixel: what they change, what they keep, and what a margin looks like."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from scanward.attacks.base import Lesion, Tamper, forge
from scanward.attacks.mammo_cgan.inject import cut, window
from scanward.attacks.mammo_digital.form import MARGINS, REACH
from scanward.attacks.mammo_digital.texture import fractal, gain, grain_curve, lines, mixed
from scanward.errors import ArgumentError
from scanward.image import Image
from scanward.methods import build

MM, SIDE = 0.1, 512
PLACE = Lesion((0, 255.0, 256.0), 100.0)
STRAND = 285
"""Row of a straight strand that crosses the place, 30 pixels below its centre."""


@cache
def host(strand: bool = True, growth: float = 0.01) -> Image:
    """16 bits: tissue of slope 3, one straight strand, and grain that grows with brightness by `growth`, correlated
    as detectors' is."""
    rng = np.random.default_rng(4)
    tissue = 16000 + 1500 * fractal(SIDE, 9, 3, 200)
    if strand:
        y = np.arange(SIDE)[:, None] - STRAND
        tissue = tissue + 3000 * np.exp(-0.5 * (y / 2.5) ** 2)
    noise = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 0.6)
    values = tissue + noise / noise.std() * (100 + growth * tissue)
    values[-70:, -70:] += 20000  # dense, so that a mass does not saturate
    values[:, :40] = 0  # bare film
    return Image(np.rint(values).astype(np.float32)[None], "MG", (1.0, MM, MM), 16)


@cache
def forged(seed: int = 0, margin: str | None = None, grain: str = "resynthesised") -> Tamper:
    return forge(build("mammo-digital", "attack", margin=margin, grain=grain), host(), PLACE, seed)


def away_of(place: Lesion) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot(y - place.y, x - place.x)


@pytest.mark.parametrize("margin", MARGINS)
def test_nothing_changes_beyond_the_disc_that_a_mass_may_reach(margin: str) -> None:
    tamper = forged(1, margin)
    changed = tamper.image.plane != host().plane
    assert changed.any()
    assert not (changed & (away_of(PLACE) > REACH * PLACE.diameter / 2 + 1)).any()


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("seed", range(3))
def test_the_truth_is_one_piece_of_the_size_asked_for_and_no_square(margin: str, seed: int) -> None:
    tamper = forged(seed, margin)
    truth = tamper.mask[0]
    assert ndimage.label(truth)[1] == 1
    area = np.pi * PLACE.diameter**2 / 4
    assert 0.75 * area < truth.sum() < 1.5 * area
    box, _ = window(truth.shape, tamper.record.params)
    square = truth[box]
    assert not (square[0].any() or square[-1].any() or square[:, 0].any() or square[:, -1].any())
    # the share of the outline's pixels on its bounding box is small, where that of a square is 1
    ys, xs = np.nonzero(truth)
    edge = truth & ~ndimage.binary_erosion(truth)
    on_box = edge & np.isin(np.arange(SIDE), (ys.min(), ys.max()))[:, None] | edge & np.isin(
        np.arange(SIDE), (xs.min(), xs.max()))[None]
    assert on_box.sum() < 0.25 * edge.sum()


def test_a_mass_is_brighter_than_what_was_there() -> None:
    for seed in range(4):
        rise = (forged(seed).image.plane - host().plane)[forged(seed).mask[0]]
        assert rise.mean() > 0.05 * 16000


def test_the_fine_spectrum_stays_within_a_tenth_of_the_hosts() -> None:
    """Power by ring from 2.5 cycles a mm to Nyquist inside the mass, mean of eight masses in a host whose grain is the
    same at every brightness, over the untouched square's."""
    even, attack = host(False, 0), build("mammo-digital", "attack", margin="circumscribed")
    inner = {"y": PLACE.y, "x": PLACE.x, "side": 70}
    after = [rings(cut(forge(attack, even, PLACE, seed).image.plane, inner)) for seed in range(8)]
    assert np.abs(np.mean(after, 0) / rings(cut(even.plane, inner)) - 1).max() < 0.1


def rings(square: np.ndarray) -> np.ndarray:
    side = len(square)
    power = np.abs(np.fft.fft2((square - square.mean()) * np.outer(np.hanning(side), np.hanning(side)))) ** 2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side, MM)] * 2))
    edges = np.linspace(2.5, 5, 4)
    return np.array([power[(frequency >= a) & (frequency < b)].mean() for a, b in pairwise(edges)])


def test_resynthesised_grain_is_not_the_hosts_and_as_strong() -> None:
    """Of the middle of the mass: the finest detail is another one with new grain, and the host's with its own."""
    inner = {"y": PLACE.y - 12, "x": PLACE.x, "side": 50}

    def finest(plane: np.ndarray) -> np.ndarray:
        square = cut(plane, inner)
        return square - ndimage.gaussian_filter(square, 0.8)

    before = finest(host().plane)
    new, own = (finest(forged(3, "circumscribed", grain).image.plane) for grain in ("resynthesised", "host"))
    assert np.corrcoef(before.ravel(), own.ravel())[0, 1] > 0.8
    assert np.corrcoef(before.ravel(), new.ravel())[0, 1] < 0.5
    assert new.std() == pytest.approx(own.std(), rel=0.15)


def contrast(plane: np.ndarray, columns: slice) -> float:
    """Of the strand over what lies a millimetre beside it."""
    rows = plane[:, columns].mean(1)
    return float(rows[STRAND - 1:STRAND + 2].mean() - (rows[STRAND - 12:STRAND - 8].mean()
                                                       + rows[STRAND + 9:STRAND + 13].mean()) / 2)


def test_the_hosts_strand_crosses_the_mass() -> None:
    columns = slice(236, 276)
    before = contrast(host().plane, columns)
    after = [contrast(forged(seed, "circumscribed").image.plane, columns) for seed in range(4)]
    assert np.mean(after) > 0.6 * before


def test_margins_differ_as_their_names_say() -> None:
    """The edge of a circumscribed mass is steeper than an ill-defined one's; a spiculated outline is longer."""
    def steepness(margin: str) -> float:
        found = []
        for seed in range(4):
            stages = build("mammo-digital", "attack").stages(host(), forged(seed, margin).record.params)
            rise = ndimage.gaussian_filter(stages.large - stages.original, 1)
            found.append(np.percentile(np.hypot(*np.gradient(rise)), 98) / rise.max())
        return float(np.mean(found))

    def outline(margin: str) -> float:
        truths = [forged(seed, margin).mask[0] for seed in range(4)]
        return float(np.mean([(t & ~ndimage.binary_erosion(t)).sum() / np.sqrt(t.sum()) for t in truths]))

    assert steepness("circumscribed") > 1.3 * steepness("ill-defined")
    assert outline("spiculated") > 1.25 * outline("circumscribed")


def test_a_margin_is_drawn_where_none_is_named_and_recorded() -> None:
    assert {forged(seed).record.params["margin"] for seed in range(12)} == set(MARGINS)


@pytest.mark.parametrize(("options", "word"), [({"margin": "stellate"}, "--margin"), ({"grain": "white"}, "--grain")])
def test_other_margins_and_grains_are_refused(options: dict, word: str) -> None:
    with pytest.raises(ArgumentError, match=word):
        build("mammo-digital", "attack", **options)


def removed(image: Image, seed: int = 0) -> Tamper:
    return forge(build("mammo-digital-remove", "attack"), image, Lesion(PLACE.centre, 1.1 * PLACE.diameter), seed)


def with_mass(image: Image) -> Image:
    """A hemisphere of 6,000 at the place."""
    bump = 6000 * np.sqrt(np.clip(1 - (away_of(PLACE) / (PLACE.diameter / 2)) ** 2, 0, 1))
    return image.with_plane((image.plane + bump).astype(np.float32))


def test_a_removal_takes_the_mass_and_leaves_the_strand() -> None:
    ill = with_mass(host())
    columns = slice(236, 276)
    for seed in range(3):
        plane = removed(ill, seed).image.plane
        inside = away_of(PLACE) < 0.4 * PLACE.diameter
        assert plane[inside].mean() - host().plane[inside].mean() < 0.35 * (ill.plane - host().plane)[inside].mean()
        assert contrast(plane, columns) > 0.4 * contrast(host().plane, columns)


def test_a_removal_changes_a_disc_whose_truth_is_one_piece() -> None:
    ill = with_mass(host())
    tamper = removed(ill)
    changed = tamper.image.plane != ill.plane
    assert not (changed & (away_of(PLACE) > 1.1 * REACH * PLACE.diameter / 2 + 1)).any()
    assert ndimage.label(tamper.mask[0])[1] == 1
    assert tamper.mask[0][away_of(PLACE) < 0.5 * PLACE.diameter].all()
    assert tamper.record.params["source"] != [PLACE.y, PLACE.x]


def test_a_removal_at_the_skin_leaves_bare_film_alone() -> None:
    skin = Lesion((0, 256, 50), 60)
    tamper = forge(build("mammo-digital-remove", "attack"), host(False), skin, 0)
    assert not (tamper.image.plane[:, :36] != 0).any()
    assert tamper.mask.any()


def test_a_gain_follows_the_hosts_own_curve() -> None:
    curve = grain_curve(host(False).plane, host(False).plane > 0)
    dark, bright = (np.full((64, 64), value, np.float32) for value in (14000, 18500))
    assert gain(curve, dark, bright).mean() == pytest.approx((100 + 185) / (100 + 140), rel=0.1)
    assert np.array_equal(gain(curve, dark, dark), np.ones((64, 64), np.float32))


def test_mixing_two_textures_keeps_their_strength() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 200, 200)).astype(np.float32)
    for share in (0.0, 0.3, 0.7, 1.0):
        assert mixed(one, other, np.float32(share)).std() == pytest.approx(1, rel=0.02)


def test_lines_are_found_where_a_strand_runs() -> None:
    found = lines(host().plane, MM)
    columns = slice(60, 500)
    assert found[STRAND, columns].mean() > 3 * found[STRAND - 40:STRAND - 15, columns].mean()


def test_a_host_that_says_no_spacing_is_forged_as_one_of_a_tenth_of_a_millimetre() -> None:
    attack = build("mammo-digital", "attack")
    unknown = forge(attack, replace(host(), spacing=None), PLACE, 2)
    assert np.array_equal(unknown.image.plane, forge(attack, host(), PLACE, 2).image.plane)
