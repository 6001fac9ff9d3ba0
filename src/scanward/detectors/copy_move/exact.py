"""Identical windows of stored values: what a copy that was not resampled leaves, however small.

Descriptors of grain need room; a window of 7×7 stored values already repeats nowhere by chance, since each value holds
a bit or two of grain. Windows are compared up to an offset, a mirror and quarter turns. Which of them are looked at
depends on what they hold (as in winnowing; Schleimer et al. 2003), so that a copy and its source show the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from scanward.detectors.copy_move.keypoints import Plane
from scanward.detectors.copy_move.matching import APART, Transform
from scanward.detectors.copy_move.verify import ELLIPSES, Match
from scanward.image import as_uint16

SIDE = 7
WINDOWS = 2**15
"""Windows looked at in one image, about."""
LIVELY = 18
"""Least neighbours in a row that differ, of 42: flat windows are alike without being copies."""
SUPPORT = 3
"""Identical windows that must have moved alike."""
MOST = 12
_TABLE = 2**20
_COMMON = 4
"""Windows that occur more often than this are a pattern of the image's own."""


def find(plane: Plane, inside: npt.NDArray[np.bool_], step: int) -> list[Match]:
    """Regions of the (y, x) plane whose values stand somewhere else once more.

    `inside` is the tissue on the working grid, whose pixels are `step` pixels of the plane wide; matches are on it.
    Values must be whole numbers from 0 to 65535; nothing is found in others.
    """
    whole = as_uint16(plane) if min(plane.shape) >= 2 * SIDE else None
    if whole is None:
        return []
    at, patches = _sampled(whole, inside, step)
    code = np.random.default_rng(0).integers(1, 2**62, SIDE * SIDE - 1, np.int64) | 1
    own = _hashes(patches, code)
    order = np.argsort(own, kind="stable")
    ranked = own[order]
    # Most windows have no twin, and a table of the hashes' last bits says so faster than a search.
    known = np.zeros(_TABLE, np.bool_)
    known[own % _TABLE] = True
    found: list[_Group] = []
    for mirrored in (False, True):
        for quarter in range(4):
            hashes = _hashes(np.rot90(patches[:, ::-1] if mirrored else patches, quarter, (1, 2)), code)
            rest = np.flatnonzero(known[hashes % _TABLE])
            low, high = (np.searchsorted(ranked, hashes[rest], side) for side in ("left", "right"))
            for k in range(_COMMON):
                picked = (high - low > k) & (high - low <= _COMMON)
                found += _moved_alike(at[rest[picked]], at[order[low[picked] + k]], (1, -1j, -1, 1j)[quarter], mirrored,
                                      step)
    found.sort(key=lambda group: -len(group.source))
    matches = [_confirmed(whole, inside, step, group) for group in found[:MOST]]
    return [match for match in matches if match is not None]


@dataclass(frozen=True)
class _Group:
    """Identical windows that moved alike, q = a p + b (a conj(p) + b if mirrored), in pixels of the plane."""

    source: npt.NDArray[np.complex128]
    destination: npt.NDArray[np.complex128]
    a: complex
    mirrored: bool

    def transform(self, step: int) -> Transform:
        """On a grid of pixels `step` wide."""
        p, q = ((complex(v[0]) + 0.5 + 0.5j) / step - 0.5 - 0.5j for v in (self.source, self.destination))
        return Transform(self.a, q - self.a * (p.conjugate() if self.mirrored else p), self.mirrored)


