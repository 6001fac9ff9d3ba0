"""What of an image is as its record says, and the image as it was before, to the last bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError
from scanward.image import Image
from scanward.protectors.seal.keys import key_of, macs, words
from scanward.protectors.seal.pattern import Grid, cells_of, signs
from scanward.protectors.seal.record import Record, sha_of

Steps = npt.NDArray[np.int32]
LARGEST = 2**30
"""Steps beyond which no image that was woven into had a value."""


def changed(image: Image, master: bytes, record: Record) -> npt.NDArray[np.bool_]:
    """Blocks (z, y, x) that hold another value than was recorded, of an image of the record's size."""
    steps, between = _steps(image, record)
    found = np.frombuffer(_macs(steps, record.grid, master, record.salt), np.uint32)
    other = found != np.frombuffer(record.macs, np.uint32)
    return np.asarray(other.reshape(record.grid.count) | record.grid.any(between))


def unweave(image: Image, master: bytes, record: Record) -> Image:
    """The image as it was before it was protected, bit for bit; `UnreadableError` where that cannot be."""
    if image.shape == record.grid.shape:
        after, between = _steps(image, record)
        before = after - _pattern(master, record)
        before = before if record.change is None else before - record.change
        if not between.any() and sha_of(before) == record.original_sha256:
            pixels = (before * record.step + record.offset).astype(np.float32)
            # Computed anew, a value may differ in its last bit from what the reader made of it.
            return dataclasses.replace(image, pixels=np.where(before == after, image.pixels, pixels))
    raise UnreadableError(f"{image.name} is not, voxel for voxel, what this record was written for, and its "
                          "protection cannot be undone; `scanward verify` tells what was changed.")


def _steps(image: Image, record: Record) -> tuple[Steps, npt.NDArray[np.bool_]]:
    """The stored values (z, y, x), and where the image's lie between two of them by more than float32 leaves."""
    steps, between = np.empty(image.shape, np.int32), np.empty(image.shape, bool)
    for z, plane in enumerate(image.pixels):  # float64 of a whole scan would be gigabytes
        exact = (plane.astype(np.float64) - record.offset) / record.step
        steps[z] = np.rint(exact.clip(-LARGEST, LARGEST))
        near = np.spacing(np.maximum(np.abs(plane), np.float32(record.step)))
        between[z] = np.abs(plane - (steps[z] * record.step + record.offset)) > near
    return steps, between


def _macs(steps: Steps, grid: Grid, master: bytes, salt: bytes) -> bytes:
    """A keyed hash of every block, in the order of (z, y, x)."""
    count, block = grid.count, grid.block
    padded = np.zeros([n * side for n, side in zip(count, block, strict=True)], np.int32)
    z, y, x = steps.shape
    padded[:z, :y, :x] = steps
    parts = padded.reshape(count[0], block[0], count[1], block[1], count[2], block[2]).transpose(0, 2, 4, 1, 3, 5)
    return macs(key_of(master, salt, "blocks"), parts.reshape(int(np.prod(count)), -1))


def _pattern(master: bytes, record: Record) -> Steps:
    """What was woven in, in steps."""
    random = words(key_of(master, record.salt, "pattern"), record.grid.shape)
    steps = signs(random, cells_of(record.means, record.cell), record.grid).astype(np.int32) * record.amplitude
    return np.where(record.grid.spread(record.woven), steps, 0)
