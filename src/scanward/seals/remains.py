"""What is left of the difference of two reduced copies, and how much of it is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.seals.lattice import Cells, Lattice

SCALES = (1.0, 2.0, 3.0, 5.0)
"""Widths at half maximum, in pitches within a slice, over which the difference of two copies is averaged."""
NEAR, WIDE = 1, 3.0
"""Cells about one within which the largest remains count, and σ of those in which their mean square does."""
TIMES, SIGMAS, FLOOR = 2.4, 7.0, 3.0
"""The tolerance: so many times the largest remains near by, or so many σ of those further about, whichever is more, and
above it so many σ of what noise leaves."""
LEVEL = 90
"""Per cent of the cells whose part of the tolerance says how far a treatment went, wherever it went furthest."""
FEWEST, ENOUGH = 1 << 8, 1 << 18
"""Cells that a fit is made of, at least and at most."""

Mask = npt.NDArray[np.bool_]


def fitted(difference: Cells, terms: Sequence[Cells], keep: Mask, bounds: Sequence[tuple[float, float]]) -> \
        tuple[Cells, npt.NDArray[np.float64]]:
    """What is left of a difference once an offset and each term have taken their share, by one number each for the
    whole image, within its bounds; and these numbers. Cells far off do not count."""
    from scipy import optimize  # takes half a second, and few images are held to their reduced copy

    # Black borders, where no term says anything, would make any fit look well.
    telling = keep & np.logical_or.reduce([term != 0 for term in terms[1:]]) if len(terms) > 1 else keep
    chosen = np.flatnonzero(telling if telling.sum() >= FEWEST else keep)
    chosen = chosen[:: max(1, len(chosen) // ENOUGH)].copy()
    y = difference.ravel()[chosen].astype(np.float64)
    a = np.stack([np.ones_like(y), *(term.ravel()[chosen] for term in terms)], 1).astype(np.float64)
    found = np.zeros(a.shape[1])
    for _ in range(4 if len(y) >= 4 * a.shape[1] else 0):
        rest = np.abs(y - a @ found)
        near = rest <= 3 * float(np.median(rest))
        # Few numbers from many cells: their normal equations hold as much.
        square, right = a[near].T @ a[near], a[near].T @ y[near]
        root = np.linalg.cholesky(square + np.eye(len(square)) * 1e-9 * max(float(np.trace(square)), 1e-9))
        found = optimize.lsq_linear(root.T, np.linalg.solve(root, right), tuple(zip(*bounds, strict=True))).x
    left = difference - np.float32(found[0])
    for number, term in zip(found[1:], terms, strict=True):
        left -= np.float32(number) * term
    return left, found


def smoothed(left: Cells, keep: Mask, lattice: Lattice, scale: float) -> Cells:
    """Means over one of `SCALES`, of kept cells alone."""
    inside = keep.astype(np.float32)
    if scale == 1:
        return left * inside
    sigmas = lattice.sigmas(scale)
    weight = ndimage.gaussian_filter(inside, sigmas, truncate=2.5, mode="constant")
    mean = ndimage.gaussian_filter(left * inside, sigmas, truncate=2.5, mode="constant")
    return np.asarray(inside * mean / np.maximum(weight, np.float32(0.2)), np.float32)


def tolerance_of(means: Iterable[Cells], keep: Mask) -> Cells:
    """At one scale, from what each trial left there; the first of them is noise alone."""
    floor = 0.0
    near, wide = np.zeros(keep.shape, np.float32), np.zeros(keep.shape, np.float32)
    for number, mean in enumerate(means):
        if number == 0 and keep.any():
            floor = float(np.sqrt(np.mean(mean[keep] ** 2)))
        np.maximum(near, np.abs(mean), out=near)
        np.maximum(wide, ndimage.gaussian_filter(mean**2, WIDE, mode="nearest"), out=wide)
    # What is not kept is zero there, and no sign of calm.
    wide /= np.maximum(ndimage.gaussian_filter(keep.astype(np.float32), WIDE, mode="nearest"), np.float32(0.1))
    near = ndimage.maximum_filter(near, 2 * NEAR + 1, mode="nearest")
    return np.maximum(TIMES * near, SIGMAS * np.sqrt(wide)) + np.float32(FLOOR * floor)


def level(mean: Cells, tolerance: Cells, keep: Mask) -> float:
    """How far a treatment went: what `LEVEL` per cent of the cells stay under, in parts of their tolerance."""
    return float(np.percentile(np.abs(mean[keep]) / tolerance[keep], LEVEL)) if keep.any() else 0.0
