"""Self-blends: the variants that a trainer asks for, and what sets each apart."""

import numpy as np
import pytest
from forging import applied
from scipy import ndimage

from scanward.attacks.base import Lesion
from scanward.attacks.grain import grain
from scanward.attacks.self_blend import SelfBlend
from scanward.errors import ArgumentError
from scanward.image import Image

PLACE = Lesion((0, 100, 60), 60)
INNER = slice(88, 113), slice(48, 73)


def blend(host: Image, variant: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict]:
    params = SelfBlend().draw(host, PLACE, np.random.default_rng(seed), variants=[variant])
    params |= {"alpha": 1.0}
    return *applied(SelfBlend(), host, params), params


@pytest.mark.parametrize("variant", SelfBlend.VARIANTS)
def test_only_the_variants_asked_for(variant: str, host: Image) -> None:
    for seed in range(5):
        params = SelfBlend().draw(host, PLACE, np.random.default_rng(seed), variants=(variant,))
        assert params["variant"] == variant
        assert 0.5 <= params["alpha"] <= 1


def test_all_variants_are_drawn(host: Image) -> None:
    drawn = {SelfBlend().draw(host, PLACE, np.random.default_rng(s))["variant"] for s in range(100)}
    assert drawn == set(SelfBlend.VARIANTS)


@pytest.mark.parametrize("variants", [["shift", "nonsense"], []])
def test_unknown_variants_are_refused(variants: list[str], host: Image) -> None:
    with pytest.raises(ArgumentError, match="lowfreq"):
        SelfBlend().draw(host, PLACE, np.random.default_rng(0), variants=variants)


def test_a_bump_keeps_the_grain(make_film) -> None:
    host = make_film(4, 16)
    forged, mask, params = blend(host, "lowfreq")
    assert grain(forged[INNER]) == pytest.approx(grain(host.plane[INNER]), rel=0.02)
    added = forged - host.plane
    assert np.abs(added).max() > 0.5 * abs(params["how"]["peak"])
    assert np.abs(added)[mask].min() >= 0.24 * np.abs(added).max()
    assert np.abs(added)[~mask].max() <= 0.26 * np.abs(added).max()


def test_a_shift_brings_other_grain_at_the_hosts_brightness(make_film) -> None:
    host = make_film(4, 16)
    forged, _, params = blend(host, "shift")
    high = [p - ndimage.gaussian_filter(p, 2) for p in (forged, host.plane)]
    assert abs(np.corrcoef(high[0][INNER].ravel(), high[1][INNER].ravel())[0, 1]) < 0.2
    assert forged[INNER].mean() == pytest.approx(host.plane[INNER].mean(), rel=0.03)
    y, x = params["how"]["source"]
    assert np.hypot(y - PLACE.y, x - PLACE.x) > 30, "a small film: half a diameter is what it has room for"
    assert grain(forged[INNER]) == pytest.approx(grain(host.plane[INNER]), rel=0.25)


@pytest.mark.parametrize(("variant", "least", "most"), [
    ("sharpen", 1.15, 4), ("blur", 0, 0.8), ("denoise", 0, 0.9), ("noise", 1.1, 4), ("affine", 0.2, 1.02)])
def test_grain_moves_as_the_variant_says(variant: str, least: float, most: float, make_film) -> None:
    host = make_film(4, 16)
    ratios = [grain(blend(host, variant, s)[0][INNER]) / grain(host.plane[INNER]) for s in range(6)]
    assert least < np.median(ratios) < most


def test_gain_scales_the_grain(make_film) -> None:
    host = make_film(4, 16)
    for seed in range(6):
        forged, _, params = blend(host, "gain", seed)
        ratio = grain(forged[INNER]) / grain(host.plane[INNER])
        assert ratio == pytest.approx(params["how"]["gain"], rel=0.25)


def test_requantising_leaves_few_levels(host: Image) -> None:
    forged, mask, params = blend(host, "requantise")
    full = ndimage.binary_erosion(mask, iterations=15)
    levels = np.unique(np.round(forged[full] / params["how"]["step"] + params["how"]["phase"], 3))
    assert np.allclose(levels, np.rint(levels), atol=0.02)
    assert len(np.unique(forged[full].round(1))) < 0.8 * len(np.unique(host.plane[full]))
