"""A reduced copy of an image: what is left of it where every allowed treatment agrees, with the tolerance of each cell.

It answers what hashes cannot: whether an image that was encoded anew as a whole is still the one that was sealed. The
tolerances come from this very image, put through the treatments when it was sealed. Nothing that is allowed in one
place depends on the received pixels, and only the copy's privacy depends on a secret: who knows every number of it can
still change no more than its tolerances.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.seals.lattice import Cells, Lattice, Plane
from scanward.seals.quantised import Blocks, Coarse, Quantised
from scanward.seals.remains import SCALES, fitted, level, smoothed, tolerance_of
from scanward.seals.treatments import MODES, TRIALS, modes, trials, whole

AIR = -1024.0
"""HU below which is padding: raised to it, as every other program does."""
PADDED = -1500.0
"""HU below which a treatment smears what lies beside."""
LUNG, OUTSIDE = -300.0, -920.0
"""HU: what is below the first and reaches a slice's rim is about the patient where it is below the second, too; lung
that reaches the rim of a small field of view is not."""
STEPS = 256
"""The noise that is allowed where values are no HU, in parts of their range: a step of eight bits."""
HU_NOISE, WHOLE = 10.0, 1.5
"""In HU; and at least so much where values are whole numbers, whose rounding is noise."""
FINE, COARSE = 0.3, 0.5
"""Of the allowed noise: steps of what is kept of the cells, and of modes and ends."""
SMALLEST = 48
"""Pixels of a side under which there is nothing to reduce."""

Halves = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Stored:
    """The voxels that are reduced."""

    values: npt.NDArray[np.generic]
    """(z, y, x), of grey levels."""
    scale: tuple[tuple[float, float], ...]
    """(slope, intercept) of all slices, or of each."""
    steps: tuple[float | None, float | None, float | None]
    """Millimetres a voxel (z, y, x), as far as they are known."""
    hounsfield: bool

    def plane(self, number: int) -> Plane:
        """One slice in the image's unit."""
        slope, intercept = self.scale[number if len(self.scale) > 1 else 0]
        plane = np.asarray(self.values[number], np.float32)
        return plane if (slope, intercept) == (1, 0) else plane * np.float32(slope) + np.float32(intercept)

    def __iter__(self) -> Iterator[Plane]:
        return map(self.plane, range(len(self.values)))

    def raised(self, plane: Plane) -> Plane:
        """Padding raised to air."""
        return np.maximum(plane, np.float32(AIR)) if self.hounsfield else plane

    @property
    def bounds(self) -> tuple[float, float]:
        """What a file of such values holds: of whole numbers from nought on, so many bits."""
        low, high = (float(end) for end in (self.values.min(), self.values.max()))
        if self.hounsfield or self.values.dtype.kind == "f" or low < 0 or self.scale != ((1.0, 0.0),):
            return -np.inf, np.inf
        return 0.0, next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if high < 2**bits), np.inf)


@dataclass(frozen=True)
class Reduced:
    """The reduced copy of one image of grey levels."""

    lattice: Lattice
    steps: tuple[float | None, float | None, float | None]
    """Millimetres a voxel (z, y, x) of the image."""
    hounsfield: bool
    noise: float
    """σ that is allowed, in the image's unit."""
    cells: Quantised
    modes: tuple[Quantised, ...]
    """How each of `modes()` changes the cells."""
    judged: npt.NDArray[np.bool_]
    """Cells (z, y, x) that are held to the copy: no padding, nothing outside of the patient."""
    tolerance: tuple[Coarse, ...]
    """By how much each may differ, at each of `SCALES`."""
    levels: tuple[float, ...]
    """The largest `level` of a trial at each scale."""
    least: Blocks
    most: Blocks
    """The smallest and largest value near each cell: what a cut range has taken away."""


def reduced_of(stored: Stored, rng: np.random.Generator) -> Reduced:
    """Puts an image of at least `SMALLEST` pixels a side through the treatments and keeps what is to be expected of it
    after any of them; `rng` draws where the lattice begins."""
    z, y, x = stored.values.shape
    lattice, hounsfield = Lattice.of((z, y, x), stored.steps, rng), stored.hounsfield
    noise, middle = _scale(stored)
    cells, ways, changes = _treated(stored, lattice, noise)
    judged = _judged(stored, lattice, cells)
    known = tuple(Quantised.of(_full(way, noise) * judged, COARSE * noise) for way in ways)
    del ways
    tolerance, levels = _tolerances(_remains(cells - np.float32(middle), known, changes, judged, noise), judged,
                                    lattice, noise)
    kept = Quantised.of(np.where(judged, cells, np.float32(middle)), FINE * noise, middle)
    ends = [Blocks.of(end, join, COARSE * noise, middle)
            for end, join in zip(extremes(stored, lattice), (np.minimum, np.maximum), strict=True)]
    return Reduced(lattice, stored.steps, hounsfield, noise, kept, known, judged, tolerance, levels, *ends)


