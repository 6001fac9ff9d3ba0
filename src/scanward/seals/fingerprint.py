"""By which an image is known again though it was encoded anew, scaled, cropped, padded, turned over or forged.

Two pictures of every slice: a coarse one, by which the few slices that may be the same are found among many; and a fine
one of 128 x 128, laid over the other as exactly as it goes. Both show how each place differs from those around it in
units of the contrast there, so gain, window and gamma matter little. The fine one is of structures of a few
millimetres, by which two scans of one patient differ even where they show the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

COARSE, FINE = 16, 128
"""Pixels of a side."""
WIDTH = COARSE * COARSE
SMALLEST = 32
"""Pixels of a side below which a slice has no fingerprint."""
MATCH = 0.88
"""Likeness from which on two slices are of one origin: see docs/results.md."""
NEARBY = 0.03
"""Likeness below which no finer laying over helps."""
FEW = 6
"""Slices that are looked at closely for each one, of each way to turn it."""
FLIPPED = 16
"""Slices of a volume that are also looked for turned over."""
BLANK = 0.01
"""Part of an image's range within which a row or column at its border is padding."""
_UNIT, _MOST = 40, 3.0
"""Steps of the fine picture a unit of local contrast, and the largest difference, in these units."""
FLIPS: tuple[tuple[int, int], ...] = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""Steps along y and x: as it is, and turned over."""

Plane = npt.NDArray[np.float32]
Whole = (0.0, 0.0, 1.0, 1.0)
Region = tuple[float, float, float, float]
"""(y0, x0, y1, x1) in parts of the height and width."""


@dataclass(frozen=True)
class Print:
    """Of one slice."""

    coarse: npt.NDArray[np.int8]
    """(1 or 2, `WIDTH`): of the whole slice and, where that is another, without padding."""
    fine: npt.NDArray[np.int8]
    """(`FINE`, `FINE`); 0 where there is nothing to see."""
    inner: Region
    """The slice without its padding."""

    def region(self, number: int) -> Region:
        """What `coarse[number]` is of."""
        return self.inner if number else Whole


def grey_of(plane: npt.NDArray[Any]) -> Plane:
    """A slice (y, x) of stored values (y, x) or (y, x, samples)."""
    grey = plane.mean(axis=-1) if plane.ndim == 3 else plane
    return np.nan_to_num(grey.astype(np.float32), posinf=0, neginf=0)


def print_of(plane: Plane) -> Print | None:
    """The fingerprint of a slice (y, x); None where it is too small, or shows nothing."""
    if min(plane.shape) < SMALLEST or not np.ptp(plane) > 0:
        return None
    inner = _inner(plane)
    regions = [Whole] if inner == Whole else [Whole, inner]
    coarse = np.array([_coarse(_cut(plane, region)) for region in regions])
    fine = _fine(_small(plane, FINE))
    return Print(coarse, fine, inner) if fine.any() and coarse[0].any() else None


def turned(coarse: npt.NDArray[np.int8], flip: tuple[int, int]) -> npt.NDArray[np.int8]:
    """Coarse pictures (n, `WIDTH`) of slices turned over."""
    return coarse.reshape(-1, COARSE, COARSE)[:, :: flip[0], :: flip[1]].reshape(-1, WIDTH)


def nearest(known: npt.NDArray[np.int8], asked: npt.NDArray[np.int8]) -> tuple[npt.NDArray[np.intp], Plane]:
    """For each of the coarse pictures `asked` (n, `WIDTH`) the rows of `known` (m, `WIDTH`) that are most like it, and
    how alike they are, [-1, 1]: both (n, up to `FEW`)."""
    wanted = _unit(asked)
    best, where = np.empty((len(asked), 0), np.float32), np.empty((len(asked), 0), np.intp)
    for start in range(0, len(known), 1 << 14):
        part = wanted @ _unit(known[start : start + (1 << 14)]).T
        rows = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
        best, where = np.hstack([best, part]), np.hstack([where, rows])
        if best.shape[1] > FEW:
            kept = np.argpartition(-best, FEW - 1, axis=1)[:, :FEW]
            best, where = np.take_along_axis(best, kept, 1), np.take_along_axis(where, kept, 1)
    return where, best


def likeness(plane: Plane, region: Region, known: npt.NDArray[np.int8], there: Region) -> float:
    """How alike a slice (y, x) is to a known one, [-1, 1], by the `fine` picture of that, where `region` of the one is
    thought to be `there` of the other."""
    picture = _small(_laid(plane, region, there), 2 * FINE)
    half = _small(picture, FINE)
    found = _alike(_fine(half), known)
    if NEARBY <= found < MATCH:
        found = max(found, _alike(_fine(_refined(picture, _fine(half), known)), known))
    return found


def _refined(picture: Plane, near: npt.NDArray[np.int8], known: npt.NDArray[np.int8]) -> Plane:
    """The picture (2 `FINE`, 2 `FINE`), laid over what is known as well as any affine map does, at half the size."""
    warp: npt.NDArray[Any] = np.eye(2, 3, dtype=np.float32)
    everywhere = np.ones((FINE, FINE), np.uint8)
    # At twice the blur first: one pixel beside it, and fine structures are not alike at all.
    for sigma in (4.0, 2.0, 1.0):
        one, other = (cv2.GaussianBlur(fine.astype(np.float32), (0, 0), sigma) for fine in (known, near))
        try:
            _, warp = cv2.findTransformECC(one, other, warp, cv2.MOTION_AFFINE, (3, 40, 1e-4), everywhere, 1)
        except cv2.error:  # it does not converge
            break
    double = warp * np.float32(2)
    double[:, 2] += 0.5  # centres of pixels, of which four are one
    return np.asarray(cv2.warpAffine(cv2.GaussianBlur(picture, (0, 0), 0.8), double, (FINE, FINE),
                                     flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE),
                      np.float32)


def _alike(one: npt.NDArray[np.int8], other: npt.NDArray[np.int8]) -> float:
    """Correlation where both show something; 0 where that is less than a twentieth."""
    both = (one != 0) & (other != 0)
    if both.sum() < one.size / 20:
        return 0.0
    a, b = one[both].astype(np.float32), other[both].astype(np.float32)
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / max(float(np.sqrt((a @ a) * (b @ b))), 1e-9))


def _coarse(plane: Plane) -> npt.NDArray[np.int8]:
    picture = np.asarray(cv2.GaussianBlur(_small(plane, 2 * COARSE), (0, 0), 1.0), np.float32)
    found = cv2.resize(_contrast(picture, 2.0, 4.0, 0.0), (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    return np.rint(np.clip((found - found.mean()) * _UNIT, -127, 127)).astype(np.int8).ravel()


def _fine(picture: Plane) -> npt.NDArray[np.int8]:
    found = _contrast(picture, 1.0, 2.0, 0.3)
    steps = np.rint(found * _UNIT)
    return np.where((steps == 0) & (found != 0), np.copysign(1, found), steps).astype(np.int8)


def _contrast(picture: Plane, near: float, far: float, least: float) -> Plane:
    """How each pixel differs from those around it, in units of the contrast there; 0 where that is less than `least` of
    the contrast in most of the picture: labels and edges of the film, which many have, are not to drown the rest."""
    detail = picture - cv2.GaussianBlur(picture, (0, 0), near)
    local = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), far))
    usual = float(np.percentile(local, 75)) or float(local.mean())
    found = np.clip(detail / (local + 0.1 * usual + 1e-6), -_MOST, _MOST)
    return np.where(local > least * usual, found, 0).astype(np.float32)


def _inner(plane: Plane) -> Region:
    """A slice without rows and columns at its border that are padding."""
    low, high = np.percentile(plane[::4, ::4], (0.5, 99.5))
    sides = []
    for axis in (1, 0):
        full = np.flatnonzero(np.ptp(plane, axis=axis) > BLANK * (high - low))
        first, last = (int(full[0]), int(full[-1]) + 1) if full.size else (0, plane.shape[1 - axis])
        sides.append((first, last) if last - first >= SMALLEST else (0, plane.shape[1 - axis]))
    (top, bottom), (left, right) = sides
    return top / plane.shape[0], left / plane.shape[1], bottom / plane.shape[0], right / plane.shape[1]


def _cut(plane: Plane, region: Region) -> Plane:
    return _laid(plane, region, Whole)


def _laid(plane: Plane, region: Region, there: Region) -> Plane:
    """What of a slice is where all of the other is, if its `region` is `there` of that; continued at its border."""
    ends = []
    for axis in range(2):
        length = plane.shape[axis]
        scale = (region[axis + 2] - region[axis]) / (there[axis + 2] - there[axis]) * length
        first = region[axis] * length - there[axis] * scale
        ends.append((max(-length, round(first)), min(2 * length, round(first + scale))))
    (top, bottom), (left, right) = ends
    above, below, before, behind = (max(0, -top), max(0, bottom - plane.shape[0]), max(0, -left),
                                    max(0, right - plane.shape[1]))
    inside = plane[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if not (above or below or before or behind):
        return inside
    return np.asarray(cv2.copyMakeBorder(np.ascontiguousarray(inside), above, below, before, behind,
                                         cv2.BORDER_REPLICATE), np.float32)


def _small(plane: Plane, side: int) -> Plane:
    kind = cv2.INTER_AREA if min(plane.shape) >= side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(plane), (side, side), interpolation=kind), np.float32)


def _unit(rows: npt.NDArray[np.int8]) -> Plane:
    found = rows.astype(np.float32)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)


def sampled(count: int, most: int) -> Sequence[int]:
    """At most so many of `count` places, evenly apart."""
    return range(count) if count <= most else [round(i * (count - 1) / (most - 1)) for i in range(most)]
