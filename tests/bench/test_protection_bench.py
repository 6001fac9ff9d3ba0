"""What a protection is measured by: likeness by hand, and clean-ups that do what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanward.bench.likeness import harm, likeness
from scanward.bench.perceptual import distance
from scanward.bench.purify import PURIFICATIONS, eight_bits
from scanward.image import Image


def chest(shape=(8, 256, 256), seed=0):
    """Two lungs in a body in air."""
    _, y, x = np.mgrid[:shape[0], :shape[1], :shape[2]]
    body = np.hypot((y - 128) / 110, (x - 128) / 120) < 1
    lungs = (np.hypot((y - 128) / 70, (x - 80) / 36) < 1) | (np.hypot((y - 128) / 70, (x - 176) / 36) < 1)
    pixels = np.where(lungs, -850.0, np.where(body, 30.0, -1000.0))
    pixels += np.random.default_rng(seed).normal(0, 20, shape)
    return Image(np.rint(pixels).astype(np.float32), "CT", (2.5, 1.0, 1.0), grid=(1.0, -1024.0, 3071.0))


def test_a_constant_shift_by_hand():
    before = chest().pixels
    made = likeness(before, before + 16, [3, 5])
    assert made.rmse == pytest.approx(16) and made.largest == 16
    assert made.psnr == pytest.approx(20 * np.log10(4096 / 16))  # 48.16 dB
    same = likeness(before, before, [3])
    assert (same.rmse, same.psnr, same.perceptual, same.ssim) == (0, np.inf, 0, 1)


def test_harm_is_none_where_nothing_changed_and_tells_noise_and_shift_apart():
    image = chest()
    none = harm(image, image)
    assert (none.mean, none.deviation, none.noise, none.fine, none.overlap) == (0, 1, 1, 1, 1)
    pixels = image.pixels + np.random.default_rng(1).normal(0, 20, image.shape).astype(np.float32)
    noisy = harm(image, Image(pixels, "CT", image.spacing))
    assert noisy.noise == pytest.approx(2, rel=0.15) and noisy.fine == pytest.approx(2, rel=0.15)
    shifted = harm(image, Image(image.pixels + 16, "CT", image.spacing))
    assert shifted.mean == pytest.approx(16) and shifted.noise == pytest.approx(1, abs=1e-3)


def test_the_perceptual_distance_grows_with_the_change():
    plane = chest().pixels[0]
    noise = np.random.default_rng(0).standard_normal(plane.shape).astype(np.float32)
    values = [distance(plane, plane + hu * noise) for hu in (0, 5, 50, 500)]
    assert values[0] == 0 and values == sorted(values) and len(set(values)) == 4


@pytest.mark.parametrize("name", PURIFICATIONS)
def test_clean_ups_keep_the_size_and_nearly_the_values(name):
    pixels = chest(shape=(3, 256, 256)).pixels
    made = PURIFICATIONS[name](pixels)
    assert made.shape == pixels.shape and made.dtype == np.float32
    assert np.array_equal(made, np.rint(made))
    assert abs(float(made.mean() - pixels.mean())) < 3
    assert np.array_equal(made, pixels) == (name == "as it is")


@given(st.integers(-2000, 3000))
@settings(max_examples=50, deadline=None)
def test_eight_bits_of_the_lung_window_cost_three_hu_at_most_and_nothing_beyond_it(hu):
    made = float(eight_bits(np.full((1, 4, 4), hu, np.float32))[0, 0, 0])
    assert made == hu if not -1350 <= hu <= 150 else abs(made - hu) <= 3.5
