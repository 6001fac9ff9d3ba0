"""What makers of digital mammography systems do to an image before a reader sees it, simulated.

Every maker keeps its own processing to itself; these are its published ingredients, each with drawn parameters: driven
denoising (local Wiener filter; Lee 1980), multi-scale enhancement (a Laplacian pyramid whose details are raised to a
power; Vuylsteke & Schoeters 1994), peripheral equalisation (Bick et al. 1996), unsharp masking and a tone curve.
Authentic films go through it as forged ones do, so that no detector learns processing for forgery.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import breast_mask
from scanward.image import Image

Plane = npt.NDArray[np.float32]
LEVELS = 6
"""Of the pyramid."""
DEPTHS = (8, 10, 12)
"""Bits that a processed image is stored in."""


def processed(image: Image, seed: int) -> Image:
    """A mammogram as some maker's processing would show it; everything about that processing comes from `seed`."""
    rng = np.random.default_rng(seed)
    tissue = breast_mask(image.plane)
    low, high = (float(v) for v in np.percentile(image.plane[tissue], (0.5, 99.5)))
    plane = (image.plane - np.float32(low)) / np.float32(max(high - low, 1e-6))
    if image.bits <= 8:  # else steps of eight bits, enlarged, would be all that is left
        plane = plane + rng.uniform(-0.5, 0.5, plane.shape).astype(np.float32) / np.float32(max(high - low, 1))
    scale = max(1.0, max(plane.shape) / 1024)
    for step, share in ((_denoised, 0.5), (_equalised, 0.5), (_enhanced, 0.6), (_unsharp, 0.5), (_toned, 0.7)):
        if rng.random() < share:
            plane = np.asarray(step(plane, tissue, scale, rng), np.float32)
    low, high = (float(v) for v in np.percentile(plane[tissue], (0.2, 99.8)))
    bits = int(rng.choice(DEPTHS))
    most = 2.0**bits - 1
    floor, ceiling = rng.uniform(0.02, 0.25) * most, rng.uniform(0.8, 1.0) * most
    stored = floor + (plane - low) * ((ceiling - floor) / max(high - low, 1e-6))
    stored *= cv2.blur(tissue.astype(np.float32), (5, 5))  # beside the breast makers show nothing
    return dataclasses.replace(image, bits=bits).with_plane(stored)


def _denoised(plane: Plane, tissue: npt.NDArray[np.bool_], scale: float, rng: np.random.Generator) -> Plane:
    side = int(rng.choice([3, 5, 7]))
    mean, square = cv2.blur(plane, (side, side)), cv2.blur(np.square(plane), (side, side))
    spread = np.maximum(square - np.square(mean), 0)
    grain = float(np.median(spread[tissue])) * float(rng.uniform(0.2, 0.9))
    kept = np.maximum(spread - grain, 0) / np.maximum(spread, 1e-9)
    most = float(rng.uniform(0.3, 0.9))
    return np.asarray(mean + (1 - most + most * kept) * (plane - mean), np.float32)


def _equalised(plane: Plane, tissue: npt.NDArray[np.bool_], scale: float, rng: np.random.Generator) -> Plane:
    """Thin tissue at the skin is lifted towards the rest; its grain is with it, by as much as its contrast."""
    sigma = float(rng.uniform(15, 45)) * scale
    weight = _wide(tissue.astype(np.float32), sigma)
    thick = _wide(np.where(tissue, plane, 0).astype(np.float32), sigma) / np.maximum(weight, 0.05)
    aim = float(np.percentile(thick[tissue], 60))
    lack = np.clip(aim - thick, 0, None) * float(rng.uniform(0.3, 0.9))
    gain = 1 + float(rng.uniform(0, 1.5)) * lack / max(float(np.ptp(thick[tissue])), 1e-6)
    return np.asarray(np.where(tissue, thick + lack + gain * (plane - thick), plane), np.float32)


def _enhanced(plane: Plane, tissue: npt.NDArray[np.bool_], scale: float, rng: np.random.Generator) -> Plane:
    base, details = plane, []
    for _ in range(LEVELS):
        less = np.asarray(cv2.pyrDown(base), np.float32)
        details.append(base - cv2.pyrUp(less, dstsize=base.shape[::-1]))
        base = less
    power, boost = float(rng.uniform(0.6, 1.0)), float(rng.uniform(1.0, 2.2))
    fall = rng.uniform(0.3, 1.1)  # of the finest levels, which are mostly grain
    for level in reversed(range(LEVELS)):
        detail = details[level]
        most = float(np.percentile(np.abs(detail), 99.5)) + 1e-9
        part = np.abs(detail) / most
        # under a hundredth the power would have no bounds
        gain = boost * np.power(np.maximum(part, 0.01), power - 1)
        gain = gain * (fall if level == 0 else (1 + fall) / 2 if level == 1 else 1)
        base = cv2.pyrUp(base, dstsize=detail.shape[::-1]) + detail * np.minimum(gain, 5).astype(np.float32)
    return base


def _unsharp(plane: Plane, tissue: npt.NDArray[np.bool_], scale: float, rng: np.random.Generator) -> Plane:
    sigma, amount = float(np.exp(rng.uniform(np.log(1), np.log(12)))) * scale, float(rng.uniform(0.2, 1.5))
    return np.asarray(plane + amount * (plane - _wide(plane, sigma)), np.float32)


def _toned(plane: Plane, tissue: npt.NDArray[np.bool_], scale: float, rng: np.random.Generator) -> Plane:
    kind = _sigmoid if rng.random() < 0.5 else _gamma
    low, high = (float(v) for v in np.percentile(plane[tissue], (0.5, 99.5)))
    even = (plane - low) / max(high - low, 1e-6)
    strength = float(np.exp(rng.uniform(np.log(0.6), np.log(1.6))))
    return kind(np.asarray(even, np.float32), strength)


def _sigmoid(plane: Plane, strength: float) -> Plane:
    return np.asarray(1 / (1 + np.exp(-4 * strength * (np.clip(plane, -0.5, 1.5) - 0.5))), np.float32)


def _gamma(plane: Plane, strength: float) -> Plane:
    return np.asarray(np.power(np.clip(plane + 0.05, 1e-3, 1.5), strength), np.float32)


def _wide(plane: Plane, sigma: float) -> Plane:
    """A Gaussian blur; wide ones at a fraction of the size."""
    less = max(1, int(sigma / 4))
    if less == 1:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
    size = (max(1, plane.shape[1] // less), max(1, plane.shape[0] // less))
    small = cv2.GaussianBlur(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / less)
    return np.asarray(cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
