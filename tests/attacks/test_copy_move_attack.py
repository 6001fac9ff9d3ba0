"""Copy-move: what was pasted is what lies at the recorded source."""

import numpy as np
import pytest

from scanward.attacks.base import Lesion, forge
from scanward.attacks.blend import Region, region_of
from scanward.attacks.copy_move import CopyMove, fetch
from scanward.image import Image


def test_plain_copies_equal_their_source_and_are_common(host: Image, place: Lesion) -> None:
    plain = 0
    for seed in range(60):
        tamper = forge(CopyMove(), host, place, seed)
        params = tamper.record.params
        if not params["plain"]:
            continue
        plain += 1
        region = region_of(params["shape"], host.plane.shape)
        ys, xs = np.nonzero(region.weight == 1)
        ys, xs = ys + region.origin[0], xs + region.origin[1]
        dy, dx = params["source"][0] - round(place.y), params["source"][1] - round(place.x)
        ok = (ys + dy >= 0) & (ys + dy < 200) & (xs + dx >= 0) & (xs + dx < 160)
        assert ok.mean() > 0.5
        assert np.array_equal(tamper.image.plane[ys, xs][ok], host.plane[ys + dy, xs + dx][ok])
    assert plain >= 0.4 * 60


def test_transforms_are_drawn(host: Image, place: Lesion) -> None:
    drawn = [forge(CopyMove(), host, place, seed).record.params for seed in range(80)]
    assert any(p["mirror"] for p in drawn)
    assert any(p["turn"] % 90 for p in drawn) and any(p["turn"] == 90 for p in drawn)
    assert any(0.8 <= p["scale"] < 1 for p in drawn) and any(1 < p["scale"] <= 1.25 for p in drawn)
    assert any(p["offset"] for p in drawn)


def test_the_source_is_apart_from_the_copy(host: Image, place: Lesion) -> None:
    for seed in range(20):
        y, x = forge(CopyMove(), host, place, seed).record.params["source"]
        assert np.hypot(y - place.y, x - place.x) > place.diameter


@pytest.mark.parametrize(("turn", "mirror", "wanted"), [
    (0, False, [[11, 12, 13], [21, 22, 23], [31, 32, 33]]),
    (0, True, [[13, 12, 11], [23, 22, 21], [33, 32, 31]]),
    (180, False, [[33, 32, 31], [23, 22, 21], [13, 12, 11]]),
    (90, False, [[31, 21, 11], [32, 22, 12], [33, 23, 13]]),
])
def test_fetch_by_hand(turn: float, mirror: bool, wanted: list[list[int]]) -> None:
    plane = (10 * np.arange(9)[:, None] + np.arange(9)).astype(np.float32)
    region = Region((slice(5, 8), slice(5, 8)), np.ones((3, 3), np.float32))
    assert np.array_equal(fetch(plane, region, (6, 6), (2, 2), turn, 1.0, mirror), wanted)


def test_fetch_scales_about_the_centre() -> None:
    plane = np.tile(np.arange(60, dtype=np.float32), (60, 1))
    region = Region((slice(20, 31), slice(20, 31)), np.ones((11, 11), np.float32))
    got = fetch(plane, region, (25, 25), (30, 40), scale=1.25)
    assert got[5, 5] == pytest.approx(40, abs=0.05)
    assert got[5, 10] == pytest.approx(40 + 5 / 1.25, abs=0.05)


def test_offset_matches_the_surroundings(host: Image, place: Lesion) -> None:
    """A matched copy of a darker place is nearer to the target's brightness than the plain pixels would be."""
    attack, bettered = CopyMove(), []
    for seed in range(60):
        params = forge(attack, host, place, seed).record.params
        if params["offset"]:
            region = region_of(params["shape"], host.plane.shape)
            around = host.plane[region.box][region.weight <= 0].mean()
            full = Region(region.box, np.ones_like(region.weight))
            copied = attack._fetch(host.plane, full, params)
            matched = copied * params["gain"] + params["offset"]
            bettered.append(abs(matched[region.weight <= 0].mean() - around) < 0.02 * host.largest)
    assert len(bettered) > 5 and all(bettered)
