"""Films as readers see them: one way from a film to a picture, whatever the film is."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.image import Image
from scanward.report.heat import window

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(image: Image, size: tuple[int, int], bits: int) -> npt.NDArray[Any]:
    """The film between the 1st and the 99.5th percentile of its breast, `size` being (width, height): (y, x), uint8 or
    uint16."""
    low, high = window(image)
    plane = _resized(image.plane, size)
    values = np.clip((plane - low) / max(high - low, 1e-9), 0, 1) * (2**bits - 1)
    return np.rint(values).astype(np.uint8 if bits == 8 else np.uint16)


def truth(mask: npt.NDArray[np.bool_], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A film's truth at its picture's size: true where half of a pixel or more was forged, or where the most was."""
    share = _resized(mask.astype(np.float32), size)
    return np.asarray(share >= min(0.5, float(share.max())))


def png(values: npt.NDArray[Any]) -> bytes:
    """A grey PNG of nothing but its header, one chunk of pixels and its end: no time, text, gamma or resolution."""
    rows = values.astype(">u2" if values.dtype == np.uint16 else np.uint8)
    plain = rows.view(np.uint8).reshape(len(rows), -1)
    step = plain.shape[1] // values.shape[1]
    # Every row is stored as its difference from the pixel on the left (filter 1), which deflates well.
    left = np.hstack([np.zeros((len(plain), step), np.uint8), plain[:, :-step]])
    filtered = np.hstack([np.ones((len(plain), 1), np.uint8), plain - left])
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 8 * step, 0, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6)) + \
        _chunk(b"IEND", b"")


def padded(data: bytes, length: int) -> bytes:
    """A PNG of exactly `length` bytes, so that a transfer's length says nothing; zeros after the end are not read."""
    return data + bytes(length - len(data))


def _resized(plane: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    if (plane.shape[1], plane.shape[0]) == size:
        return plane
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
