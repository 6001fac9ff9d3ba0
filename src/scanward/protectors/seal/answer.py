"""Whether an image still is what was protected: authentic, tampered and where, or inconclusive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.box import Box
from scanward.brief import brief
from scanward.image import Image
from scanward.modality import traits
from scanward.protectors.seal.keys import key_of
from scanward.protectors.seal.matched import asked
from scanward.protectors.seal.pattern import Grid
from scanward.protectors.seal.record import Record
from scanward.protectors.seal.weave import CELLS, Scale, grid_of, macs_of, scale_of
from scanward.verdict import Label

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
TOLERANCE, FILM_TOLERANCE = (8.0, 30.0), (0.005, 0.02)
"""Least and most by which a block's mean may drift in another encoding: HU, and the share of a film's range. In between
it is `SPREADS` deviations of this image's drifts."""
EDGE = (0.01, 0.1)
"""The same for blocks at edges, as a share of the differences around them: `EDGES` times what 199 in 200 keep to."""
SPREADS, EDGES = 12.0, 3.0
STEEP = 300.0
"""HU between neighbours' means from which on a block lies at an edge."""
SHIFT, FILM_SHIFT = 2.0, 0.005
"""By which all values together may lie elsewhere: HU, and the share of a film's range."""
SAME = 1e-3
"""Relative difference below which two spacings are one; and millimetres below which two places are, times ten."""
AROUND = 11
"""Blocks a side of the surroundings by which a window is judged: bones and air keep less of the pattern than lung."""
COVERED = 0.9
"""Share of the blocks that the pattern must vouch for."""
KEPT = 0.55
"""Share of the pattern below which an image counts as processed as a whole: JPEG 2000 at 7:1 leaves six to nine tenths,
a blur of half a pixel at most a half, and that unevenly."""


@dataclass(frozen=True)
class Found:
    """A place that was altered."""

    centre: tuple[float, float, float]
    """(z, y, x) in voxels."""
    box: Box
    why: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What verifying says."""

    label: Label
    sentence: str
    altered: Blocks
    """Blocks (z, y, x) that were altered."""
    vouched: Blocks
    """Blocks that are what they were, voxel by voxel or as far as the pattern tells."""
    grid: Grid
    findings: tuple[Found, ...] = ()
    kept: float = 1.0
    """The pattern's strength over that at its weaving; 0 where no record says what that was."""
    exact: bool = False
    """Held against the record voxel by voxel."""
    margin: float = np.inf
    """Deviations by which the weakest window still keeps the pattern; negative where one has lost it."""

    __repr__ = brief

    def map(self) -> npt.NDArray[np.float32]:
        """(z, y, x): 1 where altered, 0.5 where nothing vouches, 0 elsewhere."""
        values = np.where(self.altered, 1.0, np.where(self.vouched, 0.0, 0.5)).astype(np.float32)
        return np.ascontiguousarray(self.grid.spread(values))


def verify(image: Image, master: bytes, salt: bytes, record: Record | None = None) -> Answer:
    """Held against its record block by block; where it was encoded anew, against the recorded means and the pattern.

    Without a record only the pattern can be asked; that finds large changes, and vouches for nothing. Raises as
    `scale_of` then.
    """
    grid = grid_of(image) if record is None else record.grid
    scale = scale_of(image) if record is None else Scale(record.step, record.offset, 0, record.amplitude, record.cell)
    if image.shape != grid.shape:
        none = np.zeros(Grid(image.shape, grid.block).count, bool)
        return Answer("inconclusive", "It has another size than what was protected.", none, none,
                      Grid(image.shape, grid.block), (), 0.0)
    steps = scale.steps(image)
    if record is not None:
        whole = _elsewhere(image, record)
        if whole:
            return _everywhere(whole, grid)
        changed = _changed(steps, scale, image, master, record)
        if changed is not None and changed.mean() < LOCAL:
            return _exact(changed, grid)
        moved = _moved(image, record)
        shift = float(np.median(moved[record.woven]))
        if abs(shift) > (SHIFT if record.modality == "CT" else FILM_SHIFT * record.cell * CELLS):
            return _everywhere(f"All its values were moved by about {shift:+.0f}.", grid)
    spoken, variance = asked(steps, grid, key_of(master, salt, "pattern"), scale.cell)
    able = (_able(steps, scale, grid) if record is None else record.woven) & (variance > 0)
    strength = float((spoken * able).sum() / max((variance * able).sum(), 1e-30))
    return _weighed(None if record is None else (record, moved), grid, able, _gone(spoken, variance, able), strength)


def _weighed(known: tuple[Record, Floats] | None, grid: Grid, able: Blocks, pattern: tuple[Blocks, Blocks, float],
             strength: float) -> Answer:
    """The answer on an image that is not voxel by voxel what was protected, or has no record: never `authentic`."""
    gone, vouched, margin = pattern
    label: Label
    share = float(vouched[able].mean()) if able.any() else 0.0
    missing = share < COVERED - float((gone & able).sum() / max(able.sum(), 1))
    if known is None:
        label, sentence = "inconclusive", ("The evidence is missing: it was never protected with this key, or was "
                                            "processed as a whole." if missing else "The pattern is there everywhere, "
                                            "but small changes show only against the record.")
        altered = np.zeros_like(gone) if missing else gone & able
        if altered.any():
            label, sentence = "tampered", f"It was altered in {_places(altered)}."
        return Answer(label, sentence, altered, vouched, grid, _findings(altered, grid, np.zeros(grid.count)), 0.0,
                      margin=margin)
    record, moved = known
    kept = max(strength, 0.0) / record.strength if record.strength > 0 else 0.0
    missing = missing or kept < KEPT
    drift, allowed = _drift(moved, record)
    altered = (drift > 1) if missing else (drift > 1) | (gone & able)
    if altered.any():
        label, sentence = "tampered", f"It was altered in {_places(altered)}."
    elif missing:
        label, sentence = "inconclusive", ("The evidence is missing: it was never protected with this key, or was "
                                            "processed as a whole.")
    else:
        unit = traits(record.modality).unit
        # A forger without the key can drive the image here and keep every mean, so this is no pass.
        label, sentence = "inconclusive", (f"It was encoded anew; the mean of no {_side(record)} block moved by more "
                                            f"than {allowed:.0f} {unit}, which a careful forger can see to, too.")
    return Answer(label, sentence, altered, vouched, grid, _findings(altered, grid, drift), kept, margin=margin)


