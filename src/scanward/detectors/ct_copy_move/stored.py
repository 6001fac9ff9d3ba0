"""Regions whose stored values are those of another place, but for a step in brightness: what a copy that was neither
resampled nor re-encoded leaves, however small.

Windows of 5 × 5 pixels without corners are hashed by the steps between their neighbours, so that an offset, a mirror
and quarter turns leave the hash as it is; which of them are looked at hangs on the hash (Schleimer et al. 2003), so
that a copy shows the same ones as its source.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.detectors.ct_copy_move.describe import MARGIN, Mask, Volume
from scanward.detectors.ct_copy_move.pairs import COMMON, NEAR_MM, apart
from scanward.detectors.ct_copy_move.verify import FURTHEST, GROW_MM, Match, Move

Points = npt.NDArray[np.int64]

WINDOWS = 2_500_000
"""Looked at in one scan, about."""
WEIGHTS = ({(0, 0.5): 1009, (0, 1.5): 613, (1, 0.5): 877, (1, 1.5): 401, (2, 0.5): 211},
           {(0, 0.5): 307, (0, 1.5): 983, (1, 0.5): 139, (1, 1.5): 757, (2, 0.5): 523})
"""Of a step at so many pixels across its direction and along it from the window's middle, in each half of the hash."""
SCATTER = (181, 109)
"""Factors that spread steps over a byte."""
LIVELY = 18
"""Of a window's 32 steps, those that are not 0, at least."""
BITS = 24
LOOKED_AT = 20_000
"""Pairs, at most."""
INDEPENDENT = 0.3
"""Of the voxels of a region: what was compressed is smooth."""
QUARTERS = (1 + 0j, 1j, -1 + 0j, -1j)

COLUMN_MM = 10.0
"""Nor are those compared that lie above one another within it: overlapping slices and streaks share noise."""
SQUARE = np.ones((1, 3, 3), np.bool_)
"""Of which every voxel of a region is part: chance makes threads."""


def twins(volume: Volume, inside: Mask, spacing: tuple[float, float, float]) -> list[Move]:
    """Transforms under which windows of stored values occur twice, those that most windows share first; none where HU
    are no whole numbers."""
    if not np.array_equal(volume[::7], np.rint(volume[::7])):
        return []
    at, code = _windows(volume, inside)
    order = np.argsort(code, kind="stable")
    code = code[order]
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    runs = np.diff(starts, append=len(code))
    some = np.repeat((runs > 1) & (runs <= COMMON), runs)
    pairs = []
    for step in range(1, COMMON):
        same = np.flatnonzero((code[step:] == code[:-step]) & some[step:])
        one, other = at[order[same]], at[order[same + step]]
        kept = apart(one, other, spacing, NEAR_MM, COLUMN_MM)
        pairs.append((one[kept], other[kept]))
    one, other = (np.concatenate(ends)[:LOOKED_AT] for ends in zip(*pairs, strict=True))
    return _moves(volume, one, other)


def _windows(volume: Volume, inside: Mask) -> tuple[Points, Points]:
    """Middles (N, 3), voxels (z, y, x), and hashes (N,) of the windows that are looked at."""
    every = max(1, round(int(inside.sum()) / WINDOWS))
    places, codes = [], []
    for z, plane in enumerate(volume):
        whole = np.rint(plane).astype(np.int32)
        steps = [np.abs(np.diff(whole, axis=axis, append=whole.take([-1], axis))) for axis in (1, 0)]
        halves = []
        for weights, factor in zip(WEIGHTS, SCATTER, strict=True):
            kernel = np.array([[weights.get((abs(dy), abs(dx + 0.5)), 0) for dx in range(-2, 2)]
                               for dy in range(-2, 3)], np.float32)
            halves.append(_sums([(step * factor & 255).astype(np.float32) for step in steps], kernel))
        moving = _sums([(step > 0).astype(np.float32) for step in steps], np.sign(kernel))
        picked = inside[z] & (moving >= LIVELY) & (halves[0].astype(np.int64) % every == 0)
        picked[:MARGIN] = picked[-MARGIN:] = False
        picked[:, :MARGIN] = picked[:, -MARGIN:] = False
        y, x = np.nonzero(picked)
        places.append(np.stack([np.full(len(y), z), y, x], 1).astype(np.int64))
        codes.append(halves[0][y, x].astype(np.int64) << BITS | halves[1][y, x].astype(np.int64))
    return np.concatenate(places), np.concatenate(codes)