def _remains(cells: Cells, known: tuple[Quantised, ...], changes: list[Halves], judged: npt.NDArray[np.bool_],
             noise: float) -> list[Halves]:
    """What is left of each trial once offset, gain and modes have taken their share; `changes` is used up."""
    terms, bounds = [cells, *(mode.values for mode in known)], bounds_of(noise)
    remains = []
    while changes:
        left, _ = fitted(_full(changes.pop(0), noise), terms, judged, bounds)
        remains.append(_half(left, noise))
    return remains


def _tolerances(remains: list[Halves], judged: npt.NDArray[np.bool_], lattice: Lattice, noise: float) -> \
        tuple[tuple[Coarse, ...], tuple[float, ...]]:
    tolerance, levels = [], []
    for scale in SCALES:
        means = [_half(smoothed(_full(one, noise), judged, lattice, scale), noise) for one in remains]
        allowed = Coarse.over(tolerance_of((_full(mean, noise) for mean in means), judged), FINE * noise)
        limits = allowed.values
        levels.append(max(level(_full(mean, noise), limits, judged) for mean in means))
        tolerance.append(allowed)
    return tuple(tolerance), tuple(levels)


def bounds_of(noise: float) -> list[tuple[float, float]]:
    """Of offset, gain about the middle of the values, and how far each mode went."""
    return [(-noise / 2, noise / 2), (-0.005, 0.005), *[(0.0, 1.1)] * MODES]


def copied(stored: Stored, lattice: Lattice) -> Cells:
    """The cells of an image."""
    reduce = lattice.reducer()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(lambda number: reduce(stored.raised(stored.plane(number))), range(len(stored.values)))
        return lattice.along_z(np.stack(list(made)))


def _treated(stored: Stored, lattice: Lattice, noise: float) -> tuple[Cells, list[Halves], list[Halves]]:
    """The cells, and by how much each mode and each trial changes them."""
    reduce, (low, high) = lattice.reducer(), stored.bounds
    height, width = lattice.count[1:]

    def work(number: int) -> tuple[Plane, list[Halves]]:
        plane = stored.plane(number)
        cells = reduce(stored.raised(plane))
        return cells, [_half(reduce(stored.raised(np.clip(treat(plane), low, high))) - cells, noise)
                       for treat in (*modes(), *trials(noise, number))]

    slices = len(stored.values)
    cells = np.empty((slices, height, width), np.float32)
    changes = [np.empty((slices, height, width), np.float16) for _ in range(MODES + TRIALS)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (plane, rows) in enumerate(pool.map(work, range(slices))):
            cells[number] = plane
            for change, row in zip(changes, rows, strict=True):
                change[number] = row
    for place, change in enumerate(changes):
        changes[place] = _half(lattice.along_z(_full(change, noise)), noise)
    return lattice.along_z(cells), changes[:MODES], changes[MODES:]


def _half(change: Cells, noise: float) -> Halves:
    """Eleven bits of differences, in units of the allowed noise: many of them are held at once."""
    return (change / np.float32(noise)).clip(-6e4, 6e4).astype(np.float16)


def _full(change: Halves, noise: float) -> Cells:
    return change.astype(np.float32) * np.float32(noise)


def _scale(stored: Stored) -> tuple[float, float]:
    """The noise that is allowed, and the middle of the image's values."""
    values = np.stack([plane[::3, ::3] for plane in map(stored.raised, stored)])
    low, middle, high = (float(value) for value in np.percentile(values, [0.1, 50, 99.9]))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    step = (high - low) / STEPS
    noise = HU_NOISE if stored.hounsfield else max(step, WHOLE) if whole(values) else step
    return max(noise, 1e-30, 1e-6 * abs(middle)), middle


def _judged(stored: Stored, lattice: Lattice, cells: Cells) -> npt.NDArray[np.bool_]:
    """All but the outermost cells of an image that is no CT; of a CT the patient's, without the rim of padding."""
    judged = np.zeros(cells.shape, bool)
    judged[:, 1:-1, 1:-1] = True
    if not stored.hounsfield:
        return judged
    reduce, near = lattice.reducer(), np.ones((13, 13), np.uint8)
    padded = [reduce(np.asarray(cv2.dilate((plane < PADDED).astype(np.float32), near), np.float32))
              for plane in stored]
    judged &= lattice.along_z(np.stack(padded)) < 0.01
    for number, plane in enumerate(cells):
        labels, _ = ndimage.label(plane < LUNG)
        rim = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        about = np.isin(labels, rim[rim > 0]) & (ndimage.median_filter(plane, 5) < OUTSIDE)
        judged[number] &= ~ndimage.binary_erosion(about, border_value=1)
    return judged


def extremes(stored: Stored, lattice: Lattice) -> tuple[Cells, Cells]:
    """The smallest and largest value within a cell's reach, of two cells: bright bone weighs on its neighbours, too."""
    reach = np.ones((int(4 * lattice.step[1]) + 1,) * 2, np.uint8)
    _, rows, columns = (np.rint([lattice.centre(axis, cell) for cell in range(n)]).astype(int)
                        for axis, n in enumerate(lattice.count))
    low, high = (np.stack([widened(stored.raised(plane), reach)[np.ix_(rows, columns)] for plane in stored])
                 for widened in (cv2.erode, cv2.dilate))
    return lattice.joined(low, np.minimum), lattice.joined(high, np.maximum)
