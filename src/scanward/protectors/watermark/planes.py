"""Keyed planes of signs: a site's key gives `COUNT` of them, and a scan carries a run of them, one a slice."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import numpy.typing as npt
from scipy import fft

from scanward.protectors.seal.keys import key_of

COUNT = 1 << 16
"""So many that two scans seldom share any: whoever holds a scan with and without its watermark knows its planes. Few
enough that a scan's own are found by trying all."""
TILE = 64
"""Pixels a side of what is drawn at once, so that planes are tried by a part of them."""
Signs = npt.NDArray[np.float32]


def key_for(master: bytes) -> bytes:
    """The key of all planes of a site."""
    return key_of(master, b"", "watermark")


def start_of(key: bytes, pixels: npt.NDArray[np.float32]) -> int:
    """The number of the first slice's plane, by the key and the pixels (z, y, x) that are to be marked."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels, "<f4").tobytes()).digest()
    return int.from_bytes(hmac.new(key, digest, hashlib.sha256).digest()[:8], "big") % COUNT


def tile(key: bytes, number: int, row: int, column: int) -> npt.NDArray[np.int8]:
    """(2, 64, 64) of +1 and -1 by SHAKE-256 (FIPS 202): two independent patterns."""
    where = b"".join(part.to_bytes(4, "big") for part in (number % COUNT, row, column))
    bits = np.frombuffer(hashlib.shake_256(key + where).digest(TILE * TILE // 4), np.uint8)
    return 1 - 2 * np.unpackbits(bits).reshape(2, TILE, TILE).astype(np.int8)


def plane(key: bytes, number: int, window: tuple[slice, slice]) -> Signs:
    """(2, y, x) of a window of a plane."""
    rows, columns = (range(part.start // TILE, -(-part.stop // TILE)) for part in window)
    whole = np.empty((2, len(rows) * TILE, len(columns) * TILE), np.float32)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            whole[:, i * TILE:(i + 1) * TILE, j * TILE:(j + 1) * TILE] = tile(key, number, row, column)
    y, x = (slice(part.start % TILE, part.start % TILE + part.stop - part.start) for part in window)
    return whole[:, y, x]


def planes_at(key: bytes, start: int, shift: tuple[float, float], z: int, window: tuple[slice, slice]) -> Signs:
    """The signs (2, y, x) of a window of a slice of a scan that lies off by so many pixels."""
    if shift == (0.0, 0.0):
        return plane(key, start + z, window)
    wide = [slice(max(0, part.start - TILE), part.stop + TILE) for part in window]
    made = moved(plane(key, start + z, (wide[0], wide[1])), shift)
    y, x = (slice(part.start - more.start, part.stop - more.start) for part, more in zip(window, wide, strict=True))
    return made[:, y, x]


def moved(signs: Signs, shift: tuple[float, float]) -> Signs:
    """Planes (n, y, x) moved by fractions of pixels, in the frequency domain; they are taken as periodic."""
    if shift == (0.0, 0.0):
        return signs
    height, width = signs.shape[1:]
    turns = np.fft.fftfreq(height)[:, None] * shift[0] + np.fft.rfftfreq(width) * shift[1]
    phase = np.exp(-2j * np.pi * turns)
    return np.asarray(fft.irfft2(fft.rfft2(signs) * phase, (height, width)), np.float32)