def _exact(changed: Blocks, grid: Grid) -> Answer:
    if not changed.any():
        return Answer("authentic", "It is voxel by voxel what was protected.", changed, ~changed, grid, (), 1.0, True)
    return Answer("tampered", f"It was altered in {_places(changed)}.", changed, ~changed, grid,
                  _findings(changed, grid), 1.0, True)


def _everywhere(why: str, grid: Grid) -> Answer:
    every = np.ones(grid.count, bool)
    return Answer("tampered", why, every, ~every, grid, _findings(every, grid), 0.0)


def _elsewhere(image: Image, record: Record) -> str:
    """What is wrong with its spacing or where it lies, in a sentence; or nothing."""
    if record.spacing is not None and not (image.spacing is not None and
                                           np.allclose(image.spacing, record.spacing, rtol=SAME, atol=0)):
        now = "unknown" if image.spacing is None else " x ".join(f"{mm:g}" for mm in image.spacing)
        return f"Its voxels are {now} mm now, and were {' x '.join(f'{mm:g}' for mm in record.spacing)} mm."
    there = image.provenance.to_world
    if record.to_world is not None and there is not None and not np.allclose(there, record.to_world, atol=10 * SAME):
        return "It lies elsewhere in the patient than what was protected, or the other way round."
    return ""


def _changed(steps: npt.NDArray[np.int32], scale: Scale, image: Image, master: bytes, record: Record) -> Blocks | None:
    """Blocks that are not what was recorded; None where the image holds values between the recorded steps."""
    if not scale.holds(image, steps):
        return None
    found = np.frombuffer(macs_of(steps, record.grid, master, record.salt), np.uint32)
    return np.asarray(found != np.frombuffer(record.macs, np.uint32)).reshape(record.grid.count)


def _able(steps: npt.NDArray[np.int32], scale: Scale, grid: Grid) -> Blocks:
    """Blocks that can have carried the pattern, as far as an image alone tells."""
    low, high = scale.floor(steps) + 2 * scale.amplitude, scale.largest - 2 * scale.amplitude
    return ~grid.any((steps <= low) | (steps >= high))


def _gone(spoken: Floats, variance: Floats, able: Blocks) -> tuple[Blocks, Blocks, float]:
    """Blocks in windows that have lost the pattern, blocks in windows that have it, and by how many deviations the
    weakest window has it."""
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
    return gone, vouched & ~gone, margin


def _windows(values: Floats, side: int) -> Floats:
    return np.asarray(ndimage.uniform_filter(values, side, mode="constant")) * side**3


def _dilated(mask: Blocks, side: int) -> Blocks:
    """The blocks of windows whose middles are given."""
    # an even window lies one further to the low side in uniform_filter
    return np.asarray(ndimage.maximum_filter(mask, side, mode="constant", origin=-1 if side % 2 == 0 else 0))


def _moved(image: Image, record: Record) -> Floats:
    """By how much each block's mean is another than recorded, in the image's unit."""
    return record.grid.means(image.pixels) - (record.means * record.step + record.offset)


def _drift(moved: Floats, record: Record) -> tuple[Floats, float]:
    """How far each block's mean is from the recorded one, over what another encoding may do there; and what that is
    away from edges."""
    moved, recorded = np.abs(moved), record.means * record.step
    unit = 1.0 if record.modality == "CT" else record.cell * record.step * CELLS / 4096
    around = ndimage.maximum_filter(recorded, 3) - ndimage.minimum_filter(recorded, 3)
    low, high = TOLERANCE if record.modality == "CT" else (share * record.cell * CELLS for share in FILM_TOLERANCE)
    least = float(np.clip(SPREADS * 1.4826 * np.median(moved), low, high))
    steep = around > STEEP * unit
    share = EDGES * float(np.percentile(moved[steep] / around[steep], 99.5)) if steep.any() else EDGE[1]
    return np.asarray(moved / (least + min(max(share, EDGE[0]), EDGE[1]) * around)), least


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
        box = Box.of([slice(s.start * side, min(s.stop * side, length)) for s, side, length in
                      zip(part, grid.block, grid.shape, strict=True)])
        found.append(Found(centre, box, why))  # type: ignore[arg-type]
    return tuple(sorted(found, key=lambda f: -math.prod(f.box.size)))


def _side(record: Record) -> str:
    """A block's size, for people."""
    if record.spacing is None:
        return " x ".join(map(str, record.grid.block[1:])) + " pixel"
    return f"{max(n * mm for n, mm in zip(record.grid.block[1:], record.spacing[1:], strict=True)):.0f} mm"


def _places(altered: Blocks) -> str:
    count = int(ndimage.label(altered, np.ones((3, 3, 3)))[1])
    return "one place" if count == 1 else f"{count} places"
