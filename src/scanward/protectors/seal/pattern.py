"""The keyed pattern: a step up or down for every voxel, by the key, the place, and the mean of the block around it.

That the sign hangs on the block's mean binds the pattern to what it lies on: a smooth lump added to a scan carries the
pattern along, but it is the pattern of another mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_PARITY = np.array([1 - 2 * (bin(v).count("1") & 1) for v in range(256)], np.int8)


@dataclass(frozen=True)
class Grid:
    """Blocks that an image (z, y, x) is divided into; those at its far ends may be cut."""

    shape: tuple[int, int, int]
    block: tuple[int, int, int]

    @property
    def count(self) -> tuple[int, int, int]:
        """Blocks along (z, y, x)."""
        z, y, x = (-(-length // side) for length, side in zip(self.shape, self.block, strict=True))
        return z, y, x

    def any(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Whether a block holds a True voxel."""
        for axis, side in enumerate(self.block):
            mask = np.logical_or.reduceat(mask, np.arange(0, self.shape[axis], side), axis)
        return mask

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A value of each block on all of its voxels."""
        for axis, side in enumerate(self.block):
            values = np.repeat(values, side, axis)
        z, y, x = self.shape
        return values[:z, :y, :x]


def cells_of(means: npt.NDArray[Any], width: float) -> npt.NDArray[np.int64]:
    """Which of the intervals of this width a mean lies in."""
    return np.floor(means / width).astype(np.int64)


def signs(random: npt.NDArray[np.uint8], cells: npt.NDArray[np.int64], grid: Grid) -> npt.NDArray[np.int8]:
    """+1 or -1 for each voxel (z, y, x). Patterns of two cells less than 255 apart are independent of each other."""
    masks = (1 + cells % 255).astype(np.uint8)
    return _PARITY[random & grid.spread(masks)]
