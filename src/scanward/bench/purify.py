"""What an attacker, or an archive, does to a whole CT: clean-ups that a protection has to survive.

Each takes HU (z, y, x) and gives HU of the same shape, in whole numbers.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from scipy import ndimage

Volume = npt.NDArray[np.float32]
Purify = Callable[[Volume], Volume]
LOW, HIGH = -1350.0, 150.0
"""HU of the lung window that 8 bits are spent on."""


def blurred(sigma: float) -> Purify:
    """Every slice through a Gaussian of so many pixels."""
    return lambda pixels: _slices(pixels, lambda plane: np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma)))


def median(pixels: Volume) -> Volume:
    """Every slice through a median of 3×3."""
    return _slices(pixels, lambda plane: ndimage.median_filter(plane, 3))


def non_local(pixels: Volume) -> Volume:
    """Every slice through non-local means (Buades et al. 2005), in 256 steps of the lung window."""
    def one(plane: Volume) -> Volume:
        inside = np.clip(plane, LOW, HIGH)
        eight = np.rint((inside - LOW) * (255 / (HIGH - LOW))).astype(np.uint8)
        made = cv2.fastNlMeansDenoising(eight, None, h=6, templateWindowSize=5, searchWindowSize=15)
        return np.where(inside == plane, made.astype(np.float32) * ((HIGH - LOW) / 255) + LOW, plane)

    return _slices(pixels, one)


def resampled(pixels: Volume) -> Volume:
    """Every slice through four fifths of its size and back."""
    height, width = pixels.shape[1:]
    small = (round(0.8 * width), round(0.8 * height))
    return _slices(pixels, lambda plane: np.asarray(cv2.resize(
        cv2.resize(plane, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC)))


def eight_bits(pixels: Volume) -> Volume:
    """The lung window in 256 grey levels and back; what lies beyond stays."""
    inside = np.clip(pixels, LOW, HIGH)
    steps = np.rint((inside - LOW) * (255 / (HIGH - LOW))) * ((HIGH - LOW) / 255) + LOW
    return np.rint(np.where(inside == pixels, steps, pixels)).astype(np.float32)


def jpeg2000(pixels: Volume, ratio: float = 7.0) -> Volume:
    """Every slice through lossy JPEG 2000."""
    low = float(pixels.min())
    made = np.empty_like(pixels)
    for number, plane in enumerate(pixels):
        file = io.BytesIO()
        Pillow.fromarray((plane - low).astype(np.uint16)).save(
            file, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True)
        made[number] = np.asarray(Pillow.open(file)).astype(np.float32) + low
    return made


def grainy(pixels: Volume) -> Volume:
    """With noise of 10 HU."""
    return np.rint(pixels + np.random.default_rng(0).normal(0, 10, pixels.shape)).astype(np.float32)


def _slices(pixels: Volume, one: Callable[[Volume], npt.NDArray[np.generic]]) -> Volume:
    return np.rint(np.stack([one(plane) for plane in pixels])).astype(np.float32)


PURIFICATIONS: dict[str, Purify] = {
    "as it is": lambda pixels: pixels, "blurred, σ .5": blurred(0.5), "blurred, σ 1": blurred(1.0), "median": median,
    "non-local means": non_local, "resampled": resampled, "8-bit window": eight_bits, "JPEG 2000, 7:1": jpeg2000,
    "noise, 10 HU": grainy}
