"""Places of the lungs worth comparing, and what their patches hold, whichever way these are mirrored or turned."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

ANGLES = 16
"""Samples a ring."""
MARGIN = 6
"""Pixels at the border of the part that is looked at, which patches may reach into."""
CALM = 20000
"""Patches, of the calmer half, that say how noise goes together."""
LEAST = 0.02
"""Square HU of a component that is more than rounding."""


@dataclass(frozen=True)
class Patches:
    """What is compared: discs, and those above and below them."""

    radii: tuple[float, ...]
    """Pixels of the rings."""
    orders: int
    """Highest angular frequency on a ring."""
    slices: int
    """1 or 3."""
    parts: int
    """Components kept, those of the largest variance."""
    most: int
    """Places that are compared, those that stand out most."""


@dataclass(frozen=True)
class Described:
    """N places of one scan, with the frames that their patches were brought to."""

    at: npt.NDArray[np.int32]
    """(N, 3), voxels (z, y, x) of the part that is looked at."""
    beside: npt.NDArray[np.float32]
    """(N, 2), pixels (y, x) from there to where the grain's peak is: copies may be moved by parts of a pixel."""
    bright: Mask
    """(N,), brighter than what is about it."""
    vectors: npt.NDArray[np.float32]
    """(N, parts), of unit variance where a patch holds noise alone."""
    angle: npt.NDArray[np.float32]
    """(N,), radians by which a patch was turned."""
    mirrored: Mask
    flipped: Mask
    """(N,), the slices above and below changed places; never of discs."""


def detail(volume: Volume) -> Volume:
    """Each slice's grain in HU: a narrow Gaussian less the mean of 5 × 5 pixels, so that it ends where a copy does."""
    return np.stack([cv2.GaussianBlur(plane, (3, 3), 0.8) - cv2.blur(plane, (5, 5)) for plane in volume])


def fine(volume: Volume) -> Volume:
    """What each pixel's neighbours in its slice do not foretell, HU: second differences in x of those in y."""
    kernel = np.outer([0.5, -1, 0.5], [0.5, -1, 0.5]).astype(np.float32)
    return np.stack([cv2.filter2D(plane, -1, kernel) for plane in volume])


def across(grain: Volume) -> Volume:
    """What the slices above and below do not foretell of a slice's grain, for thin slices, which share it."""
    made = grain.copy()
    made[1:-1] -= 0.5 * (grain[:-2] + grain[2:])
    return made


def places(grain: Volume, inside: Mask, floor: float) -> npt.NDArray[np.int32]:
    """(N, 3) voxels (z, y, x) inside the mask whose grain is farther from 0 than their eight neighbours' and `floor`,
    slice by slice."""
    found = []
    square = np.ones((3, 3), np.uint8)
    for z, plane in enumerate(grain):
        size = np.abs(plane)
        peak = (size >= cv2.dilate(size, square)) & inside[z] & (size > floor)
        peak[:MARGIN] = peak[-MARGIN:] = False
        peak[:, :MARGIN] = peak[:, -MARGIN:] = False
        y, x = np.nonzero(peak)
        found.append(np.stack([np.full(len(y), z), y, x], 1))
    return np.concatenate(found).astype(np.int32)


def describe(volume: Volume, grain: Volume, at: npt.NDArray[np.int32], kind: Patches) -> Described:
    """Rings of HU about each place, less each disc's mean, as angular Fourier coefficients in the patch's own frame.

    HU, and not their grain: what a filter brings in from beyond a copy's rim would differ at its two places.
    """
    strength = np.abs(grain[tuple(at.T)])
    if len(at) > kind.most:
        at = at[np.sort(np.argpartition(-strength, kind.most)[:kind.most])]
    beside = _beside(grain, at)
    rings, middle = _rings(volume, at, beside, kind)
    centre = kind.slices // 2
    angle = np.angle(rings[:, centre, :, 1].sum(1)).astype(np.float32)
    rings *= np.exp(-1j * angle[:, None] * np.arange(kind.orders + 1)).astype(np.complex64)[:, None, None, :]
    mirrored = rings[:, centre, :, 2].imag.sum(1) < 0
    rings[mirrored] = rings[mirrored].conj()
    flipped = np.zeros(len(at), np.bool_)
    if kind.slices == 3:
        below, above = (rings[:, n, :, 1:3].real.sum((1, 2)) for n in (0, 2))
        flipped = above < below
        rings[flipped], middle[flipped] = rings[flipped][:, ::-1], middle[flipped][:, ::-1]
    flat = np.concatenate([middle, rings[..., 0].real.reshape(len(at), -1),
                           np.sqrt(2) * rings[..., 1:].real.reshape(len(at), -1),
                           np.sqrt(2) * rings[..., 1:].imag.reshape(len(at), -1)], 1).astype(np.float32)
    return Described(at, beside, grain[tuple(at.T)] > 0, _whitened(flat, kind.parts), angle, mirrored, flipped)


