"""Cubes of a volume, there and back, in torch throughout: whoever protects a scan sends gradients through it.

Axes are (z, y, x).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 32
"""Voxels a side of a cube."""
LARGEST = 16.0
"""Voxels of the cube that a lesion fills at most; a larger one gets a larger cuboid, not a larger cube."""


@dataclass(frozen=True)
class Cuboid:
    """Where a cube lies in a scan."""

    centre: tuple[float, float, float]
    """(z, y, x) in voxels."""
    spacing: tuple[float, float, float]
    """(z, y, x) in mm."""
    voxel: float = 1.0
    """Millimetres of the scan a voxel of the cube."""

    def box(self, shape: tuple[int, ...], reach: float) -> tuple[slice, slice, slice]:
        """The voxels of a scan of this shape within `reach` voxels of the cube from its middle, along each axis."""
        slices = []
        for middle, step, length in zip(self.centre, self.spacing, shape, strict=True):
            half = reach * self.voxel / step
            slices.append(slice(max(0, math.ceil(middle - half)), min(length, math.floor(middle + half) + 1)))
        return slices[0], slices[1], slices[2]


def cuboid_of(centre: tuple[float, float, float], spacing: tuple[float, float, float], diameter_mm: float) -> Cuboid:
    """The cuboid of a lesion: 32 mm a side, and proportionally more for lesions of more than 16 mm."""
    return Cuboid(centre, spacing, max(1.0, diameter_mm / LARGEST))


def cut(scan: Tensor, cuboid: Cuboid) -> Tensor:
    """The cube (1, 1, 32, 32, 32) of a scan (z, y, x), trilinear; beyond the scan its border goes on."""
    axes = [(torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2) * cuboid.voxel / step + middle
            for middle, step in zip(cuboid.centre, cuboid.spacing, strict=True)]
    # Only the voxels about the cuboid are read: a scan of 300 slices is never copied.
    near = [slice(min(max(0, math.floor(float(a[0]))), n - 1), max(min(n, math.floor(float(a[-1])) + 2), 1))
            for a, n in zip(axes, scan.shape, strict=True)]
    part = scan[near[0], near[1], near[2]]
    return _sampled(part[None, None], [a - s.start for a, s in zip(axes, near, strict=True)])


def spread(cube: Tensor, cuboid: Cuboid, box: tuple[slice, slice, slice]) -> Tensor:
    """The cube (1, 1, 32, 32, 32) at the scan's own voxels in `box`, (z, y, x), trilinear."""
    axes = [(torch.arange(part.start, part.stop, dtype=torch.float64) - middle) * step / cuboid.voxel + (SIDE - 1) / 2
            for part, middle, step in zip(box, cuboid.centre, cuboid.spacing, strict=True)]
    return _sampled(cube, axes)[0, 0]


def _sampled(volume: Tensor, axes: list[Tensor]) -> Tensor:
    """Trilinear values of a volume (1, 1, z, y, x) on the grid of the axes' positions, in voxels; the positions are
    worked out on the CPU, since not every device knows f64."""
    for dim, positions in enumerate(axes, 2):
        length = volume.shape[dim]
        place = positions.clamp(0, length - 1)
        low = place.floor().long().clamp(max=max(0, length - 2))
        share = (place - low).to(volume.device, volume.dtype).reshape([-1 if d == dim else 1 for d in range(5)])
        low = low.to(volume.device)
        first = volume.index_select(dim, low)
        second = volume.index_select(dim, (low + 1).clamp(max=length - 1))
        volume = first + share * (second - first)
    return volume
