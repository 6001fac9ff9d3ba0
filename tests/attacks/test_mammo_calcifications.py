"""Calcifications at a digital mammogram's own pixel: how many, how large, how bright, and what they leave alone."""

import math
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from scanward.anatomy.breast import Breast
from scanward.attacks.base import Lesion, Tamper, forge
from scanward.attacks.mammo_calcifications.kinds import BENIGN, GROUPS, MORPHOLOGIES
from scanward.attacks.mammo_calcifications.thickness import SPREAD
from scanward.errors import ArgumentError, UnsupportedError
from scanward.image import Image
from scanward.methods import build

MM, SIDE, LEVEL = 0.1, 256, 16000.0
PLACE = Lesion((0, 140.3, 128.6), 60.0)


@cache
def flat(mm: float = MM, level: float = LEVEL) -> Image:
    """16 bits: tissue without any structure or grain, bare film, and dense tissue far from the place."""
    values = np.full((SIDE, SIDE), level, np.float32)
    values[:, :20] = 0
    values[-40:, -40:] = 40000
    return Image(values[None], "MG", (1.0, mm, mm), 16)


@cache
def forged(seed: int = 0, morphology: str | None = None, mm: float = MM, level: float = LEVEL) -> Tamper:
    return forge(build("mammo-calcifications", "attack", morphology=morphology), flat(mm, level), PLACE, seed)


def rise(tamper: Tamper, level: float = LEVEL, mm: float = MM) -> np.ndarray:
    return tamper.image.plane - flat(mm, level).plane


@pytest.mark.parametrize("morphology", GROUPS)
@pytest.mark.parametrize("seed", range(2))
def test_the_record_counts_what_one_sees(morphology: str, seed: int) -> None:
    tamper = forged(seed, morphology)
    assert tamper.record.params["count"] >= 5
    seen = ndimage.label(rise(tamper) > 0.02 * rise(tamper).max(), np.ones((3, 3)))[1]
    assert seen == tamper.record.params["count"] == len(tamper.record.params["specks"])


@pytest.mark.parametrize("morphology", MORPHOLOGIES)
def test_what_changes_is_brighter_and_lies_in_the_truth(morphology: str) -> None:
    tamper = forged(1, morphology)
    assert (rise(tamper) >= 0).all() and rise(tamper).max() > 800
    assert tamper.mask[0][rise(tamper) != 0].all()
    assert (rise(tamper)[tamper.mask[0]] > 0).mean() > 0.7


@pytest.mark.parametrize("morphology", MORPHOLOGIES)
@pytest.mark.parametrize("mm", [0.05, 0.1])
def test_a_group_is_as_large_in_mm_as_was_asked_for(morphology: str, mm: float) -> None:
    tamper = forged(1, morphology, mm)
    ys, xs = np.nonzero(tamper.mask[0])
    farthest = (np.hypot(ys - PLACE.y, xs - PLACE.x).max() - SPREAD) * mm
    assert 0.85 * PLACE.diameter * mm / 2 < farthest < PLACE.diameter * mm / 2 + 1.5 * mm


@pytest.mark.parametrize("mm", [0.05, 0.1])
def test_each_is_as_wide_in_mm_as_its_record_says(mm: float) -> None:
    tamper = forged(2, "punctate", mm)
    boxes = ndimage.find_objects(ndimage.label(tamper.mask[0])[0])
    found = sorted(mm * (max(part.stop - part.start for part in box) - 2 * SPREAD) for box in boxes)
    said = sorted(np.ptp(np.array(speck["lines"][0]), axis=0).max() + speck["width"]
                  for speck in tamper.record.params["specks"])
    assert all(0.18 <= speck["width"] <= 0.48 for speck in tamper.record.params["specks"])
    # the outline wanders by an eighth of half the width, and pixels of which a part is covered count whole
    assert np.allclose(found, said, atol=0.12 * 0.24 * 2 + 1.6 * mm)


def test_what_they_add_is_the_integral_of_their_depth() -> None:
    """Punctate ones are half ellipsoids seen from above: ∫ depth = 2/3 · π (w/2)² · depth, in mm³, times what a mm
    adds; those longer than wide hold a little more. Film far from white, so that nothing saturates."""
    for seed in range(3):
        tamper = forged(seed, "punctate")
        params = tamper.record.params
        wanted = sum(speck["dense"] * speck["depth"] * 2 / 3 * math.pi * (speck["width"] / 2) ** 2
                     for speck in params["specks"]) * (params["white"] - params["black"])
        assert rise(tamper).sum() * MM**2 == pytest.approx(wanted, rel=0.3)


