"""Whether an image still is what was protected: authentic, tampered and where, or indeterminate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.image import Image
from scanward.protectors.evidence.keys import key_of, words
from scanward.protectors.evidence.matched import answers, prepare
from scanward.protectors.evidence.pattern import Grid, cells_of, signs
from scanward.protectors.evidence.record import Record
from scanward.protectors.evidence.weave import Scale, grid_of, macs_of, scale_of

Label = Literal["authentic", "tampered", "indeterminate"]
Blocks = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]

LOCAL = 0.25
"""Share of the blocks up to which changed ones are places, and beyond which the whole was processed anew."""
SCALES = (2, 3, 4, 5, 7, 11)
"""Windows, in blocks a side: a single one in quiet air may lose its pattern to JPEG 2000."""
SHARE, DEVIATIONS = 0.5, 6.0
"""A window has lost the pattern where what speaks for it falls below this share of what is expected there, less so many
deviations. Untouched windows keep six tenths of it and more; measured in docs/results.md."""
PRESENT = 2.5
"""Deviations that this bound must stand for, or chance alone might reach it."""
TOLERANCE, EDGE = 30.0, 0.1
"""HU by which a mean may drift in another encoding, and the share of the differences around it by which it may, too."""
FILM_TOLERANCE = 0.02
"""The same of a film, as a share of its range."""
AROUND = 11
"""Blocks a side of the surroundings by which a window is judged: bones and air keep less of the pattern than lung."""
COVERED = 0.9
"""Share of the blocks that the pattern must vouch for."""
KEPT = 0.5
"""Share of the pattern below which an image counts as processed as a whole: JPEG 2000 at 7:1 leaves seven tenths, a
blur of half a pixel a third, and that unevenly."""
BOUND = 0.125
"""How near a block's mean may come to another interval, as a share of its width, for that one's pattern to count."""


@dataclass(frozen=True)
class Found:
    """A place that was altered."""

    centre: tuple[float, float, float]
    """(z, y, x) in voxels."""
    box: tuple[slice, slice, slice]
    why: str


@dataclass(frozen=True)
class Answer:
    """What verifying says."""

    label: Label
    sentence: str
    altered: Blocks
    """Blocks (z, y, x) that were altered."""
    vouched: Blocks
    """Blocks whose evidence is there."""
    grid: Grid
    findings: tuple[Found, ...] = ()
    kept: float = 1.0
    """Share of the pattern that is still there."""
    exact: bool = False
    """Held against the record voxel by voxel."""
    margin: float = np.inf
    """Deviations by which the weakest window still keeps the pattern; negative where one has lost it."""

    def map(self) -> npt.NDArray[np.float32]:
        """(z, y, x): 1 where altered, 0.5 where nothing vouches, 0 elsewhere."""
        values = np.where(self.altered, 1.0, np.where(self.vouched, 0.0, 0.5)).astype(np.float32)
        return np.ascontiguousarray(self.grid.spread(values))


def verify(image: Image, master: bytes, salt: bytes, record: Record | None = None) -> Answer:
    """Held against its record block by block; where it was encoded anew, against the recorded means and the pattern.

    Without a record only the pattern can be asked; that finds large changes, and vouches for nothing.

    Raises as `scale_of`.
    """
    scale, grid = scale_of(image), grid_of(image)
    if record is not None:
        if record.grid.shape != image.shape:
            return _missing(Grid(image.shape, grid.block), "It has another size than what was protected")
        grid = record.grid
        changed = _changed(scale, image, grid, master, record)
        if changed is not None and changed.mean() < LOCAL:
            return _exact(changed, grid)
    spoken, variance, able = _pattern_left(scale, image, grid, master, salt)
    gone, vouched, kept, margin = _gone(spoken, variance, able, scale)
    drift = _drift(image, scale, record) if record is not None else np.zeros(grid.count)
    moved = drift > 1
    share = float(vouched[able].mean()) if able.any() else 0.0
    whole = kept < KEPT or share < COVERED - float((gone & able).sum() / max(able.sum(), 1))
    altered = moved if whole else moved | (gone & able)
    if altered.any():
        label, sentence = "tampered", f"It was altered in {_places(altered)}."
    elif whole:
        label, sentence = "indeterminate", ("The evidence is missing: it was never protected with this key, or was "
                                            "processed as a whole.")
    elif record is None:
        label, sentence = "indeterminate", ("The pattern is there everywhere, but small changes show only against the "
                                            "record.")
    else:
        label, sentence = "authentic", "It was encoded anew, and nothing else."
    return Answer(label, sentence, altered, vouched, grid, _findings(altered, grid, drift), kept,  # type: ignore[arg-type]
                  margin=margin)


def _exact(changed: Blocks, grid: Grid) -> Answer:
    if not changed.any():
        return Answer("authentic", "It is voxel by voxel what was protected.", changed, ~changed, grid, (), 1.0, True)
    return Answer("tampered", f"It was altered in {_places(changed)}.", changed, ~changed, grid,
                  _findings(changed, grid), 1.0, True)


def _missing(grid: Grid, why: str) -> Answer:
    none = np.zeros(grid.count, bool)
    return Answer("indeterminate", f"{why}; its evidence cannot be read.", none, none, grid, (), 0.0)


def _changed(scale: Scale, image: Image, grid: Grid, master: bytes, record: Record) -> Blocks | None:
    """Blocks that are not what was recorded; None where the image is stored in other steps."""
    if (scale.step, scale.offset) != (record.step, record.offset):
        return None
    found = np.frombuffer(macs_of(scale.steps(image), grid, master, record.salt), np.uint32)
    return np.asarray(found != np.frombuffer(record.macs, np.uint32)).reshape(grid.count)


def _pattern_left(scale: Scale, image: Image, grid: Grid, master: bytes, salt: bytes) -> tuple[Floats, Floats, Blocks]:
    """What speaks for the pattern in each block, its variance, and which blocks can have carried it."""
    steps = scale.steps(image)
    random = words(key_of(master, salt, "pattern"), grid.shape)
    means = grid.means(steps)
    prepared = prepare(steps.astype(np.float32))
    cells, place = cells_of(means, scale.cell), means / scale.cell % 1
    spoken, variance = answers(prepared, signs(random, cells, grid), grid)
    near = np.where(place < BOUND, -1, np.where(place > 1 - BOUND, 1, 0))
    if near.any():
        other, _ = answers(prepared, signs(random, cells + near, grid), grid)
        spoken = np.where(near != 0, np.maximum(spoken, other), spoken)
    low, high = int(steps.min()) + 2 * scale.amplitude, scale.largest - 2 * scale.amplitude
    return spoken, variance, ~grid.any((steps <= low) | (steps >= high)) & (variance > 0)


def _gone(spoken: Floats, variance: Floats, able: Blocks, scale: Scale) -> tuple[Blocks, Blocks, float, float]:
    """Blocks in windows that have lost the pattern, blocks in windows that have it, how much of it is left, and by how
    many deviations the weakest window has it."""
    strength = float((spoken * able).sum() / max((variance * able).sum(), 1e-30))
    wide = np.divide(_windows(spoken * able, AROUND), _windows(variance * able, AROUND), out=np.zeros(able.shape),
                     where=_windows(able * 1.0, AROUND) > 0.5)
    local = np.clip(wide, 0.0, max(strength, 0.0))
    gone, vouched, margin = np.zeros(able.shape, bool), np.zeros(able.shape, bool), np.inf
    for side in SCALES:
        sums, spread = _windows(spoken * able, side), _windows(variance * able, side)
        full = _windows(able.astype(float), side)
        expected = local * np.sqrt(np.maximum(spread, 0))
        seen = np.divide(sums, np.sqrt(np.maximum(spread, 0)), out=np.zeros_like(sums), where=spread > 0)
        bound = SHARE * expected - DEVIATIONS
        telling = (bound >= PRESENT) & (full > 0.5 * side**3)
        lost = telling & (seen < bound)
        margin = min(margin, float((seen - bound)[telling].min(initial=np.inf)))
        gone |= _dilated(lost, side)
        vouched |= _dilated(telling & ~lost, side)
    return gone, vouched & ~gone, max(strength, 0.0) / scale.amplitude, margin


def _windows(values: Floats, side: int) -> Floats:
    return np.asarray(ndimage.uniform_filter(values, side, mode="constant")) * side**3


def _dilated(mask: Blocks, side: int) -> Blocks:
    """The blocks of windows whose middles are given."""
    if side == 1:
        return mask
    # an even window lies one further to the low side in uniform_filter
    return np.asarray(ndimage.maximum_filter(mask, side, mode="constant", origin=-1 if side % 2 == 0 else 0))


def _drift(image: Image, scale: Scale, record: Record) -> Floats:
    """How far each block's mean is from the recorded one, over what another encoding may do."""
    recorded = record.means * record.step + record.offset
    drift = record.grid.means(image.pixels) - recorded
    drift -= np.median(drift)
    around = ndimage.maximum_filter(recorded, 3) - ndimage.minimum_filter(recorded, 3)
    least = TOLERANCE if record.modality == "CT" else FILM_TOLERANCE * scale.largest
    return np.asarray(np.abs(drift) / (least + EDGE * around))


