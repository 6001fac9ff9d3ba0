"""An image reduced to overlapping Gaussian means, in which nothing fine is left.

A lossy codec, slight blur, noise and halving change fine detail; a lesion changes means. On a lattice of two to three
pixels these treatments leave a few HU, and a lesion of 4 mm much of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MILLIMETRES, LEAST, PIXELS = 1.8, 2.0, 3.0
"""Between the centres of two cells, within a slice: so many millimetres, but from so many to so many pixels, of which
it is the second where nothing is known of their size."""
SIGMA = 0.5
"""Of a cell's Gaussian, in pitches."""

Plane = npt.NDArray[np.float32]
Cells = npt.NDArray[np.float32]
Three = tuple[int, int, int]


@dataclass(frozen=True)
class Lattice:
    """Where the cells of an image lie: the first centre along (z, y, x) and the step between them, in voxels; a step of
    one along z means that every slice keeps its own cells."""

    shape: Three
    first: tuple[float, float, float]
    step: tuple[float, float, float]
    apart: float
    """How far the cells of two slices lie apart, in pitches within a slice; infinitely where that is not known."""

    @staticmethod
    def of(shape: Three, steps: tuple[float | None, float | None, float | None],
           rng: np.random.Generator) -> Lattice:
        """A lattice for voxels of `steps` mm (z, y, x), begun at a place that `rng` draws."""
        z, y, _ = steps
        pixels = min(PIXELS, max(LEAST, MILLIMETRES / y)) if y else PIXELS
        high = max(1.0, pixels * y / z) if z and y and shape[0] > 1 else 1.0
        step = (high, pixels, pixels)
        first = [float(rng.uniform(0, one)) if one > 1 else 0.0 for one in step]
        apart = high * z / (pixels * y) if z and y and shape[0] > 1 else float("inf")
        return Lattice(shape, (first[0], first[1], first[2]), step, apart)

    @property
    def windows(self) -> tuple[npt.NDArray[np.float32], ...]:
        """Of each axis, the weights of every voxel in every cell (cells, voxels); rows sum to one."""
        return tuple(_windows(*axis) for axis in zip(self.shape, self.first, self.step, strict=True))

    @property
    def count(self) -> Three:
        """Cells (z, y, x)."""
        z, y, x = (len(window) for window in self.windows)
        return z, y, x

    def sigmas(self, width: float) -> tuple[float, float, float]:
        """Of a Gaussian (z, y, x), in cells, whose width at half maximum is `width` pitches."""
        return width / 2.355 / self.apart, width / 2.355, width / 2.355

    def centre(self, axis: int, cell: float) -> float:
        """Where a cell's centre lies, in voxels."""
        return self.first[axis] + cell * self.step[axis]

    def reducer(self) -> Callable[[Plane], Plane]:
        """Takes a slice (y, x) to its cells."""
        _, rows, columns = self.windows
        turned = np.ascontiguousarray(columns.T)
        return lambda plane: np.asarray(rows @ (plane @ turned), np.float32)

    def along_z(self, planes: Cells) -> Cells:
        """Reduced slices (z, y, x) to cells."""
        if self.step[0] == 1:
            return planes
        return np.asarray(np.tensordot(self.windows[0], planes, 1), np.float32)

    def joined(self, planes: Cells, join: np.ufunc) -> Cells:
        """Reduced slices to cells by the smallest or largest value within reach."""
        if self.step[0] == 1:
            return planes
        found = []
        for cell in range(self.count[0]):
            centre = self.centre(0, cell)
            low = max(0, int(np.floor(centre - self.step[0])))
            found.append(join.reduce(planes[low : int(np.ceil(centre + self.step[0])) + 1], axis=0))
        return np.stack(found)


def _windows(length: int, first: float, step: float) -> npt.NDArray[np.float32]:
    if step == 1:
        return np.eye(length, dtype=np.float32)
    centres = np.arange(first, length - 1 + 1e-9, step) if length > 1 else np.zeros(1)
    if not len(centres):
        centres = np.array([(length - 1) / 2])
    weights = np.exp(-0.5 * ((np.arange(length) - centres[:, None]) / (SIGMA * step)) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