def test_fine_linear_ones_lie_in_a_line_or_a_wedge_and_some_fork() -> None:
    found = [forged(seed, "fine-linear").record.params for seed in range(5)]
    assert {params["distribution"] for params in found} == {"linear", "segmental"}
    assert any(len(speck["lines"]) == 2 for params in found for speck in params["specks"])
    for params in found:
        middles = np.array([np.mean(np.concatenate(speck["lines"]), axis=0) for speck in params["specks"]])
        narrow, long = np.sqrt(np.linalg.eigvalsh(np.cov(middles.T)))
        assert narrow < (0.35 if params["distribution"] == "linear" else 0.8) * long


def test_benign_ones_are_named_benign_and_never_drawn() -> None:
    assert all(forged(0, name).record.params["benign"] is True for name in BENIGN)
    drawn = [forged(seed).record.params for seed in range(4)]
    assert len({params["morphology"] for params in drawn}) >= 2
    assert not any(params["benign"] or params["morphology"] in BENIGN for params in drawn)


def test_a_rim_is_a_ring_with_a_darker_middle() -> None:
    up, (y, x) = rise(forged(1, "rim")), np.mgrid[:SIDE, :SIDE]
    away = np.hypot(y - PLACE.y, x - PLACE.x)
    assert up[away < 8].mean() < 0.8 * up[(away > 18) & (away < 30)].max()
    assert up[away < 8].min() > 0


@pytest.mark.parametrize("morphology", MORPHOLOGIES)
def test_no_grey_level_is_brighter_than_the_hosts_own(morphology: str) -> None:
    tamper, host = forged(1, morphology, level=36500.0), flat(level=36500.0)
    assert tamper.image.plane.max() <= host.plane.max()
    assert tamper.image.plane.min() >= host.plane.min()


def test_grain_stays_where_no_calcification_lies_and_grows_with_brightness() -> None:
    rng = np.random.default_rng(0)
    tissue = np.repeat(np.linspace(0.7, 1.6, SIDE)[:, None] * LEVEL, SIDE, 1)
    tissue[:, :20] = 0
    values = np.rint(tissue + rng.standard_normal((SIDE, SIDE)) * tissue / 40).astype(np.float32)
    values[-40:, -40:] = 40000
    host = Image(values[None], "MG", (1.0, MM, MM), 16)
    place = Lesion((0, 70, 140), 80)
    tamper = forge(build("mammo-calcifications", "attack", morphology="rim"), host, place, 5, strength=0.5)
    outside = ~tamper.mask[0]
    assert np.array_equal(tamper.image.plane[outside], values[outside])
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(y - place.y, x - place.x) < 16  # where the rim's own depth hardly changes
    grain = [float((plane - ndimage.gaussian_filter(plane, 1))[inside].std()) for plane in (values, tamper.image.plane)]
    brighter = tamper.image.plane[inside].mean() / values[inside].mean()
    assert 1.2 < brighter < 1.6
    assert 1.1 < grain[1] / grain[0] < 1.1 * brighter


def test_a_place_with_room_for_fewer_than_five_is_refused() -> None:
    speck = np.zeros((SIDE, SIDE), bool)
    speck[138:143, 126:131] = True  # all that is breast
    attack = build("mammo-calcifications", "attack", morphology="fine-pleomorphic")
    with pytest.raises(ArgumentError, match=r"group has 5 or more; choose a larger --size or another place\.$"):
        attack.draw(flat(), PLACE, np.random.default_rng(0), anatomy=Breast(speck, 1.0))


@pytest.mark.parametrize("morphology", GROUPS)
def test_the_smallest_group_has_five(morphology: str) -> None:
    params = build("mammo-calcifications", "attack", morphology=morphology).draw(
        flat(), Lesion(PLACE.centre, 30.0), np.random.default_rng(1))
    assert params["count"] >= 5


def test_pixels_too_coarse_and_words_that_are_none_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"pixels of 0\.2 mm, too coarse for calcifications of 0\.1 mm; give"):
        forged(mm=0.2)
    with pytest.raises(ArgumentError, match="--morphology 'round' is not one of punctate"):
        build("mammo-calcifications", "attack", morphology="round")
