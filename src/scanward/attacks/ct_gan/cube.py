"""What CT-GAN does to a cube, in torch throughout.

The steps are those of CT-GAN (Mirsky et al. 2019, section 4.3): cut, isotropic millimetres, equalise, mask, generate,
repair, rescale, paste, touch up. Axes are (z, y, x); values are HU, equalised values lie in [-0.5, 0.5].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from scanward.nets.cube import Cuboid

HOLE = 20
REACH = 12.0
"""Voxels from the cube's middle to which a forgery reaches: the generator paints to 10, and what is beyond is blended
with the scan."""
AIR, METAL = -1000.0, 2000.0


@dataclass(frozen=True)
class Equaliser:
    """The intensities of training cubes made uniform: a piecewise-linear distribution function."""

    hu: Tensor
    """(k,), ascending."""
    level: Tensor
    """(k,), ascending from -0.5 to 0.5."""

    def forward(self, hu: Tensor) -> Tensor:
        """HU of any shape to [-0.5, 0.5]."""
        return _linear(hu, self.hu, self.level)

    def inverse(self, level: Tensor) -> Tensor:
        """[-0.5, 0.5] of any shape to HU."""
        return _linear(level, self.level, self.hu)


def _linear(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    x = torch.minimum(torch.maximum(x, xs[0]), xs[-1])
    at = torch.searchsorted(xs, x.detach().contiguous(), right=True).clamp(1, len(xs) - 1)
    slope = (ys[at] - ys[at - 1]) / (xs[at] - xs[at - 1])
    return ys[at - 1] + slope * (x - xs[at - 1])


def repaired(cube: Tensor) -> Tensor:
    """HU (1, 1, 32, 32, 32) with what is brighter than 2000 replaced by the mean of its 5³, and nothing below air."""
    around = functional.avg_pool3d(functional.pad(cube, (2,) * 6, mode="replicate"), 5, 1)
    return torch.where(cube > METAL, around, cube).clamp_min(AIR)


def window(cuboid: Cuboid, box: tuple[slice, slice, slice]) -> Tensor:
    """The weight of the forgery at the scan's voxels in `box`: 1 on what the generator painted, falling along a cosine
    to 0 just beyond. The published window is a Gaussian over the cuboid, which takes half of a lesion's rim away and
    softens what lies around it."""
    inner, outer = (HOLE / 2 - 0.5) * cuboid.voxel, REACH * cuboid.voxel
    parts = []
    for part, middle, step in zip(box, cuboid.centre, cuboid.spacing, strict=True):
        away = ((torch.arange(part.start, part.stop, dtype=torch.float32) - middle) * step).abs()
        parts.append(0.5 + 0.5 * torch.cos(math.pi * ((away - inner) / (outer - inner)).clamp(0, 1)))
    return parts[0][:, None, None] * parts[1][:, None] * parts[2]


def injected(original: Tensor, painted: Tensor, weight: Tensor) -> Tensor:
    """What stands in the box (z, y, x) after an injection: the brighter of the two, by a sigmoid of the painted HU, so
    that lung stays the scan's own (the published touch-up)."""
    share = torch.sigmoid((painted + 700) / 70) * weight
    return torch.maximum(share * painted + (1 - share) * original, original)


def removed(original: Tensor, painted: Tensor, weight: Tensor) -> Tensor:
    """What stands in the box (z, y, x) after a removal: the weighted mean."""
    return weight * painted + (1 - weight) * original
