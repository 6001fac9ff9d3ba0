"""Makers' processing, simulated: another look, the same anatomy, and nothing that parts forged films from others."""

import numpy as np
import pytest

from scanward.anatomy.breast import breast_mask
from scanward.datasets.processing import DEPTHS, processed
from scanward.image import Image


def film(seed=0, bits=8):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:600, :560]
    breast = np.hypot(y - 300, x) < 420
    plane = np.where(breast, 0.45 + 0.15 * np.sin(y / 40) * np.cos(x / 31) + 0.01 * rng.normal(size=y.shape), 0.01)
    most = 2**bits - 1
    return Image(np.rint(plane * most).clip(0, most).astype(np.float32)[None], "MG", spacing=(1.0, 0.2, 0.2), bits=bits)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("seed", range(6))
def test_the_same_breast_comes_out_in_whole_numbers_of_its_own_depth(bits, seed):
    image = film(1, bits)
    made = processed(image, seed)
    assert made.bits in DEPTHS and made.shape == image.shape and made.spacing == image.spacing
    assert np.array_equal(made.plane, np.rint(made.plane)) and 0 <= made.plane.min() <= made.plane.max() <= made.largest
    both = breast_mask(image.plane) & breast_mask(made.plane)
    assert both.sum() > 0.8 * breast_mask(image.plane).sum()
    assert np.median(made.plane[~breast_mask(image.plane)]) == 0
    assert np.array_equal(processed(image, seed).plane, made.plane)


def test_every_seed_is_another_maker():
    made = [processed(film(2), seed) for seed in range(8)]
    assert len({one.plane.tobytes() for one in made}) == 8
    assert {one.bits for one in made} > {8} or len({one.bits for one in made}) > 1


def test_an_image_of_one_value_stays_an_image():
    flat = Image(np.full((1, 300, 300), 7, np.float32), "MG", bits=8)
    assert all(np.isfinite(processed(flat, seed).plane).all() for seed in range(10))
