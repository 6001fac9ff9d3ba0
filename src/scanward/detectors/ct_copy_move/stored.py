"""Regions whose stored values are those of another place, but for a step in brightness: what a copy that was neither
resampled nor re-encoded leaves, however small."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from scanward.detectors.ct_copy_move.describe import Mask, Volume
from scanward.detectors.ct_copy_move.verify import Match, Move

REACH_MM = 16.0
"""About the place that a region was found at."""
SQUARE = np.ones((1, 3, 3), np.bool_)
"""Of which every voxel of a region is part: chance makes threads."""


def equal(volume: Volume, inside: Mask, move: Move, spacing: tuple[float, float, float], tests: float) -> Match | None:
    """The region about a transform's place in which its target holds the same HU, but for one difference; None where
    there is none.

    By chance a voxel agrees as often as two steps between neighbours of the region do; every second voxel counts as
    independent, and `tests` is the decimal logarithm of the places compared.
    """
    if not move.exact:
        return None
    reach = [max(2, math.ceil(REACH_MM / step)) for step in spacing]
    low = [max(0, int(v) - n) for v, n in zip(move.source, reach, strict=True)]
    high = [min(side, int(v) + n + 1) for v, n, side in zip(move.source, reach, volume.shape, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    at = move(*np.meshgrid(*(np.arange(a, b, dtype=np.float64) for a, b in zip(low, high, strict=True)), indexing="ij"))
    whole = np.rint(np.stack(at)).astype(np.intp)
    limits = np.reshape(volume.shape, (3, 1, 1, 1))
    within = ((whole >= 0) & (whole < limits)).all(0)
    whole = tuple(whole.clip(0, limits - 1))
    moved = volume[whole] - volume[box]
    seed = tuple(int(v) - a for v, a in zip(move.source, low, strict=True))
    same = (np.abs(moved - moved[seed]) < 0.5) & within & inside[box] & inside[whole]
    labels, _ = ndimage.label(ndimage.binary_opening(same, SQUARE))
    if labels[seed] == 0:
        return None
    region = labels == labels[seed]
    steps = np.rint(np.diff(volume[box], axis=2)[region[..., 1:] & region[..., :-1]])
    share = np.unique(steps, return_counts=True)[1] / max(1, steps.size)
    likely = max(float(share @ share), 1e-3)
    return Match(move, np.argwhere(region) + low, 0.0, tests + 0.5 * int(region.sum()) * math.log10(likely))
