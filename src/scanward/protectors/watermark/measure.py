"""What of a scan speaks of its watermark: how well each place agrees with planes of signs.

The pattern is white, and a scan's noise is not: a reconstruction kernel leaves little of it at high frequencies. What
is correlated with the pattern is therefore the error of predicting each voxel from its neighbours in three slices, by
least squares over the scan's own lungs, which is the matched filter C⁻¹x for noise of covariance C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.lung import Lungs, inside
from scanward.nets.engine import cores
from scanward.protectors.watermark.planes import Signs
from scanward.tiles import extent

Plane = npt.NDArray[np.float32]
Volume = npt.NDArray[np.float32]
Window = tuple[slice, slice]
"""Rows and columns, from even ones on."""
Planes = Callable[[int, Window], Signs]
"""The signs (2, y, x) that a window of a slice carries."""

REACH = 3
"""Pixels from which a voxel is predicted, in its slice; one in the slices above and below."""
LOW, HIGH = -1024.0, 1000.0
"""HU between which a scan is looked at: metal would outshine the lungs. What lies beyond carries no pattern that could
be seen, and does not count; vessels full of contrast medium lie within."""
GAS = -980.0
"""HU of local level up to which a place is no tissue but gas, as in bronchi that pass for lung. Scanners and archives
cut it off at their lowest value, which carries no pattern; what else lies there does not count either, since a scan
may have been processed since."""
FLAT = 0.05
"""Share of a scan that has one value of gas where it was cut off there; noise leaves no value nearly so many."""
TURN = 600.0
"""HU of local level over which the pattern turns once: what is put on top of a marked lung is of another level, and
carries the wrong pattern."""
LEVEL_MM, SPREAD_MM = 1.5, 4.0
"""σ of the Gaussians by which level and spread are taken."""
MARGIN_MM = 15.0
"""How far beyond the lungs the pattern reaches."""
CLIP = 3.0
_SAMPLES, _SLICES, _LEAST = 60_000, 16, 2000


@dataclass(frozen=True)
class Prediction:
    """How the error of predicting a voxel is taken."""

    kernels: npt.NDArray[np.float32]
    """(3, 7, 7), of the slice below, its own and the one above."""
    power: float
    """Of the error in most of the lungs, HU²."""

    def error(self, pixels: Volume, z: int) -> Plane:
        """(y, x) of slice `z` of a scan (z, y, x) in HU; beyond its ends its slices are mirrored."""
        made = np.zeros(pixels.shape[1:], np.float32)
        for turn, kernel in zip((-1, 0, 1), self.kernels, strict=True):
            near = z + turn if 0 <= z + turn < len(pixels) else max(0, min(z - turn, len(pixels) - 1))
            made += cv2.filter2D(np.clip(pixels[near], LOW, HIGH), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        return made


def prediction_of(pixels: Volume, lungs: Lungs) -> Prediction | None:
    """Fitted on the lungs of a scan, weighted by how restless each place is; None where there is too little of them."""
    inner = np.flatnonzero(lungs.mask[1:-1].any((1, 2))) + 1
    if not inner.size or min(pixels.shape[1:]) <= 4 * REACH:
        return None
    chosen = inner[np.unique(np.linspace(0, len(inner) - 1, min(_SLICES, len(inner))).round().astype(int))]
    rng = np.random.default_rng(0)
    parts = [_samples(pixels, lungs, int(z), _SAMPLES // len(chosen), rng) for z in chosen]
    known, own, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(own) < _LEAST:
        return None
    weighted = known * weight[:, None]
    gram = (weighted.T @ weighted).astype(np.float64)
    gram += (1e-4 * np.trace(gram) / len(gram) + 1e-9) * np.eye(len(gram))
    answer = np.linalg.solve(gram, weighted.T @ (own * weight))
    kernels = np.zeros((3, 2 * REACH + 1, 2 * REACH + 1), np.float32)
    for (turn, y, x), share in zip(_NEAR, answer, strict=True):
        kernels[1 + turn, REACH + y, REACH + x] = -share
    beside = [(y, x) for turn, y, x in _NEAR if turn == 0]
    for y, x in beside:
        kernels[1, REACH + y, REACH + x] += (answer.sum() - 1) / len(beside)
    kernels[1, REACH, REACH] = 1
    return Prediction(kernels, float(np.median(np.square(own - known @ answer)) / 0.455))


_NEAR = [(0, y, x) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1) if (y, x) != (0, 0)] + [
    (turn, y, x) for turn in (-1, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)]


def _samples(pixels: Volume, lungs: Lungs, z: int, count: int,
             rng: np.random.Generator) -> tuple[Plane, Plane, Plane]:
    """Of places in a slice's lungs: neighbours (n, 66) and the voxel (n,), less the mean about it; its weight."""
    lung = inside(lungs, z, pixels.shape[1:]).copy()
    lung[:REACH] = lung[-REACH:] = False
    lung[:, :REACH] = lung[:, -REACH:] = False
    ys, xs = np.nonzero(lung)
    some = rng.choice(len(ys), min(count, len(ys)), replace=False)
    ys, xs = ys[some], xs[some]
    three = np.clip(pixels[z - 1:z + 2], LOW, HIGH)
    side = (2 * REACH + 1, 2 * REACH + 1)
    mean, square = cv2.blur(three[1], side), cv2.blur(np.square(three[1]), side)
    about = ((mean * np.prod(side) - three[1]) / (np.prod(side) - 1))[ys, xs]
    known = np.stack([three[1 + turn, ys + y, xs + x] - about for turn, y, x in _NEAR], 1)
    restless = np.sqrt(np.maximum(square - np.square(mean), 1.0))[ys, xs]
    return known, three[1][ys, xs] - about, (1 / restless).astype(np.float32)