def _beside(grain: Volume, at: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Of the parabola through each peak's neighbours, the top."""
    z, y, x = at.T
    here = grain[z, y, x]
    tops = []
    for ends in ((grain[z, y - 1, x], grain[z, y + 1, x]), (grain[z, y, x - 1], grain[z, y, x + 1])):
        before, after = (np.sign(here) * values for values in ends)
        bend = np.minimum(before + after - 2 * np.abs(here), -1e-6)
        tops.append(np.clip((before - after) / (2 * bend), -0.5, 0.5))
    return np.stack(tops, 1).astype(np.float32)


def _rings(volume: Volume, at: npt.NDArray[np.int32], beside: npt.NDArray[np.float32],
           kind: Patches) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.float32]]:
    """(N, slices, rings, orders + 1) coefficients, each ring with the weight of its area, and (N, slices) middles."""
    turn = 2 * np.pi * np.arange(ANGLES) / ANGLES
    reach = np.concatenate([[0], np.outer(kind.radii, np.exp(1j * turn)).ravel()])
    dx, dy = reach.real.astype(np.float32), reach.imag.astype(np.float32)
    waves = np.exp(-1j * np.outer(turn, np.arange(kind.orders + 1)))
    product = np.concatenate([waves.real, waves.imag], 1).astype(np.float32)
    area = np.sqrt(6 * np.asarray(kind.radii, np.float32))[:, None] / ANGLES
    rings = np.zeros((len(at), kind.slices, len(kind.radii), kind.orders + 1), np.complex64)
    middle = np.zeros((len(at), kind.slices), np.float32)
    bounds = np.searchsorted(at[:, 0], np.arange(len(volume) + 1))
    for z, (first, last) in enumerate(pairwise(bounds)):
        y, x = (at[first:last, 1:] + beside[first:last]).T.astype(np.float32)[..., None]
        for n in range(kind.slices if last > first else 0):
            plane = volume[min(max(z + n - kind.slices // 2, 0), len(volume) - 1)]
            samples = cv2.remap(plane, x + dx, y + dy, cv2.INTER_LINEAR)
            samples -= samples.mean(1, keepdims=True)
            middle[first:last, n] = samples[:, 0]
            flat = samples[:, 1:].reshape(-1, ANGLES) @ product
            made = flat[:, :kind.orders + 1] + 1j * flat[:, kind.orders + 1:]
            rings[first:last, n] = made.reshape(last - first, *rings.shape[2:]) * area
    return rings, middle


def _whitened(flat: npt.NDArray[np.float32], parts: int) -> npt.NDArray[np.float32]:
    """Principal components of unit variance, as the calmer half of the patches has them: of noise, not of vessels."""
    energy = np.square(flat).sum(1)
    calm = flat[energy <= np.median(energy)]
    calm = calm[::max(1, len(calm) // CALM)]
    mean = calm.mean(0)
    variances, axes = np.linalg.eigh(np.cov((calm - mean).T))
    kept = np.argsort(-variances)[:min(parts, max(1, int((variances > LEAST).sum())))]
    scaled = axes[:, kept] / np.sqrt(np.maximum(variances[kept], LEAST))
    return np.asarray((flat - mean) @ scaled.astype(np.float32), np.float32)
