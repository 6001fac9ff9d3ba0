"""Weaving the evidence into an image, and taking it out again to the last bit."""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError, UnsupportedError
from scanward.image import AIR, Image
from scanward.protectors.base import Protected
from scanward.protectors.seal.keys import SALT, key_of, macs, words
from scanward.protectors.seal.matched import asked
from scanward.protectors.seal.pattern import Grid, cells_of, signs
from scanward.protectors.seal.record import Record, sha_of

Steps = npt.NDArray[np.int32]

SIDE = 8
"""Pixels of a block's side in the slice."""
BLOCK_MM = 5.0
"""About how high a block of a volume is."""
AMPLITUDE_HU = 4.0
"""Or one step, where steps are larger."""
FILM_SHARE = 1024
"""A film's range, in whole bits, over the amplitude there; never less than one step."""
CELLS = 64
"""Intervals of a block's mean that get patterns of their own: of a film's range, and 64 HU wide in CT."""
CELL_HU = 64.0
EXACT = 2**21
"""Steps from 0 up to which float32 tells one from the next whatever their size; every whole number up to 2**24."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """An image's stored steps."""

    step: float
    offset: float
    largest: int
    amplitude: int
    cell: float
    """Width of an interval of means, in steps."""

    def steps(self, image: Image) -> Steps:
        """The stored values (z, y, x)."""
        return np.rint((image.pixels.astype(np.float64) - self.offset) / self.step).astype(np.int32)

    def floor(self, steps: Steps) -> int:
        """What lies there or below is padding, or was cut off there, and a pattern would tell where."""
        return max(int(steps.min()), round((AIR - self.offset) / self.step))

    def holds(self, image: Image, steps: Steps) -> bool:
        """Whether the image's values are these stored ones, but for what float32 leaves."""
        return all(bool((np.abs(plane - (own * self.step + self.offset)) <=
                         np.spacing(np.maximum(np.abs(plane), np.float32(self.step)))).all())
                   for plane, own in zip(image.pixels, steps, strict=True))

    def image(self, steps: Steps, like: Image, own: Steps) -> Image:
        """An image of these steps; where they are its `own`, those of `like`, to the last bit what is there."""
        pixels = np.where(steps == own, like.pixels, (steps * self.step + self.offset).astype(np.float32))
        return dataclasses.replace(like, pixels=pixels)


def scale_of(image: Image) -> Scale:
    """`UnsupportedError` for images that are not stored in whole steps."""
    if image.modality == "CT" and image.grid is not None:
        step, low, high = image.grid
        made = Scale(step, low, round((high - low) / step), max(1, round(AMPLITUDE_HU / step)), CELL_HU / step)
    elif image.modality == "MG" and image.integer:
        # A 12-bit film may lie in a 16-bit file.
        used = 2 ** int(np.ptp(image.pixels)).bit_length()
        made = Scale(1.0, 0.0, int(image.largest), max(1, used // FILM_SHARE), max(4.0, used / CELLS))
    elif image.modality == "CT" and image.shape[0] == 1:
        raise UnsupportedError(f"{image.name} is a single slice of CT, and evidence is woven into whole volumes; give "
                               "the series or volume.")
    else:
        raise UnsupportedError(f"{image.name} is not stored in whole steps of one size in all slices, and evidence "
                               "cannot be woven into it; give a whole series or volume of 16-bit whole numbers.")
    if max(abs(made.offset), abs(made.offset + made.largest * made.step)) >= EXACT * made.step:
        raise UnsupportedError(f"{image.name} can store values of more than 21 bits, counted in its steps from 0, and "
                               "evidence could not be taken out of it again; convert it to 16-bit whole HU.")
    return made


def grid_of(image: Image) -> Grid:
    """Blocks of 8×8 pixels, in a volume about 5 mm high."""
    high = 1 if image.modality == "MG" else max(1, round(BLOCK_MM / (image.spacing or (1.0,))[0]))
    return Grid(image.shape, (min(high, image.shape[0]), SIDE, SIDE))


def weave(image: Image, master: bytes, salt: bytes | None = None,
          unperturbed: Image | None = None) -> Protected[Record]:
    """The image under its pattern, with its record; what it was `unperturbed` is kept there, too, for `unweave`.

    Raises as `scale_of`, and `UnsupportedError` where hardly any block can carry the pattern.
    """
    salt = secrets.token_bytes(SALT) if salt is None else salt
    scale, grid = scale_of(image), grid_of(image)
    before = scale.steps(image)
    means = np.rint(grid.means(before)).astype(np.int32)
    low, high = scale.floor(before) + scale.amplitude, scale.largest - scale.amplitude
    woven = ~grid.any((before <= low) | (before > high))
    if woven.sum() < 16:
        raise UnsupportedError(f"{image.name} holds hardly anything between the ends of its range, and no evidence "
                               "could be woven into it.")
    after = before + _pattern(master, salt, grid, means, woven, scale)
    spoken, variance = asked(after, grid, key_of(master, salt, "pattern"), scale.cell)
    strength = float(spoken[woven].sum() / max(variance[woven].sum(), 1e-30))
    change = None if unperturbed is None else before - scale.steps(unperturbed)
    record = Record(Path(image.name).name, image.modality, salt, grid, scale.step, scale.offset, scale.amplitude,
                    scale.cell, image.spacing, image.provenance.to_world, strength, means, woven,
                    macs_of(after, grid, master, salt), sha_of(before if change is None else before - change), change)
    return Protected(scale.image(after, image, before), record)


def unweave(image: Image, master: bytes, record: Record) -> Image:
    """The image as it was before `weave`, bit for bit; `UnreadableError` where that cannot be."""
    own = scale_of(image)
    scale = dataclasses.replace(own, amplitude=record.amplitude, cell=record.cell)
    fits = image.shape == record.grid.shape and (scale.step, scale.offset) == (record.step, record.offset)
    if fits:
        after = scale.steps(image)
        before = after - _pattern(master, record.salt, record.grid, record.means, record.woven, scale)
        before = before if record.change is None else before - record.change
        fits = scale.holds(image, after) and sha_of(before) == record.original_sha256
    if not fits:
        raise UnreadableError(f"{image.name} is not, voxel for voxel, what this record was written for, and its "
                              "protection cannot be undone; `scanward verify` tells what was changed.")
    return scale.image(before, image, after)


def macs_of(steps: Steps, grid: Grid, master: bytes, salt: bytes) -> bytes:
    """A keyed hash of every block, in the order of (z, y, x)."""
    count, block = grid.count, grid.block
    padded = np.zeros([n * side for n, side in zip(count, block, strict=True)], np.int32)
    z, y, x = steps.shape
    padded[:z, :y, :x] = steps
    parts = padded.reshape(count[0], block[0], count[1], block[1], count[2], block[2]).transpose(0, 2, 4, 1, 3, 5)
    return macs(key_of(master, salt, "blocks"), parts.reshape(int(np.prod(count)), -1))


def _pattern(master: bytes, salt: bytes, grid: Grid, means: Steps, woven: npt.NDArray[np.bool_],
             scale: Scale) -> Steps:
    random = words(key_of(master, salt, "pattern"), grid.shape)
    steps = signs(random, cells_of(means, scale.cell), grid).astype(np.int32) * scale.amplitude
    return np.where(grid.spread(woven), steps, 0)
