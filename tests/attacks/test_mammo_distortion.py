"""Architectural distortion: tissue drawn to a point without a fold, strands that radiate, no mass, nothing else."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from scanward.anatomy.breast import breast_mask
from scanward.attacks.base import Lesion, Tamper, forge
from scanward.attacks.mammo_distortion.inject import REACH
from scanward.attacks.mammo_distortion.pull import ANGLES, LEAST, SKIN, sources
from scanward.attacks.mammo_distortion.strands import LONGEST_MM, WIDTHS_MM, depth_of, strands_of
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image
from scanward.methods import build

MM, SIDE = 0.1, 300
PLACE = Lesion((0, 150.3, 160.6), 120.0)


@cache
def tissue(seed: int = 0, mm: float = MM) -> Image:
    """16 bits: bare film to the left, then tissue with strands in no direction, and grain."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((3, SIDE, SIDE))
    values = 16000 + 40000 * ndimage.gaussian_filter(noise[0], 12) + 6000 * ndimage.gaussian_filter(noise[1], 2.5)
    values += 200 * noise[2]
    values[:, :30] = 0
    values[-10:, -10:] = 40000
    return Image(np.rint(values)[None].astype(np.float32), "MG", (1.0, mm, mm), 16)


@cache
def forged(seed: int = 0, grain: str = "resynthesised", place: Lesion = PLACE) -> Tamper:
    return forge(build("mammo-distortion", "attack", grain=grain), tissue(seed), place, seed)


def away(place: Lesion = PLACE) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot(y - place.y, x - place.x)


def radiating(plane: np.ndarray) -> float:
    """How far the gradients of 120 pixels about the place turn from its radii: 0 where they lie along them, 1 where
    they lie across, as those of spokes do, 1/2 in no direction."""
    dy, dx = np.gradient(ndimage.gaussian_filter(plane.astype(np.float64), 2))
    y, x = np.mgrid[:SIDE, :SIDE]
    far = np.maximum(away(), 1e-6)
    outwards = (dy * (y - PLACE.y) + dx * (x - PLACE.x)) / far
    ring = (far > 10) & (far < 55)
    return float(1 - (outwards[ring] ** 2).sum() / (dy[ring] ** 2 + dx[ring] ** 2).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 72), st.floats(-0.2, 1.2), st.floats(-0.2, 1.2), st.floats(0.1, 2.0), st.floats(0, 3),
       st.integers(0, 99), st.floats(0, 60))
def test_tissue_is_never_folded_nor_taken_from_beyond_the_skin(side: int, y: float, x: float, share: float, pull: float,
                                                               seed: int, skin: float) -> None:
    middle, reach = (y * side, x * side), share * side
    rng = np.random.default_rng(seed)
    favour = 1 + 0.9 * np.sin(np.linspace(0, 2 * math.pi * int(rng.integers(1, 5)), ANGLES, endpoint=False))
    room = np.maximum(np.arange(side, dtype=np.float32) - np.float32(skin), 0)[None].repeat(side, 0)
    came = sources(side, middle, reach, pull, favour.astype(np.float32), room)
    assert came.jacobian().min() >= LEAST
    rows, columns = np.mgrid[:side, :side]
    moved = np.hypot(came.y - rows, came.x - columns)
    assert (moved <= SKIN * room + 1e-3).all()
    assert moved[np.hypot(rows - middle[0], columns - middle[1]) >= reach].max(initial=0) < 1e-3


def test_tissue_moves_towards_the_middle() -> None:
    """A ring of radius s about the point ends where r + a R q (1 − q)² = s."""
    room, favour = np.full((201, 201), 999, np.float32), np.ones(ANGLES, np.float32)
    came = sources(201, (100.0, 100.0), 100.0, 0.8, favour, room)
    y, x = np.mgrid[:201, :201] - 100.0
    ring = (np.abs(np.hypot(y, x) - 60) < 1.5).astype(np.float32)
    seen = came.taken(ring)[100, 100:]
    wanted = next(r for r in np.arange(0, 60, 0.01) if r + 0.8 * r * (1 - r / 100) ** 2 >= 60)
    assert abs(int(seen.argmax()) - wanted) <= 1
    assert wanted < 53


@pytest.mark.parametrize("seed", range(3))
def test_its_strands_radiate(seed: int) -> None:
    before, after = (radiating(image.plane) for image in (tissue(seed), forged(seed).image))
    assert 0.4 < before < 0.6
    assert after > before + 0.1


@pytest.mark.parametrize("seed", range(3))
def test_the_middle_is_no_mass(seed: int) -> None:
    """Where its strands meet it is as bright as it was, within a tenth of the film's contrast."""
    before, after = (ndimage.gaussian_filter(image.plane, 3) for image in (tissue(seed), forged(seed).image))
    contrast = np.ptp(np.percentile(before[:, 40:], (1, 99)))
    assert abs(float((after - before)[away() < 10].mean())) < 0.1 * contrast


