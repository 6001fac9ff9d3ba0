"""The matched filter that tells how much of a keyed pattern an image still carries, block by block."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from scanward.protectors.seal.keys import words
from scanward.protectors.seal.pattern import Grid, cells_of, signs

Floats = npt.NDArray[np.float32]
TILE, HIGH = 64, 16
"""Pixels of a side, and slices, of the tiles that the noise's spectrum is estimated on."""
RINGS = 46
"""Radial frequencies of a tile."""
AROUND = 17
"""Pixels of a side of the square that a local deviation is taken over."""
BOUND = 0.125
"""How near a block's mean may come to another interval, as a share of its width, for that one's pattern to count."""
CLIP = 3.0
"""Local deviations beyond which a value says no more."""
STEP, RIM = 32, 8
"""Slices filtered together, and those on each side that they need to see."""


def asked(steps: npt.NDArray[np.int32], grid: Grid, key: bytes,
          cell: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """As `answers`, of the key's pattern as it belongs to the means that the image's blocks have now; where a mean lies
    near the next interval, of whichever of both fits better."""
    prepared, random = prepare(steps.astype(np.float32)), words(key, grid.shape)
    means = grid.means(steps)
    cells, place = cells_of(means, cell), means / cell % 1
    spoken, variance = answers(prepared, signs(random, cells, grid), grid)
    near = np.where(place < BOUND, -1, np.where(place > 1 - BOUND, 1, 0))
    if near.any():
        other, _ = answers(prepared, signs(random, cells + near, grid), grid)
        spoken = np.where(near != 0, np.maximum(spoken, other), spoken)
    return spoken, variance


def prepare(steps: Floats) -> Floats:
    """An image (z, y, x) in steps of its file, ready to be held against patterns: whitened by the spectrum of its own
    noise, over its local deviation, clipped; and the same two weights once more, as a matched filter has them."""
    gain = whitening(steps)
    white = filtered(steps, gain)
    for number, plane in enumerate(white):
        sigma = np.sqrt(cv2.blur(plane * plane, (AROUND, AROUND), borderType=cv2.BORDER_REFLECT)) + 1e-6
        white[number] = np.clip(plane / sigma, -CLIP, CLIP) / sigma
    return filtered(white, gain)


def answers(prepared: Floats, pattern: npt.NDArray[np.int8],
            grid: Grid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sums of each block: of what speaks for the pattern, and of its square.

    The latter is the variance of the former where the image does not carry these signs, as they are independent coin
    throws to it; a sum of several blocks over the root of its variance then has tails below those of the normal
    distribution (Hoeffding 1963, theorem 2). Where it does, their quotient is proportional to the pattern's amplitude.
    """
    return grid.sums(prepared * pattern), grid.sums(prepared * prepared)


def whitening(steps: Floats) -> Floats:
    """The inverse of the typical amplitude at each frequency: (HIGH // 2 + 1, RINGS), along z and radial in the
    slice."""
    total, count = np.zeros((HIGH // 2 + 1) * RINGS), 0
    depth, height, width = steps.shape
    high, side = min(HIGH, depth), min(TILE, height, width)
    window = (np.hanning(high + 2)[1:-1, None, None] * np.hanning(side)[:, None] * np.hanning(side)).astype(np.float32)
    along = np.rint(np.abs(np.fft.fftfreq(high)) * HIGH).astype(int)
    index = (along[:, None, None] * RINGS + np.minimum(np.rint(_radii(side, side)), RINGS - 1).astype(int)).ravel()
    sizes = np.bincount(index, minlength=len(total))
    for z in range(0, depth - high + 1, high):
        for y in range(0, height - side + 1, side):
            for x in range(0, width - side + 1, side):
                part = steps[z:z + high, y:y + side, x:x + side]
                if part.min() < part.max():
                    power = np.abs(fft.rfftn((part - part.mean()) * window)) ** 2
                    # the mean of logarithms is the noise's: few tiles are full of edges
                    total += np.log(np.bincount(index, power.ravel(), len(total)) / np.maximum(sizes, 1) + 1e-3)
                    count += 1
    gain = np.exp(-0.5 * total / max(count, 1)).reshape(-1, RINGS)
    known = sizes.reshape(gain.shape) > 0
    # small images have frequencies between those of larger ones only
    for axis in (1, 0):
        gain = _between(gain, known, axis)
        known = known.any(axis, keepdims=True) | known
    return gain.astype(np.float32)


def _between(gain: npt.NDArray[np.float64], known: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.float64]:
    """Rows (or columns) with what is unknown put in between what is known."""
    lines, masks = np.moveaxis(gain, axis, 1), np.moveaxis(known, axis, 1)
    at = np.arange(lines.shape[1])
    made = [np.interp(at, at[mask], line[mask]) if mask.any() else line
            for line, mask in zip(lines, masks, strict=True)]
    return np.moveaxis(np.array(made), 1, axis)


def _radii(height: int, width: int) -> Floats:
    """Radial frequency of each value of a slice's `rfft2`, in those of a tile."""
    across = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    return np.asarray(np.hypot(*across) * TILE, np.float32)


def filtered(planes: Floats, gain: Floats) -> Floats:
    """An image (z, y, x) with its frequencies weighted; mirrored at its ends."""
    depth, height, width = planes.shape
    made = np.empty_like(planes)
    radius = _radii(height, width)
    for start in range(0, depth, STEP):
        stop = min(depth, start + STEP)
        rows = np.abs(np.arange(start - RIM, stop + RIM))
        rows = np.minimum(np.where(rows >= depth, 2 * (depth - 1) - rows, rows).clip(0), depth - 1)
        spectrum = fft.rfftn(planes[rows])
        for number, k in enumerate(np.abs(np.fft.fftfreq(len(rows))) * HIGH):
            near = min(int(k), len(gain) - 2)
            row = gain[near] + (gain[near + 1] - gain[near]) * (k - near)
            spectrum[number] *= np.interp(radius, np.arange(RINGS), row)
        made[start:stop] = fft.irfftn(spectrum, (len(rows), height, width))[RIM:RIM + stop - start]
    return made