def _sums(steps: list[npt.NDArray[np.float32]], kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Steps along x under a kernel and steps along y under its transpose: whole numbers below 2**24, summed exactly."""
    return np.asarray(cv2.filter2D(steps[0], cv2.CV_32F, kernel, anchor=(2, 2))
                      + cv2.filter2D(steps[1], cv2.CV_32F, np.ascontiguousarray(kernel.T), anchor=(2, 2)), np.float32)


def _moves(volume: Volume, one: Points, other: Points) -> list[Move]:
    """Of pairs of windows that hold the same values, the transforms, each also upside down."""
    reach = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 2, indexing="ij"), -1).reshape(-1, 2)
    reach = reach[np.abs(reach).sum(1) < 4]
    away = reach[:, 1] + 1j * reach[:, 0]
    here = volume[one[:, :1], one[:, 1:2] + reach[:, 0], one[:, 2:] + reach[:, 1]]
    votes: dict[tuple[int, bool, bool, tuple[int, ...]], list[int]] = {}
    for mirrored in (False, True):
        for quarter, a in enumerate(QUARTERS):
            moved = a * (away.conj() if mirrored else away)
            dy, dx = np.rint(moved.imag).astype(int), np.rint(moved.real).astype(int)
            there = volume[other[:, :1], other[:, 1:2] + dy, other[:, 2:] + dx]
            change = there - here
            for n in np.flatnonzero(np.ptp(change, axis=1) == 0):
                start = complex(one[n, 2], one[n, 1])
                shift = complex(other[n, 2], other[n, 1]) - a * (start.conjugate() if mirrored else start)
                for flipped in (False, True):
                    across = int(other[n, 0] + one[n, 0]) if flipped else int(other[n, 0] - one[n, 0])
                    key = quarter, mirrored, flipped, (round(shift.real), round(shift.imag), across)
                    votes.setdefault(key, []).append(int(n))
    found = []
    for (quarter, mirrored, flipped, _), members in sorted(votes.items(), key=lambda item: -len(item[1])):
        source, target = (tuple(float(v) for v in ends[members[len(members) // 2]]) for ends in (one, other))
        found.append(Move((source[0], source[1], source[2]), (target[0], target[1], target[2]), QUARTERS[quarter],
                          mirrored, flipped))
    return found


def equal(volume: Volume, inside: Mask, move: Move, spacing: tuple[float, float, float], tests: float) -> Match | None:
    """The region about a transform's place in which its target holds the same HU, but for one difference; None where
    there is none.

    By chance a voxel agrees as often as two steps between neighbours of the region do; `tests` is the decimal logarithm
    of the places compared.
    """
    if not move.exact:
        return None
    reach = [max(2, min(FURTHEST, math.ceil(GROW_MM / step))) for step in spacing]
    low = [max(0, int(v) - n) for v, n in zip(move.source, reach, strict=True)]
    high = [min(side, int(v) + n + 1) for v, n, side in zip(move.source, reach, volume.shape, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    at = move(*np.meshgrid(*(np.arange(a, b, dtype=np.float64) for a, b in zip(low, high, strict=True)), indexing="ij"))
    whole = np.rint(np.stack(at)).astype(np.intp)
    limits = np.reshape(volume.shape, (3, 1, 1, 1))
    within = ((whole >= 0) & (whole < limits)).all(0)
    there = tuple(whole.clip(0, limits - 1))
    moved = volume[there] - volume[box]
    seed = tuple(int(v) - a for v, a in zip(move.source, low, strict=True))
    same = (np.abs(moved - moved[seed]) < 0.5) & within & inside[box] & inside[there]
    labels, _ = ndimage.label(ndimage.binary_opening(same, SQUARE))
    if labels[seed] == 0:
        return None
    region = labels == labels[seed]
    steps = np.rint(np.diff(volume[box], axis=2)[region[..., 1:] & region[..., :-1]])
    share = np.unique(steps, return_counts=True)[1] / max(1, steps.size)
    likely = max(float(share @ share), 1e-3)
    return Match(move, np.argwhere(region) + low, 0.0, tests + INDEPENDENT * int(region.sum()) * math.log10(likely))
