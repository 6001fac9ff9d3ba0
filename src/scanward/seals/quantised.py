"""Volumes of numbers in few bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import jpeg_ls
import numpy as np
import numpy.typing as npt

from scanward.seals.lattice import Cells, Three

MIDDLE = 1 << 15
"""Added to what JPEG-LS encodes: it knows no negative numbers."""
OCTAVE = 8
"""Steps of a doubling in `Coarse`."""
BLOCK = 2
"""Cells of a block's side."""


@dataclass(frozen=True)
class Quantised:
    """Numbers (z, y, x) as whole multiples of a step from an origin."""

    multiples: npt.NDArray[np.int16]
    step: float
    origin: float = 0.0

    @staticmethod
    def of(values: Cells, step: float, origin: float = 0.0) -> Quantised:
        """The nearest multiples; what does not fit in 16 bits is cut."""
        steps = (values.astype(np.float64) - origin) / step
        return Quantised(np.rint(steps).clip(-32767, 32767).astype(np.int16), step, origin)

    @property
    def values(self) -> Cells:
        """The numbers."""
        return np.asarray(self.multiples * np.float64(self.step) + self.origin, np.float32)

    def packed(self) -> list[bytes]:
        """Each plane in JPEG-LS, without loss."""
        return [bytes(jpeg_ls.encode_array(np.ascontiguousarray(plane.astype(np.int32) + MIDDLE).astype(np.uint16)))
                for plane in self.multiples]

    @staticmethod
    def unpacked(planes: list[bytes], shape: Three, step: float, origin: float) -> Quantised:
        """As `packed` made them, of `shape` (z, y, x)."""
        decoded = [np.frombuffer(jpeg_ls.decode_buffer(plane)[0], "<u2").reshape(shape[1:]) for plane in planes]
        return Quantised((np.stack(decoded).astype(np.int32) - MIDDLE).astype(np.int16), step, origin)


@dataclass(frozen=True)
class Blocks:
    """One number for every block of cells."""

    numbers: Quantised
    """(z, y, x), of blocks."""
    shape: Three
    """Cells (z, y, x)."""

    @staticmethod
    def of(values: Cells, join: np.ufunc, step: float, origin: float) -> Blocks:
        """The smallest or largest of each block."""
        return Blocks(Quantised.of(_blocks(values, join), step, origin), _shape(values))

    @staticmethod
    def count(shape: Three) -> Three:
        """Blocks (z, y, x) of so many cells."""
        z, y, x = (-(-length // BLOCK) for length in shape)
        return z, y, x

    @property
    def values(self) -> Cells:
        """The numbers (z, y, x), of every cell."""
        return _spread(self.numbers.values, self.shape)


@dataclass(frozen=True)
class Coarse:
    """A bound of every block of cells from above, as a power of two."""

    codes: npt.NDArray[np.uint8]
    """(z, y, x), of blocks."""
    shape: Three
    """Cells (z, y, x)."""
    step: float

    @staticmethod
    def over(values: Cells, step: float) -> Coarse:
        """At least the largest of each block; `values` are positive."""
        exact = np.log2(np.maximum(_blocks(values, np.maximum), step) / step) * OCTAVE
        return Coarse(np.ceil(exact).clip(0, 255).astype(np.uint8), _shape(values), step)

    @property
    def values(self) -> Cells:
        """The bounds (z, y, x), of every cell."""
        return _spread(np.float32(self.step) * np.exp2(self.codes.astype(np.float32) / OCTAVE), self.shape)

    def packed(self) -> bytes:
        """Without loss."""
        return zlib.compress(np.diff(self.codes, axis=2, prepend=np.uint8(0)).tobytes(), 6)

    @staticmethod
    def unpacked(data: bytes, shape: Three, step: float) -> Coarse:
        """As `packed` made it."""
        flat = np.frombuffer(zlib.decompress(data), np.uint8).reshape(Blocks.count(shape))
        return Coarse(np.cumsum(flat, axis=2, dtype=np.uint8), shape, step)


def _shape(values: Cells) -> Three:
    z, y, x = values.shape
    return z, y, x


def _blocks(values: Cells, join: np.ufunc) -> Cells:
    for axis in range(3):
        values = join.reduceat(values, np.arange(0, values.shape[axis], BLOCK), axis=axis)
    return values


def _spread(blocks: Cells, shape: Three) -> Cells:
    z, y, x = shape
    return np.asarray(blocks.repeat(BLOCK, 0).repeat(BLOCK, 1).repeat(BLOCK, 2)[:z, :y, :x], np.float32)