def _sampled(whole: npt.NDArray[np.uint16], inside: npt.NDArray[np.bool_],
             step: int) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.int64]]:
    """Centres (N,), x + iy, and values (N, 7, 7) of the windows whose content picks them."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    top, left = int(rows[0]) * step, int(columns[0]) * step
    part = whole[top:(int(rows[-1]) + 1) * step, left:(int(columns[-1]) + 1) * step]
    every = max(1, round(float(inside.sum()) * step * step / WINDOWS))
    # The middle against the window's sum: a mirror, a quarter turn and an offset leave it as it is.
    sums = cv2.boxFilter(part, cv2.CV_32S, (SIDE, SIDE), normalize=False, borderType=cv2.BORDER_REFLECT)
    key = np.multiply(part, SIDE * SIDE, dtype=np.uint32)
    key -= np.asarray(sums, np.int32).view(np.uint32)
    key *= np.uint32(2654435761)
    # Flat places have the key 0, which wraps to the largest.
    key -= np.uint32(1)
    picked = key < np.uint32(2**32 // every - 1)
    rim = SIDE // 2
    picked[:rim] = picked[-rim:] = False
    picked[:, :rim] = picked[:, -rim:] = False
    y, x = np.nonzero(picked)
    y, x = (v[inside[(y + top) // step, (x + left) // step]] for v in (y, x))
    reach = np.arange(-rim, rim + 1)
    patches = part[y[:, None, None] + reach[:, None], x[:, None, None] + reach].astype(np.int64)
    lively = (np.diff(patches, axis=2) != 0).sum((1, 2)) >= LIVELY
    lively &= (np.diff(patches, axis=1) != 0).sum((1, 2)) >= LIVELY
    return (x + left + 1j * (y + top))[lively], patches[lively]


def _hashes(patches: npt.NDArray[np.int64], code: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) hashes of the differences to the first value, modulo 2**64."""
    flat = patches.reshape(len(patches), SIDE * SIDE)
    return (flat[:, 1:] - flat[:, :1]) @ code


def _moved_alike(source: npt.NDArray[np.complex128], target: npt.NDArray[np.complex128], a: complex, mirrored: bool,
                 step: int) -> list[_Group]:
    """Every transform that at least SUPPORT windows share; places nearer than `APART` repeat by themselves."""
    far = np.abs(source - target) >= APART * step
    source, target = source[far], target[far]
    _, which, count = np.unique(target - a * (source.conj() if mirrored else source), return_inverse=True,
                                return_counts=True)
    return [_Group(source[which == i], target[which == i], a, mirrored) for i in np.flatnonzero(count >= SUPPORT)]


def _confirmed(whole: npt.NDArray[np.uint16], inside: npt.NDArray[np.bool_], step: int, group: _Group) -> Match | None:
    """The region of equal values that the windows belong to, on the working grid, with its false alarms.

    Under the null hypothesis a pixel agrees as often as two differences of neighbours of the region do; every second
    pixel counts as independent.
    """
    q = group.destination
    centre, reach = complex(np.median(q.real), np.median(q.imag)), 24 * step
    x0, y0 = (max(0, int(v.min()) - reach) // step * step for v in (q.real, q.imag))
    x1, y1 = (min(n, int(v.max()) + reach + 1) // step * step
              for v, n in ((q.real, whole.shape[1]), (q.imag, whole.shape[0])))
    matrix = group.transform(1).matrix()
    matrix[:, 2] -= x0, y0
    there = cv2.warpAffine(whole, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_NEAREST).astype(np.int32)
    here = whole[y0:y1, x0:x1].astype(np.int32)
    moved = here - there
    nearest = int(np.abs(q - centre).argmin())
    y, x = int(q[nearest].imag) - y0, int(q[nearest].real) - x0
    same = cv2.morphologyEx((moved == moved[y, x]).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    labels = cv2.connectedComponents(same)[1]
    region = (labels == labels[y, x]) & (labels > 0)
    if not region[y, x]:
        return None
    steps = np.diff(here, axis=1)[region[:, 1:] & region[:, :-1]]
    share = np.unique(steps, return_counts=True)[1] / len(steps)
    tests = 2 * np.log10(float(inside.sum()) * step * step) + np.log10(8) + ELLIPSES
    log_nfa = float(tests + region.sum() / 2 * np.log10(share @ share))
    size = ((x1 - x0) // step, (y1 - y0) // step)
    small = cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    corner = (x0 // step, y0 // step)
    return Match(group.transform(step).matrix(), corner, small.astype(np.float32), small, 1.0, log_nfa)
