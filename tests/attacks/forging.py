"""A chest to forge, and an attack's parameters applied to a film."""

import numpy as np

from scanward.attacks.base import Attack
from scanward.image import Image


def chest() -> Image:
    """24 slices of 2.5 mm: two lungs in a body in air."""
    _, y, x = np.mgrid[:24, :120, :120]
    plane = np.where(np.hypot((y - 60) / 55, (x - 60) / 58) < 1, 40.0, -1000.0)
    for side in (35, 85):
        plane = np.where(np.hypot((y - 60) / 40, (x - side) / 18) < 1, -860.0, plane)
    noise = np.random.default_rng(0).normal(0, 15, plane.shape)
    return Image(np.rint(plane + noise).astype(np.float32), "CT", (2.5, 2.5, 2.5))


def applied(attack: Attack, host: Image, params: dict, donor: Image | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The whole film (y, x) with the patch in it, unrounded, and the truth mask (y, x)."""
    patch = attack.apply(host, params, donor=donor)
    pixels, mask = host.pixels.copy(), np.zeros(host.shape, bool)
    pixels[patch.box.slices], mask[patch.box.slices] = patch.values, patch.mask
    return pixels[0], mask[0]
