"""Slices that hold the same values: none does so by chance, since each has noise of its own."""

from __future__ import annotations

import zlib
from itertools import pairwise

import numpy as np

from scanward.detectors.ct_copy_move.describe import Volume

OFTEN = 0.1
"""Share of the slices that equal the one before, from which on it is resampling that repeats them."""


def repeated(volume: Volume) -> list[tuple[int, int]]:
    """Pairs of slices of a volume (z, y, x) of equal values, the earlier one first; those of one value are passed
    over."""
    known: dict[int, int] = {}
    found = []
    for z, plane in enumerate(volume):
        if np.ptp(plane) == 0:
            continue
        key = zlib.crc32(plane.tobytes())
        if key in known and np.array_equal(volume[known[key]], plane):
            found.append((known[key], z))
        else:
            known[key] = z
    return found


def resampled(volume: Volume) -> bool:
    """Whether slices equal their neighbours so often that a reader of nearest neighbours made them."""
    same = sum(np.array_equal(one, other) for one, other in pairwise(volume))
    return same >= max(3, OFTEN * len(volume))