def test_strands_radiate_where_there_is_nothing_to_draw_in() -> None:
    rng = np.random.default_rng(0)
    values = np.where(np.arange(SIDE) < 30, 0, 16000 + 100 * rng.standard_normal((SIDE, SIDE)))
    values[-10:, -10:] = 40000
    host = Image(np.rint(values)[None].astype(np.float32), "MG", (1.0, MM, MM), 16)
    tamper = forge(build("mammo-distortion", "attack", grain="host"), host, PLACE, 0)
    assert radiating(tamper.image.plane - host.plane) > 0.7


@pytest.mark.parametrize("grain", ["resynthesised", "host"])
@pytest.mark.parametrize("place", [PLACE, Lesion((0, 140.0, 60.0), 100.0)], ids=["within", "at the skin"])
def test_nothing_changes_outside_the_truth_and_the_truth_lies_in_the_breast(place: Lesion, grain: str) -> None:
    tamper = forged(0, grain, place)
    changed = tamper.image.plane != tissue().plane
    assert not (changed & ~tamper.mask[0]).any()
    assert changed[tamper.mask[0]].mean() > 0.9
    assert not (tamper.mask[0] & ~breast_mask(tissue().plane)).any()
    assert (away(place)[tamper.mask[0]] <= REACH * place.diameter / 2).all()
    assert tamper.mask[0].sum() > 0.5 * math.pi * (place.diameter / 2) ** 2


def test_its_rim_is_no_edge() -> None:
    change = np.abs(forged().image.plane - tissue().plane)
    rim = np.abs(away() - REACH * PLACE.diameter / 2) < 3
    assert change[rim].mean() < 0.05 * change[away() < PLACE.diameter / 2].mean()


@pytest.mark.parametrize("grain", ["resynthesised", "host"])
def test_grain_is_as_strong_as_before(grain: str) -> None:
    within = away() < 60
    before, after = (float((plane - ndimage.gaussian_filter(plane, 1))[within].std())
                     for plane in (tissue().plane, forged(0, grain).image.plane))
    assert 0.85 < after / before < 1.15


def test_grain_is_drawn_anew_or_the_hosts() -> None:
    fine = [plane - ndimage.gaussian_filter(plane, 0.7)
            for plane in (tissue().plane, forged(0, "host").image.plane, forged().image.plane)]
    within = away() < 40
    host, anew = (np.corrcoef(fine[0][within], other[within])[0, 1] for other in fine[1:])
    assert host > 0.7
    assert anew < 0.3


def test_a_seed_gives_its_bytes_and_another_gives_others() -> None:
    attack = build("mammo-distortion", "attack")
    again, other = (forge(attack, tissue(), PLACE, seed).image.pixels for seed in (0, 1))
    assert forged().image.pixels.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("mm", [0.05, 0.1])
def test_strands_are_thin_end_in_reach_and_are_as_wide_in_mm_as_asked_for(mm: float) -> None:
    radius, flat = 20 / mm, np.zeros((8, 8), np.float32)
    strands = strands_of(flat, (4.0, 4.0), radius, REACH * radius, mm, np.ones(ANGLES), np.random.default_rng(0))
    assert len(strands) >= 19
    for strand in strands:
        assert WIDTHS_MM[0] <= strand.width * mm <= WIDTHS_MM[1]
        assert strand.radii[-1] < REACH * radius
        assert 1 < np.ptp(strand.radii) * mm <= LONGEST_MM
        assert strand.opacity < 1.3


def test_a_strand_is_drawn_where_it_lies() -> None:
    strand = strands_of(np.zeros((8, 8), np.float32), (4.0, 4.0), 60, 84, MM, np.ones(ANGLES),
                        np.random.default_rng(1))[0]
    depth = depth_of([strand], 201, (100.0, 100.0))
    y, x = np.nonzero(depth > 0.5 * depth.max())
    angle = np.interp(np.hypot(y - 100, x - 100), strand.radii, strand.angles)
    off = np.hypot(y - 100, x - 100) * np.sin(np.arctan2(y - 100, x - 100) - angle)
    assert len(y) > 20
    assert np.abs(off).max() <= strand.width / 2 + 1


def test_words_that_are_none_and_pixels_too_coarse_are_refused() -> None:
    with pytest.raises(ArgumentError, match="--grain 'white' is not one of resynthesised, host"):
        build("mammo-distortion", "attack", grain="white")
    with pytest.raises(UnsupportedError, match=r"pixels of 0\.3 mm, too coarse for strands of 0\.2 mm; give"):
        forge(build("mammo-distortion", "attack"), tissue(0, 0.3), PLACE, 0)
