"""What the projections are changed by: a nodule that is put in, or one that is there and taken away.

Arrays are (z, y, x) on a `Grid` about the lesion, in HU of difference to the scan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from scanward.attacks.ct_gan.shape import SOFT, shape_of
from scanward.attacks.pieces import piece_at
from scanward.attacks.projection.beam import Beam
from scanward.box import Box
from scanward.image import Image
from scanward.nets.cube import LARGEST, SIDE

Volume = npt.NDArray[np.float64]
Point = tuple[float, float, float]

MARGIN = 6.0
"""Millimetres about the lesion that its reconstruction may reach."""
FADE = 3.0
"""Millimetres over which it ends."""
FINEST = 96
"""Points a side of the square that is projected, at most."""
UNEVEN = 15.0
"""Deviation in HU of a nodule's density within itself."""
FAINT = 0.02
"""Share of a nodule below which there is none."""
RIM_SOFT = 0.4
"""Millimetres over which the rim falls by a factor of e, at most."""
QUIET_MM = 2.5
"""Deviation of the smoothing that tells noise from what is there."""
MOST = 2.0
"""Deviations of the noise that a pixel's noise has at most."""
RING = 1.0
"""The same of a removal, whose rim is steeper."""
ALIKE = 2.0
"""Deviations of the noise by which pixels that are smoothed together differ: small vessels must not pass for noise."""
RIM_MM = 4.0
"""Thickness of the shell about a nodule that says what the lung is like there."""
AIRY = -500.0


