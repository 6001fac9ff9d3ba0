"""Patches: each alteration against what it is meant to do."""

import cv2
import numpy as np
import pytest
from forging import applied

from scanward.attacks.base import Lesion
from scanward.attacks.blend import Region, region_of
from scanward.attacks.grain import grain, smooth, white
from scanward.attacks.patches import Blur, Jpeg, Noise, Resample, blurred, noised, resample, through_jpeg
from scanward.image import Image


def box(y0: int, x0: int, height: int, width: int) -> Region:
    return Region((slice(y0, y0 + height), slice(x0, x0 + width)), np.ones((height, width), np.float32))


@pytest.mark.parametrize("sigma", [1.0, 5.0, 300.0])
def test_grain_measures_white_noise_on_a_ramp(sigma: float) -> None:
    ramp = np.add.outer(np.arange(120), 3 * np.arange(120)).astype(np.float32) * sigma
    assert grain(ramp + sigma * white((120, 120), 3)) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("correlation", [0.0, 1.0, 9.0])
def test_white_has_unit_spread(correlation: float) -> None:
    assert white((300, 300), 1, correlation).std() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("sigma", [1.0, 5.0, 20.0])
def test_smooth_keeps_a_ramp_and_kills_grain(sigma: float) -> None:
    ramp = np.tile(np.arange(200, dtype=np.float32), (200, 1))
    low = smooth(ramp + white(ramp.shape, 1), sigma)
    assert np.abs(low - ramp)[50:150, 70:130].max() < 1.5
    assert grain(low) < 0.3


def test_jpeg_on_the_images_grid_equals_coding_the_whole_image(make_film) -> None:
    plane = make_film(8, 8).plane
    whole = cv2.imdecode(cv2.imencode(".jpg", plane.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0)
    region = box(43, 21, 61, 70)
    how = {"quality": 50, "phase": [0, 0], "low": 0.0, "high": 255.0}
    got = through_jpeg(region.cut(plane), region, how)
    assert np.array_equal(got[48 - 43 : 96 - 43, 24 - 21 : 88 - 21], whole[48:96, 24:88])
    off = through_jpeg(region.cut(plane), region, how | {"phase": [3, 0]})
    assert not np.array_equal(off[48 - 43 : 96 - 43, 24 - 21 : 88 - 21], whole[48:96, 24:88])


def test_jpeg_of_16_bits_spans_the_crops_range(make_film) -> None:
    host = make_film(8, 16)
    params = Jpeg().draw(host, Lesion((0, 100, 60), 40), np.random.default_rng(0))
    crop = host.plane[region_of(params["shape"], host.plane.shape).box]
    assert (params["how"]["low"], params["how"]["high"]) == (crop.min(), crop.max())
    forged, mask = applied(Jpeg(), host, params)
    assert 0 < np.abs(forged - host.plane)[mask].mean() < 0.05 * np.ptp(crop)


def test_gaussian_noise_has_the_sigma_drawn(make_film) -> None:
    region, crop = box(0, 0, 90, 90), np.full((90, 90), 1000, np.float32)
    how = {"kind": "gaussian", "sigma": 40.0, "correlation": 0.0, "seed": 3}
    added = noised(crop, region, how) - crop
    assert added.std() == pytest.approx(40, rel=0.03)
    assert abs(added.mean()) < 2


def test_speckle_grows_with_the_pixel() -> None:
    crop = np.tile(np.repeat([500.0, 1500.0], 45).astype(np.float32), (90, 1))
    how = {"kind": "speckle", "sigma": 40.0, "correlation": 0.0, "seed": 3}
    added = noised(crop, box(0, 0, 90, 90), how) - crop
    assert added[:, 45:].std() == pytest.approx(3 * added[:, :45].std(), rel=0.1)


def test_correlated_noise_is_correlated() -> None:
    crop = np.full((90, 90), 1000, np.float32)
    how = {"kind": "correlated", "sigma": 40.0, "correlation": 1.5, "seed": 3}
    added = noised(crop, box(0, 0, 90, 90), how) - crop
    assert np.corrcoef(added[:, 1:].ravel(), added[:, :-1].ravel())[0, 1] > 0.7


def test_noise_is_measured_in_the_hosts_own_grain(host: Image) -> None:
    own = 2.5 * host.largest / 255
    sigma = [Noise().draw(host, Lesion((0, 100, 60), 50), np.random.default_rng(s))["how"]["sigma"] for s in range(30)]
    assert 0.6 * own < min(sigma) and max(sigma) < 3.4 * own


@pytest.mark.parametrize("how", [{"kind": "gaussian", "sigma": 1.5}, {"kind": "median", "size": 5, "times": 1},
                                 {"kind": "bilateral", "level": 1500.0, "size": 9},
                                 {"kind": "nlm", "level": 1500.0, "size": 7}], ids=lambda h: h["kind"])
def test_blur_lowers_the_grain_and_keeps_the_level(how: dict, make_film) -> None:
    crop = np.ascontiguousarray(make_film(9, 16).plane[70:130, 30:90])
    soft = blurred(crop, how)
    assert soft.shape == crop.shape and soft.dtype == np.float32
    assert grain(soft) < 0.6 * grain(crop)
    assert soft.mean() == pytest.approx(crop.mean(), rel=0.01)


def test_every_blur_is_drawn_and_spacing_sets_the_width(host: Image, place: Lesion) -> None:
    coarse = Image(host.pixels, "MG", (1.0, 0.2, 0.2), host.bits)
    how = [Blur().draw(coarse, place, np.random.default_rng(s))["how"] for s in range(60)]
    assert {h["kind"] for h in how} == {"gaussian", "median", "bilateral", "nlm"}
    fine = Image(host.pixels, "MG", (1.0, 0.05, 0.05), host.bits)
    wide = [Blur().draw(fine, place, np.random.default_rng(s))["how"] for s in range(60)]
    assert max(h.get("sigma", 0) for h in wide) > 2.5 * max(h.get("sigma", 0) for h in how)


@pytest.mark.parametrize("how", [
    {"kind": "down-up", "interpolation": "area", "factor": 0.5}, {"kind": "up-down", "interpolation": "cubic",
                                                                  "factor": 1.5},
    {"kind": "rotate", "interpolation": "lanczos", "angle": 7.0},
    {"kind": "warp", "interpolation": "linear", "affine": [0.0, 0.0, 0.0, 0.0], "shift": [0.5, 0.0], "bend": 0.0,
     "seed": 1}], ids=lambda h: h["kind"])
def test_resampling_keeps_a_ramp_and_alters_grain(how: dict) -> None:
    ramp = np.tile(np.arange(80, dtype=np.float32), (70, 1))
    inner = slice(10, 60), slice(10, 70)
    assert np.abs(resample(ramp, how) - ramp)[inner].max() < 0.75
    noise = white((70, 80), 5)
    altered = resample(noise, how)
    assert altered.shape == noise.shape
    assert grain(altered[inner]) < 0.97 * grain(noise[inner])


def test_every_resampling_is_drawn(host: Image, place: Lesion) -> None:
    how = [Resample().draw(host, place, np.random.default_rng(s))["how"] for s in range(80)]
    assert {h["kind"] for h in how} == {"down-up", "up-down", "rotate", "warp"}
    assert {h["interpolation"] for h in how} == {"linear", "cubic", "lanczos", "area"}
