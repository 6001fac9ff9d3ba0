"""Hashes of an image by which its every voxel is held, and that say where one changed.

The hashes of tiles of 4 mm of a long CT would fill megabytes. Kept are those of every row of tiles along each of the
three axes: a tile is another where all three of its rows are, and 300 slices need half a megabyte.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.box import Box, largest_first

MILLIMETRES = 4.0
"""A tile's longest side."""
PIXELS = 16
"""Of a tile's side where nothing is known of the spacing."""
ACROSS = 8
SHORT = 16
"""Bytes that are kept of a row's hash: 2 ** 128 tries to find another image with the same."""
LEAF, ROW = b"\0", b"\1"
"""What is hashed first, so that no hash of one kind can stand for one of another (RFC 9162, section 2.1)."""

Three = tuple[int, int, int]


@dataclass(frozen=True)
class Tree:
    """The hashes of one image."""

    count: Three
    """Tiles (z, y, x)."""
    rows: tuple[bytes, bytes, bytes]
    """`SHORT` bytes of each row of tiles along z, y, and x, in the order of the two other axes; of an image one tile
    high, along z alone, where a row is a tile."""
    planes: bytes
    """`SHORT` bytes of each plane: whether a slice is there at all, wherever it lies."""


def tile_of(shape: Three, spacing: tuple[float | None, float | None, float | None]) -> Three:
    """Voxels of a tile (z, y, x), from millimetres a voxel; at most a part in `ACROSS` of a slice's sides, as how many
    have changed is to tell something of the finest pixels, too."""
    sides = [max(1, int(MILLIMETRES / mm + 1e-6)) if mm else (1 if axis == 0 else PIXELS)
             for axis, mm in enumerate(spacing)]
    most = shape[0], -(-shape[1] // ACROSS), -(-shape[2] // ACROSS)
    z, y, x = (min(side, length) for side, length in zip(sides, most, strict=True))
    return z, y, x


def tree_of(values: npt.NDArray[Any], tile: Three, strange: npt.NDArray[np.bool_] | None = None) -> Tree:
    """The hashes of values (z, y, x) or (z, y, x, samples) in little-endian order. Tiles with a `strange` voxel (z, y,
    x), which has no value of this type, are like no others."""
    four = values if values.ndim == 4 else values[..., None]
    count = _count(four.shape[:3], tile)
    odd = None if strange is None or not strange.any() else _blocks_any(strange, tile, count)

    def rows(axis: int) -> bytes:
        return b"".join(_row_hashes(four, tile, axis, odd)) if axis == 0 or count[0] > 1 else b""

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing lets other threads run
        z, y, x = (pool.submit(rows, axis) for axis in range(3))
        lost = [strange is not None and bool(strange[z].any()) for z in range(len(four))]
        planes = b"".join(bytes(SHORT) if gone else _hash(LEAF, plane) for plane, gone in zip(four, lost, strict=True))
        return Tree(count, (z.result(), y.result(), x.result()), planes)


def changed(kept: Tree, found: Tree) -> npt.NDArray[np.bool_]:
    """Tiles (z, y, x) of which every row is another than was kept. Where few have changed, it is these."""
    other = np.ones(kept.count, bool)
    for axis, (was, now) in enumerate(zip(kept.rows, found.rows, strict=True)):
        if was or now:
            shape = [n for i, n in enumerate(kept.count) if i != axis]
            differ = (np.frombuffer(was, np.uint8) != np.frombuffer(now, np.uint8)).reshape(*shape, SHORT).any(-1)
            other &= np.expand_dims(differ, axis)
    return other


def flat(values: npt.NDArray[Any], tile: Three) -> npt.NDArray[np.bool_]:
    """Tiles (z, y, x) of values (z, y, x) that are all of one value."""
    low = high = values
    for axis, side in enumerate(tile):
        starts = np.arange(0, values.shape[axis], side)
        low, high = np.minimum.reduceat(low, starts, axis=axis), np.maximum.reduceat(high, starts, axis=axis)
    return np.asarray(low == high)


def regions(tiles: npt.NDArray[np.bool_], tile: Sequence[int], shape: Sequence[int]) -> tuple[Box, ...]:
    """A box in voxels about each region of tiles (z, y, x) of an image of this shape, the largest first."""
    labels, _ = ndimage.label(tiles, np.ones((3, 3, 3)))
    return largest_first(Box.of([slice(part.start * side, min(part.stop * side, length))
                                 for part, side, length in zip(parts, tile, shape, strict=True)])
                         for parts in ndimage.find_objects(labels))


def _count(shape: tuple[int, ...], tile: Three) -> Three:
    z, y, x = (-(-length // side) for length, side in zip(shape, tile, strict=True))
    return z, y, x


def _row_hashes(values: npt.NDArray[Any], tile: Three, axis: int, odd: npt.NDArray[np.bool_] | None) -> Iterator[bytes]:
    """Of the rows of tiles along `axis`, in the order of the two others."""
    first, second = (i for i in range(3) if i != axis)
    lost = None if odd is None else np.any(odd, axis=axis, keepdims=True).squeeze(axis)
    for number, start in enumerate(range(0, values.shape[first], tile[first])):
        slab = np.take(values, range(start, min(start + tile[first], values.shape[first])), axis=first)
        # Each row's voxels together: the second axis foremost.
        slab = np.ascontiguousarray(np.moveaxis(slab, second, 0))
        for other, begin in enumerate(range(0, len(slab), tile[second])):
            whole = lost is None or not lost[number, other]
            yield _hash(ROW, slab[begin : begin + tile[second]]) if whole else bytes(SHORT)


def _blocks_any(mask: npt.NDArray[np.bool_], tile: Three, count: Three) -> npt.NDArray[np.bool_]:
    """Tiles (z, y, x) in which a mask (z, y, x) is set anywhere."""
    found = np.zeros(count, bool)
    found[tuple(index // side for index, side in zip(np.nonzero(mask), tile, strict=True))] = True
    return found


def _hash(kind: bytes, values: npt.NDArray[Any]) -> bytes:
    engine = hashlib.sha256(kind)
    engine.update(np.ascontiguousarray(values).data)
    return engine.digest()[:SHORT]