@dataclass(frozen=True)
class Grid:
    """Points about a lesion: slices at `heights` mm from its centre, in each a square about `offset`."""

    centre: Point
    """The lesion's voxel (z, y, x)."""
    spacing: Point
    """Of the scan in mm."""
    heights: npt.NDArray[np.float64]
    beam: Beam

    @classmethod
    def about(cls, centre: Point, spacing: Point, radius: float, finest: float,
              heights: npt.NDArray[np.float64]) -> Grid:
        """Which holds `radius` mm about the centre and the margin; no finer than `finest` mm, or than the pixels if
        they are finer."""
        reach = radius + MARGIN
        step = max(2 * reach / (FINEST - 2), min(*spacing[1:], finest))
        return cls(centre, spacing, heights, Beam(2 * math.ceil(reach / step) + 1, step))

    @property
    def middle(self) -> tuple[float, float]:
        """The scan's pixel (y, x) under the square's middle: a whole one, so that points and pixels may coincide."""
        return float(round(self.centre[1])), float(round(self.centre[2]))

    @property
    def axis(self) -> npt.NDArray[np.float64]:
        """Millimetres of the square's points from its middle."""
        return np.asarray((np.arange(self.beam.side) - self.beam.side // 2) * self.beam.step, np.float64)

    @property
    def reach(self) -> float:
        """Millimetres from the square's middle to its sides."""
        return self.beam.side // 2 * self.beam.step

    def offsets(self) -> tuple[Volume, Volume, Volume]:
        """Millimetres (z, y, x) of every point from the lesion's centre, to be broadcast."""
        y, x = ((m - c) * s + self.axis for m, c, s in
                zip(self.middle, self.centre[1:], self.spacing[1:], strict=True))
        return self.heights[:, None, None], y[:, None], x

    def sampled(self, pixels: npt.NDArray[np.float32], order: int = 1) -> Volume:
        """A scan's values (z, y, x) at the points; beyond the scan its border goes on."""
        z, y, x = (offset.ravel() / s + c for offset, s, c in
                   zip(self.offsets(), self.spacing, self.centre, strict=True))
        parts = [slice(max(0, min(math.floor(v[0]) - 2, n - 1)), min(n, max(math.ceil(v[-1]) + 3, 1)))
                 for v, n in zip((z, y, x), pixels.shape, strict=True)]
        grid = np.meshgrid(*(v - p.start for v, p in zip((z, y, x), parts, strict=True)), indexing="ij")
        return np.asarray(ndimage.map_coordinates(pixels[tuple(parts)].astype(np.float64), grid, order=order,
                                                  mode="nearest"))

    def to_scan(self, planes: Volume, box: Box) -> Volume:
        """Planes of the scan's own slices at the pixels of a box that holds just those slices, faded out where the
        square ends."""
        _, y, x = (np.arange(part.start, part.stop) for part in box.slices)
        rows, columns = ((v - m) * s for v, m, s in zip((y, x), self.middle, self.spacing[1:], strict=True))
        where = [v / self.beam.step + self.beam.side // 2 for v in (rows, columns)]
        at = np.meshgrid(*where, indexing="ij")
        away = np.hypot(rows[:, None], columns)
        weight = 0.5 + 0.5 * np.cos(math.pi * ((away - self.reach + FADE) / FADE).clip(0, 1))
        return np.stack([ndimage.map_coordinates(plane, at, order=3, mode="nearest") for plane in planes]) * weight

    def box(self, shape: tuple[int, int, int], slices: range) -> Box:
        """The voxels of a scan of this shape within reach, in some slices; one that holds the centre."""
        low, high = [slices.start], [slices.stop]
        for middle, step, length in zip(self.middle, self.spacing[1:], shape[1:], strict=True):
            half = math.floor(self.reach / step)
            low.append(max(0, round(middle) - half))
            high.append(min(length, round(middle) + half + 1))
        return Box(*low, *high)


def shares(diameter: float, seed: int, offsets: tuple[Volume, Volume, Volume]) -> Volume:
    """Of a nodule at offsets (z, y, x) in mm from its centre: 1 inside, falling smoothly to 0 over its rim."""
    voxel = diameter / LARGEST
    inwards = special.logit(shape_of(LARGEST, seed).astype(np.float64).clip(1e-3, 1 - 1e-3))
    grid = np.broadcast_arrays(*(offset / voxel + (SIDE - 1) / 2 for offset in offsets))
    depth = ndimage.map_coordinates(inwards, grid, order=1, mode="constant", cval=-10.0)
    # a shape's rim is a part of its diameter, and that of a large nodule no softer than others'
    share = special.expit(depth * max(1.0, SOFT * voxel / RIM_SOFT))
    return np.where(share > FAINT, share, 0.0)


def radius_of(diameter: float, seed: int) -> float:
    """Millimetres from a nodule's centre to its farthest part."""
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    away = np.linalg.norm(np.stack(np.meshgrid(axis, axis, axis, indexing="ij")), axis=0)
    return float(away[shape_of(LARGEST, seed) > FAINT].max() + 1) * diameter / LARGEST


def excess_put(grid: Grid, host: Image, diameter: float, density: float, noise: float, seed: int) -> Volume:
    """What a nodule adds to what is there without its `noise`, which stays: nothing where a vessel is denser."""
    share = shares(diameter, seed, grid.offsets())
    lumps = np.random.default_rng((seed, 4)).standard_normal(share.shape)
    steps = (np.ptp(grid.heights) / max(1, len(grid.heights) - 1) or 1.0, grid.beam.step, grid.beam.step)
    lumps = ndimage.gaussian_filter(lumps, [diameter / 6 / step for step in steps])
    lumps -= np.average(lumps, weights=share**2)  # the nodule as a whole has the density asked for
    inside = density + UNEVEN * lumps / max(float(lumps.std()), 1e-9)
    there = grid.sampled(host.pixels)
    # what stands out by more than noise does is a small vessel, which must not lie on top of the nodule
    known = np.maximum(_quiet(there, noise, grid.beam.step), there - MOST * noise)
    added = share * np.maximum(inside - known, 0)
    middle = [(length - 1) / 2 for length in added.shape]
    return np.where(piece_at(added > FAINT, middle, steps), added, 0.0)


def excess_taken(grid: Grid, host: Image, diameter: float, noise: float) -> Volume:
    """What the nodule within a diameter is denser than the lung about it, on a grid of the scan's own slices.

    The lung is a plane through the shell about the nodule without its vessels. The scan's noise stays, and vessels that
    do not touch the nodule.
    """
    z, y, x = grid.offsets()
    away = np.sqrt(z**2 + y**2 + x**2)
    radius = _radius_taken(diameter)
    there = grid.sampled(host.pixels, order=3)
    lung = _lung(there, away, radius, (z, y, x))
    weight = 0.5 + 0.5 * np.cos(math.pi * ((away - radius) / FADE).clip(0, 1))
    # more than this of the rim is no noise: it would be left as a ring
    kept = (there - _quiet(there, noise, grid.beam.step)).clip(-RING * noise, RING * noise)
    excess = np.maximum(there - kept - lung, 0) * (away < radius + FADE)
    inner = away < max(diameter / 2, float(away.min()) + 1e-6)
    level = min(max(3 * noise, 100.0), 0.5 * float(excess[inner].max()))
    centre = [float(np.argmin(np.abs(part.ravel()))) for part in (z, y, x)]
    nodule = piece_at((excess > level) & (away < radius), centre, grid.spacing)
    # the rim fades below the level; it lies within a resolution of what is above it
    flat = ndimage.generate_binary_structure(3, 1)
    return np.where(ndimage.binary_dilation(nodule, flat, 2), excess * weight, 0.0)


def reach_taken(diameter: float) -> float:
    """Millimetres from its centre within which a nodule is taken away."""
    return _radius_taken(diameter) + FADE


def _quiet(there: Volume, noise: float, step: float) -> Volume:
    """Slices without their noise, by a bilateral filter, twice: smooth where they are even, as they were where not."""
    wide = max(1.0, QUIET_MM / step)
    width, alike = 2 * math.ceil(1.5 * wide) + 1, ALIKE * max(noise, 1.0)
    quiet = [plane.astype(np.float32) for plane in there]
    for _ in range(2):
        quiet = [np.asarray(cv2.bilateralFilter(plane, width, alike, wide), np.float32) for plane in quiet]
    return np.stack(quiet).astype(np.float64)


def _radius_taken(diameter: float) -> float:
    return 0.6 * diameter + 1.0


def _lung(there: Volume, away: Volume, radius: float, offsets: tuple[Volume, Volume, Volume]) -> Volume:
    """The lung's HU as a plane of the offsets, fitted to its shell about a nodule, what is brighter left out twice."""
    shell = (away > radius) & (away < radius + RIM_MM) & (there < AIRY)
    if shell.sum() < 30:
        return np.full(there.shape, float(np.percentile(there, 10)))
    parts = [np.broadcast_to(offset, there.shape) for offset in offsets]
    for _ in range(3):
        terms = np.stack([np.ones(int(shell.sum())), *(part[shell] for part in parts)], 1)
        normal = np.einsum("ij,ik->jk", terms, terms) + 1e-9 * np.eye(4)
        fit = np.linalg.solve(normal, np.einsum("ij,i->j", terms, there[shell]))
        plane = fit[0] + sum(slope * part for slope, part in zip(fit[1:], parts, strict=True))
        left = there - plane
        spread = float(np.median(np.abs(left[shell]))) * 1.5 + 1e-6
        shell &= left < 2 * spread
    return np.asarray(np.clip(plane, -1000, AIRY))
