"""What a mammogram is made of beside its masses: strands, grain, and how grain grows with brightness."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from scanward.attacks.blend import Plane
from scanward.attacks.grain import grain, smooth

Mask = npt.NDArray[np.bool_]
Curve = tuple[Plane, Plane]
"""Grey levels, rising, and the grain's strength at each."""

NOMINAL_MM = 0.1
"""Millimetres a pixel where an image says none."""
LEVELS = 12
"""Grey levels of the grain's curve, which is straight between them."""
BLOCK = 16
"""Pixels a side of the blocks that it is measured in."""
GAINS = (0.5, 2.0)
"""By how much grain may be weakened or strengthened."""
LINES_MM = (0.25, 0.45)
"""Standard deviations of the line filter: strands, ducts and vessels are about twice as wide."""
STRONG = 2.0
"""Of the grain's white part: how much non-local means take for grain, which is no white noise."""
RINGS = 24
"""In which power is matched."""
MATCH = (0.5, 2.0)
"""By how much amplitudes may be matched."""
FINE_MM = 1.0
"""Standard deviation of what parts strands from the tissue's brightness."""


def denoised(crop: Plane, level: float) -> Plane:
    """`crop` (y, x) without grain of standard deviation `level`, by non-local means (Buades et al. 2005): strands
    stay."""
    low, high = float(crop.min()), float(crop.max())
    if high <= low:
        return crop
    unit = 65535 / (high - low)
    whole = np.rint((crop - low) * unit).astype(np.uint16)
    clean = cv2.fastNlMeansDenoising(whole, h=[float(STRONG * level * unit)], templateWindowSize=3, searchWindowSize=9,
                                     normType=cv2.NORM_L1)
    return np.asarray(clean.astype(np.float32) / np.float32(unit) + np.float32(low))


def level_of(crop: Plane) -> float:
    """Standard deviation of a crop's grain, above none."""
    return max(grain(crop), 1e-6)


def grain_curve(plane: Plane, inside: Mask) -> Curve:
    """How strong the grain of a mammogram (y, x) is at each brightness where `inside`: the lower quartile over blocks
    of about that brightness, since strands raise it. Even where there are few blocks."""
    height, width = (side // BLOCK * BLOCK for side in plane.shape)
    if height * width < 4 * LEVELS * BLOCK * BLOCK:
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    blocks, size = plane[:height, :width], (width // BLOCK, height // BLOCK)
    fine = np.abs(blocks - cv2.GaussianBlur(blocks, (0, 0), 1.0))
    level, strength = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (blocks, fine))
    whole = cv2.erode(inside[:height, :width].view(np.uint8), np.ones((BLOCK, BLOCK), np.uint8))
    chosen = cv2.resize(whole, size, interpolation=cv2.INTER_NEAREST) > 0
    level, strength = level[chosen], strength[chosen]
    if len(level) < 4 * LEVELS:
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    parts = np.array_split(np.argsort(level, kind="stable"), LEVELS)
    curve = [(level[part].mean(), np.quantile(strength[part], 0.25)) for part in parts]
    levels, strengths = np.array(curve, np.float32).T
    return levels, np.maximum(strengths, 0.1 * max(float(strengths.max()), 1e-6))


def gain(curve: Curve, before: Plane, after: Plane) -> Plane:
    """By how much grain changes where the brightness (y, x) does; small structures do not count."""
    then, now = (np.interp(smooth(x, 8), *curve) for x in (before, after))
    return np.clip(now / then, *GAINS).astype(np.float32)


def mixed(one: Plane, other: Plane, share: Plane | np.float32) -> Plane:
    """Two independent textures of one strength, mixed so that the strength stays; `share` of the `other`."""
    return np.asarray(np.sqrt(1 - share * share) * one + share * other, np.float32)


def matched(made: Plane, wanted: Plane, share: Plane, least: float = MATCH[0]) -> Plane:
    """`made` (a, a) where `share` is 1 with the radial power spectrum up to Nyquist that `wanted` (a, a) has there, and
    as it is where `share` is 0. No amplitude is multiplied by less than `least`.

    Parts that are drawn anew lose what they had in common with those that are kept, and with it power.
    """
    side = len(made)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    ring = np.minimum((frequency * 2 * RINGS).astype(int), RINGS).ravel()
    now, then = (np.bincount(ring, np.abs(np.fft.rfft2(x * share)).ravel() ** 2, RINGS + 1) for x in (made, wanted))
    ratio = np.clip(np.sqrt(then / np.maximum(now, 1e-9)), least, MATCH[1])
    factor = np.interp(frequency * 2 * RINGS - 0.5, np.arange(RINGS + 1), ratio)
    return np.asarray(made + share * (np.fft.irfft2(np.fft.rfft2(made) * factor, made.shape) - made), np.float32)


def fractal(side: int, seed: int, slope: float, largest: float, smallest: float = 2.0) -> Plane:
    """Noise (side, side) of deviation 1 whose power falls as f^-slope between periods of `largest` and `smallest`
    pixels; that of breast tissue falls with a slope of about 3 (Burgess et al. 2001)."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    band = (frequency >= 1 / max(largest, 4.0)) & (frequency <= 1 / smallest)
    amplitude = np.where(band, np.maximum(frequency, 1e-9) ** (-slope / 2), 0)
    white = np.fft.rfft2(np.random.default_rng(seed).standard_normal((side, side)))
    drawn = np.fft.irfft2(white * amplitude, (side, side))
    return np.asarray(drawn / max(float(drawn.std()), 1e-9), np.float32)


def lines(clean: Plane, mm: float) -> Plane:
    """How much of a bright line passes through each pixel (y, x), [0, 2]: the largest downward curvature over
    `LINES_MM`, times the scale squared (Lindeberg 1998), in units of its 95th percentile."""
    best = np.zeros(clean.shape, np.float32)
    if min(clean.shape) < 3:
        return best
    for scale in LINES_MM:
        sigma = max(1.0, scale / mm)
        dy, dx = np.gradient(smooth(clean, sigma))
        dyy, dxy = np.gradient(dy)
        dxx = np.gradient(dx, axis=1)
        downward = np.hypot((dxx - dyy) / 2, dxy) - (dxx + dyy) / 2
        best = np.maximum(best, downward * np.float32(sigma**2))
    return np.clip(best / max(float(np.percentile(best, 95)), 1e-6), 0, 2).astype(np.float32)
