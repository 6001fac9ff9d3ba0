"""Cutting an image into tiles, merging what was found in them, and the sums that make one dense pass equal both.

A plane is (y, x). A tile is a square window of `size` pixels; windows start at every multiple of `stride`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]


def pad_centred(plane: Plane, size: int, stride: int) -> tuple[Plane, tuple[int, int]]:
    """Zero-pad a plane, centred, to at least `size`; longer sides grow to the next multiple of `stride`.

    Returns the canvas and the (y, x) offset of the plane in it.
    """
    height, width = (max(size, -(-n // stride) * stride) for n in plane.shape)
    y, x = (height - plane.shape[0]) // 2, (width - plane.shape[1]) // 2
    canvas = np.zeros((height, width), np.float32)
    canvas[y:y + plane.shape[0], x:x + plane.shape[1]] = plane
    return canvas, (y, x)


def origins(shape: tuple[int, int], size: int, stride: int) -> list[tuple[int, int]]:
    """(y, x) of every tile that lies wholly inside, row by row."""
    rows, columns = (range(0, n - size + 1, stride) for n in shape)
    return [(y, x) for y in rows for x in columns]


def cut(plane: npt.NDArray[np.generic], size: int, stride: int) -> npt.NDArray[np.generic]:
    """A (rows, columns, size, size) view of every tile; nothing is copied."""
    windows = np.lib.stride_tricks.sliding_window_view(plane, (size, size))
    return windows[::stride, ::stride]


def merge(scores: npt.NDArray[np.floating], shape: tuple[int, int], size: int, stride: int) -> Plane:
    """The mean, at each pixel, of the scores of the tiles that cover it; 0 where none does.

    `scores` is (rows, columns) as `cut` orders the tiles.
    """
    total, count = np.zeros(shape, np.float64), np.zeros(shape, np.int64)
    for i, row in enumerate(scores):
        for j, score in enumerate(row):
            window = (slice(i * stride, i * stride + size), slice(j * stride, j * stride + size))
            total[window] += score
            count[window] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)


def window_sums(plane: npt.NDArray[np.floating], size: int, stride: int) -> npt.NDArray[np.float64]:
    """The sum of every size × size window that starts at a multiple of `stride`, from one integral image."""
    integral = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), np.float64)
    np.cumsum(np.cumsum(plane, 0, dtype=np.float64), 1, out=integral[1:, 1:])
    corner = integral[:-size:stride, :-size:stride]
    rows, columns = corner.shape
    right = integral[:-size:stride, size::stride][:rows, :columns]
    below = integral[size::stride, :-size:stride][:rows, :columns]
    return integral[size::stride, size::stride][:rows, :columns] - right - below + corner


def bands(height: int, rows: int, halo: int, align: int) -> list[tuple[int, int, int, int]]:
    """Row bands (read_from, read_to, keep_from, keep_to) that cover [0, height).

    Bands keep `rows` rows each and read up to `halo` more on either side; all starts are multiples of `align`.
    """
    if rows % align or halo % align:
        raise ValueError("rows and halo must be multiples of align")
    found = []
    for keep in range(0, height, rows):
        end = min(height, keep + rows)
        found.append((max(0, keep - halo), min(height, end + halo), keep, end))
    return found


def widened(part: slice, by: int, side: int) -> slice:
    """A slice, so many places wider on both sides, within `side`."""
    return slice(max(0, part.start - by), min(side, part.stop + by))


def extent(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """The box about what is True in a mask of any number of axes; something is."""
    found = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(tuple(other for other in range(mask.ndim) if other != axis)))
        found.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(found)