def _findings(altered: Blocks, grid: Grid, drift: Floats | None = None) -> tuple[Found, ...]:
    """One for each region of altered blocks, the largest first; where means have drifted, its centre is theirs."""
    labels, _ = ndimage.label(altered, np.ones((3, 3, 3)))
    found = []
    for number, part in enumerate(ndimage.find_objects(labels), 1):
        inside = labels == number
        why = "other voxels than recorded" if drift is None else "the pattern is gone"
        weights = np.ones(int(inside.sum()))
        if drift is not None and (drift[inside] > 1).any():
            why, weights = "another mean than recorded", np.where(drift[inside] > 1, drift[inside], 0)
        middle = [float(np.average(axis, weights=weights)) + 0.5 for axis in np.nonzero(inside)]
        centre = tuple(min(m * side, length) - 0.5 for m, side, length in
                       zip(middle, grid.block, grid.shape, strict=True))
        box = tuple(slice(s.start * side, min(s.stop * side, length)) for s, side, length in
                    zip(part, grid.block, grid.shape, strict=True))
        found.append(Found(centre, box, why))  # type: ignore[arg-type]
    return tuple(sorted(found, key=lambda f: -np.prod([s.stop - s.start for s in f.box])))


def _places(altered: Blocks) -> str:
    count = int(ndimage.label(altered, np.ones((3, 3, 3)))[1])
    return "one place" if count == 1 else f"{count} places"
