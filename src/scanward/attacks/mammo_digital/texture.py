"""What a digital mammogram is made of beside its masses: strands, grain, and how grain grows with brightness."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from scanward.attacks.blend import Plane
from scanward.attacks.grain import grain, resynthesised, smooth

LEVELS = 12
"""Levels of brightness between which the grain's curve is straight."""
BLOCK = 16
"""Pixels a side of the blocks that it is measured in."""
GAINS = (0.5, 2.0)
"""By how much grain may be weakened or strengthened."""
RIDGE_MM = (0.25, 0.45)
"""Standard deviations of the line filter, in mm: strands, ducts and vessels are about twice as wide."""


def denoised(crop: Plane, level: float) -> Plane:
    """`crop` (y, x) without grain of standard deviation `level`, by non-local means: strands stay."""
    low, high = float(crop.min()), float(crop.max())
    if high <= low or level <= 0:
        return crop
    unit = 65535 / (high - low)
    whole = np.rint((crop - low) * unit).astype(np.uint16)
    clean = cv2.fastNlMeansDenoising(whole, h=[float(1.2 * level * unit)], templateWindowSize=3, searchWindowSize=9,
                                     normType=cv2.NORM_L1)
    return clean.astype(np.float32) / np.float32(unit) + np.float32(low)


def grain_curve(plane: Plane, inside: npt.NDArray[np.bool_]) -> tuple[Plane, Plane]:
    """Grey levels and the grain's standard deviation at each, (LEVELS,), of a mammogram (y, x) where `inside`: the
    lower quartile of blocks of about that brightness, as strands raise it."""
    height, width = (side // BLOCK * BLOCK for side in plane.shape)
    blocks = plane[:height, :width]
    fine = np.abs(blocks - cv2.GaussianBlur(blocks, (0, 0), 1.0))
    size = (width // BLOCK, height // BLOCK)
    level, strength = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (blocks, fine))
    small = np.ascontiguousarray(inside[:height, :width].view(np.uint8))
    whole = cv2.resize(small, size, interpolation=cv2.INTER_NEAREST) > 0
    level, strength = level[whole], strength[whole]
    if len(level) < 4 * LEVELS:
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    edges = np.quantile(level, np.linspace(0, 1, LEVELS + 1))
    which = np.clip(np.searchsorted(edges, level, "right") - 1, 0, LEVELS - 1)
    middles = np.array([level[which == n].mean() if (which == n).any() else edges[n] for n in range(LEVELS)])
    strengths = np.array([np.quantile(strength[which == n], 0.25) if (which == n).any() else 0 for n in range(LEVELS)])
    return middles.astype(np.float32), np.maximum(strengths, 1e-3 * max(strengths.max(), 1e-6)).astype(np.float32)


def gain(curve: tuple[Plane, Plane], before: Plane, after: Plane) -> Plane:
    """By how much grain changes where the brightness (y, x) changes."""
    now, then = (np.interp(x, *curve) for x in (after, before))
    return np.clip(now / np.maximum(then, 1e-6), *GAINS).astype(np.float32)


def mixed(one: Plane, other: Plane, share: Plane) -> Plane:
    """Two independent textures of one strength, mixed so that the strength stays."""
    return np.sqrt(1 - share * share) * one + share * other


def regrained(crop: Plane, clean: Plane, share: Plane, seed: int) -> Plane:
    """The grain of a crop, `crop - clean`, drawn anew where `share` is 1."""
    own = crop - clean
    return mixed(own, resynthesised(own, seed), share)


def fractal(side: int, seed: int, slope: float, largest: float, smallest: float = 2.0) -> Plane:
    """Noise (side, side) of deviation 1 whose power falls as f^-slope between periods of `largest` and `smallest`
    pixels: as breast tissue, slope 3 (Burgess et al. 2001)."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    band = (frequency >= 1 / largest) & (frequency <= 1 / smallest)
    amplitude = np.where(band, np.maximum(frequency, 1e-9) ** (-slope / 2), 0)
    white = np.fft.rfft2(np.random.default_rng(seed).standard_normal((side, side)))
    drawn = np.fft.irfft2(white * amplitude, (side, side))
    return np.asarray(drawn / max(float(drawn.std()), 1e-9), np.float32)


def ridges(clean: Plane, mm: float) -> Plane:
    """How much a bright line passes through each pixel (y, x): the largest downward curvature over the scales of
    `RIDGE_MM`, times the scale squared, in units of its 95th percentile, cut at 2."""
    best = np.zeros(clean.shape, np.float32)
    for scale in RIDGE_MM:
        sigma = max(1.0, scale / mm)
        soft = smooth(clean, sigma)
        dy, dx = np.gradient(soft)
        dyy, dxy = np.gradient(dy)
        dxx = np.gradient(dx, axis=1)
        middle, spread = (dxx + dyy) / 2, np.hypot((dxx - dyy) / 2, dxy)
        best = np.maximum(best, -(middle - spread) * np.float32(sigma**2))
    return np.clip(best / max(float(np.percentile(best, 95)), 1e-6), 0, 2).astype(np.float32)


def own_grain(crop: Plane) -> float:
    """The deviation of the crop's grain, above none."""
    return max(grain(crop), 1e-6)