def window_of(lungs: Lungs, shape: tuple[int, ...], spacing: tuple[float, float, float]) -> Window:
    """Rows and columns up to `MARGIN_MM` about the lungs, from even ones to even ones."""
    _, *parts = extent(lungs.mask)
    found = []
    for part, step, side, size in zip(parts, lungs.step[1:], shape[1:], spacing[1:], strict=True):
        wide = MARGIN_MM / size
        first, last = max(0, int(part.start * step - wide)), min(side, int(part.stop * step + wide) + 1)
        found.append(slice(first // 2 * 2, min(side // 2 * 2, -(-last // 2) * 2)))
    return found[0], found[1]


def slices_of(lungs: Lungs) -> list[int]:
    """Those that hold lung."""
    found: list[int] = np.flatnonzero(lungs.mask.any((1, 2))).tolist()
    return found


@dataclass(frozen=True)
class Sums:
    """How far a scan agrees with a pattern, over 2×2 pixels: volumes (z, y / 2, x / 2) of a window, lungs only."""

    agreement: Volume
    """Of error and pattern, products."""
    power: Volume
    """Of the error, squares."""
    count: Volume
    """Pixels of lung."""
    level: Volume
    """HU."""
    spread: Volume
    """Of the error, about the place, HU."""


def sums(pixels: Volume, lungs: Lungs, spacing: tuple[float, float, float], planes: Planes, how: Prediction,
         window: Window, slices: Iterable[int]) -> Sums:
    """Of some slices of a scan (z, y, x)."""
    rows, columns = window
    floor = floor_of(pixels)

    def one(z: int) -> tuple[Plane, ...]:
        error, spread = normalised(pixels[:, rows, columns], z, how, spacing)
        own = pixels[z][window]
        level = level_of(own, spacing)
        tissue = inside(lungs, z, pixels.shape[1:])[window] & (own > floor) & (own < HIGH) & (level > GAS)
        lung = tissue.astype(np.float32)
        agreement = error * turned(planes(z, window), level)
        return (4 * halved(agreement * lung), 4 * halved(np.square(error) * lung), 4 * halved(lung), halved(level),
                halved(spread))

    with ThreadPoolExecutor(cores()) as pool:
        return Sums(*(np.stack(part) for part in zip(*pool.map(one, slices), strict=True)))


def floor_of(pixels: Volume) -> float:
    """HU of padding, or at which a scan (z, y, x) was cut off: what lies there stays as it is stored, and carries no
    pattern, neither where it is woven nor where it is read. It is the lowest value, or one that much of the air about
    the patient still has: sharpening leaves values below it beside walls alone, and padding may lie below it."""
    values, counts = np.unique(pixels[:, ::4, ::4], return_counts=True)
    cut_off = values[(counts > FLAT * counts.sum()) & (values <= GAS)]
    return float(max(pixels.min(), LOW, *cut_off))


def normalised(pixels: Volume, z: int, how: Prediction, spacing: tuple[float, float, float]) -> tuple[Plane, Plane]:
    """The error (y, x) of a slice over its own spread about each place, clipped; and the spread."""
    error = how.error(pixels, z)
    square = np.minimum(np.square(error), np.float32(25 * how.power))
    spread = np.sqrt(cv2.GaussianBlur(square, (0, 0), SPREAD_MM / spacing[1]) + np.float32(1e-6))
    return np.clip(error / spread, -CLIP, CLIP), np.asarray(spread, np.float32)


def level_of(plane: Plane, spacing: tuple[float, float, float]) -> Plane:
    """HU (y, x) about each place, of a window of a slice."""
    return np.asarray(cv2.GaussianBlur(np.clip(plane, -1000, HIGH), (0, 0), LEVEL_MM / spacing[1]), np.float32)


def turned(signs: Signs, level: Plane) -> Plane:
    """The pattern (y, x) of unit power that a place of this level carries."""
    angle = level * np.float32(2 * np.pi / TURN)
    return np.asarray(np.cos(angle) * signs[0] + np.sin(angle) * signs[1], np.float32)


def halved(values: Plane) -> Plane:
    """Means over 2×2 pixels; an odd last row or column is left out."""
    height, width = (n // 2 for n in values.shape)
    return np.asarray(cv2.resize(values[:2 * height, :2 * width], (width, height), interpolation=cv2.INTER_AREA))


class Expected:
    """What agreement a pixel should show, by the level and the spread about it: means over the scan itself, which a
    forgery takes up little of."""

    def __init__(self, found: Sums) -> None:
        use = found.count > 0
        level, spread = found.level[use], np.log(found.spread[use] + 1e-3)
        every = slice(None, None, max(1, level.size // 300_000))
        self._levels = np.quantile(level[every], np.linspace(0, 1, 9)[1:-1])
        self._spreads = np.quantile(spread[every], [*np.linspace(0, 1, 15)[1:-1], 0.97, 0.985, 0.995])
        where, count = self._bin(level, spread), (len(self._levels) + 1) * (len(self._spreads) + 1)
        agreement = np.bincount(where, found.agreement[use], count)
        pixels = np.bincount(where, found.count[use], count)
        self.mean = float(agreement.sum() / pixels.sum())
        """Of all."""
        self._table = ((agreement + 300 * self.mean) / (pixels + 300)).astype(np.float32)

    def __call__(self, found: Sums) -> Volume:
        """(z, y / 2, x / 2)."""
        where = self._bin(found.level.ravel(), np.log(found.spread.ravel() + 1e-3))
        return np.asarray(self._table[where].reshape(found.level.shape))

    def _bin(self, level: Volume, spread: Volume) -> npt.NDArray[np.intp]:
        return np.searchsorted(self._levels, level) * (len(self._spreads) + 1) + np.searchsorted(self._spreads, spread)
