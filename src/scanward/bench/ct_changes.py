"""What forgeries of the CT bench change, kept on disk, so that several methods are measured on the same voxels.

A forgery of a centimetre in a chest of 300 slices is a box of some 40 voxels a side: that, and not the scan, is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scanward.bench.ct import TRAINED, UNSEEN, Item, forged, items_of
from scanward.datasets.thorax import Scan, Thorax
from scanward.image import Image
from scanward.tiles import extent

CHOSEN_ON = ("nsclc-lung1-001",)
"""Whole chests of the validation split, on which thresholds of yardsticks are chosen."""
LEAST_SHARE = 0.25
"""Of a forgery's largest outline: a slice that shows less of it does not count as forged."""
CELL = 4
"""Pixels a side of the cells in which statistics are gathered."""
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Change:
    """One forgery of the bench."""

    item: Item
    diameter: float
    """Millimetres asked for; 0 of what is authentic."""
    box: Box
    """The voxels (z, y, x) of the scan that differ, or are of the truth; empty of what is authentic."""
    values: npt.NDArray[np.float32]
    """(z, y, x) of the box, HU."""
    truth: npt.NDArray[np.bool_]
    """(z, y, x) of the box."""

    def applied(self, image: Image) -> Image:
        """The forged scan, given the authentic one."""
        pixels = image.pixels.copy()
        pixels[self.box] = self.values
        return replace(image, pixels=pixels)

    def mask(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """The truth in the whole scan, (z, y, x)."""
        made = np.zeros(shape, np.bool_)
        made[self.box] = self.truth
        return made

    def depths(self) -> npt.NDArray[np.intp]:
        """The forged slices' numbers."""
        return shown_in(self.truth) + self.box[0].start


def shown_in(truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """The numbers of the slices of a truth (z, y, x) that count as forged."""
    areas = truth.sum((1, 2))
    return np.flatnonzero((areas > 0) & (areas >= LEAST_SHARE * areas.max(initial=0)))


def authentic(scan: Scan) -> Change:
    """No change at all."""
    none = slice(0, 0)
    return Change(Item(scan.name), 0.0, (none, none, none), np.zeros((0, 0, 0), np.float32),
                  np.zeros((0, 0, 0), np.bool_))


def wanted(row: Thorax) -> list[Item]:
    """The forgeries of a scan that yardsticks are held to: by attackers never trained on, in the test split; thresholds
    are chosen on those that detectors are trained on, in the validation split."""
    attacks = UNSEEN if row.split == "test" else TRAINED
    return [item for item in items_of(row) if item.attack in attacks]


def changes(items: Sequence[Item], scan: Scan, folder: Path, data: Path | None = None) -> Iterator[Change]:
    """The forgeries of a scan; what `folder` holds of them is not made again."""
    place = folder / scan.name
    place.mkdir(parents=True, exist_ok=True)
    for item in items:
        path = place / f"{item.attack}-{item.number}.npz"
        if not path.is_file():
            _keep(path, *forged(item, scan, data), scan.image)
        with np.load(path) as kept:
            first, last = kept["box"]
            box = slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])
            yield Change(item, float(kept["diameter"]), box, kept["values"], kept["truth"])


def _keep(path: Path, image: Image, truth: npt.NDArray[np.bool_], diameter: float, scan: Image) -> None:
    box = box_of((image.pixels != scan.pixels) | truth)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, box=np.array([[s.start for s in box], [s.stop for s in box]]), diameter=diameter,
                        values=image.pixels[box], truth=truth[box])
    part.replace(path)


def box_of(where: npt.NDArray[np.bool_]) -> Box:
    """The smallest box (z, y, x) around what is True; an empty one where nothing is."""
    z, y, x = extent(where) if where.any() else (slice(0, 0),) * 3
    return z, y, x


def shared(box: Sequence[slice], window: Box) -> tuple[Box, Box]:
    """What a box and a window of a scan (z, y, x) have in common: its place in the box, and in the window; empty where
    it is nothing."""
    inner = [slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
             for a, b in zip(box, window, strict=True)]
    own, there = ([slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, whole, strict=True)]
                  for whole in (box, window))
    return (own[0], own[1], own[2]), (there[0], there[1], there[2])


def lung_window(scan: Scan) -> Box:
    """The smallest box (z, y, x) of a scan's voxels around its lungs of whole cells of `CELL` pixels."""
    z, *coarse = box_of(scan.lungs.mask)
    found = [slice(int(part.start * step) // CELL * CELL,
                   min(side, math.ceil(part.stop * step) + CELL - 1) // CELL * CELL)
             for part, step, side in zip(coarse, scan.lungs.step[1:], scan.image.shape[1:], strict=True)]
    return z, found[0], found[1]
