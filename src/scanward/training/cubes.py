"""Cubes for 3-D training: healthy lung of few patients, and in it, in every pose, the real nodules of hundreds.

Few of the nodules' own volumes are 32 mm high, so nodules are composed into lung: their voxels inside the readers'
outline, brighter than the lung they replace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scanward.attacks.ct_gan.cube import AIR, METAL
from scanward.attacks.ct_gan.density import density_of
from scanward.datasets.chests import Nodule, healthy, taken
from scanward.image import Image
from scanward.nets.cube import SIDE, Cuboid, cut

ROOM = 6
"""Voxels on each side of a patch by which the cubes cut from it are shifted."""


@dataclass(frozen=True)
class Batch:
    """Cubes as both networks of an attacker see them."""

    healthy: Tensor
    """(n, 1, 32, 32, 32), HU."""
    lesion: Tensor
    """The same with a nodule composed into each."""
    shape: Tensor
    """(n, 1, 32, 32, 32) in [0, 1]: its outline."""
    density: Tensor
    """(n,), -1 for -800 HU and 1 for 200."""


def patches(images: Sequence[Image], count: int, seed: int, across: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """(n, 44, 44, 44) HU of healthy lung at 1 mm, about random places of the scans, without lesions in the middle.

    About `count` in all, by the scans' heights; `across` says between which parts of the width they lie.
    """
    scans = [torch.from_numpy(image.pixels) for image in images]

    def take(number: int, centre: tuple[float, float, float]) -> Tensor | None:
        image = images[number]
        if not across[0] <= centre[2] / image.shape[2] <= across[1]:
            return None
        patch = _patch(scans[number], centre, image.spacing or (1.0,) * 3)
        return patch if healthy(patch[ROOM:-ROOM, ROOM:-ROOM, ROOM:-ROOM].numpy()) else None

    return torch.stack(taken(images, count, np.random.default_rng(seed), take))


def _patch(scan: Tensor, centre: tuple[float, float, float], spacing: tuple[float, ...]) -> Tensor:
    """44³ voxels of 1 mm, put together from cubes of 32³."""
    side = SIDE + 2 * ROOM
    axis = [0, side - SIDE]
    patch = torch.empty(side, side, side)
    z, y, x = spacing
    for a in axis:
        for b in axis:
            for c in axis:
                shift = [(v + SIDE / 2 - side / 2) for v in (a, b, c)]
                middle = tuple(m + s / step for m, s, step in zip(centre, shift, (z, y, x), strict=True))
                cube = cut(scan, Cuboid(middle, (z, y, x)))[0, 0]  # type: ignore[arg-type]
                patch[a:a + SIDE, b:b + SIDE, c:c + SIDE] = cube
    return patch.clamp(AIR, METAL)


class Cubes:
    """Draws batches of cubes from patches of healthy lung and nodules."""

    def __init__(self, lung: Tensor, nodules: Sequence[Nodule]) -> None:
        self.lung = lung
        self.hu = torch.from_numpy(np.stack([n.hu for n in nodules]))
        self.mask = torch.from_numpy(np.stack([n.outline for n in nodules]))
        self.densities = torch.tensor([density_of(n.density) for n in nodules])

    def draw(self, rng: np.random.Generator, count: int, *, shift: float = 1.5, vary: float = 0.3) -> Batch:
        """Random cubes in random poses; nodules up to `shift` voxels off the middle. A share `vary` of them as another
        scanner might have made them."""
        healthy = torch.stack([self._lung(rng) for _ in range(count)])[:, None]
        picks = torch.from_numpy(rng.integers(len(self.hu), size=count))
        scale = torch.from_numpy(np.exp(rng.uniform(-0.15, 0.15, count)).astype(np.float32))
        hu, mask = _posed(self.hu[picks, None], self.mask[picks, None], scale, shift, rng)
        lesion = torch.maximum(mask * hu + (1 - mask) * healthy, healthy)
        if vary:
            healthy, lesion = varied(healthy, lesion, vary, rng)
        return Batch(healthy.clamp(AIR, METAL), lesion.clamp(AIR, METAL), mask, self.densities[picks])

    def _lung(self, rng: np.random.Generator) -> Tensor:
        z, y, x = (int(v) for v in rng.integers(0, 2 * ROOM + 1, 3))
        cube = self.lung[int(rng.integers(len(self.lung))), z:z + SIDE, y:y + SIDE, x:x + SIDE]
        cube = torch.rot90(cube, int(rng.integers(4)), (1, 2))
        flips = [axis for axis in range(3) if rng.random() < 0.5]
        return torch.flip(cube, flips)


def _posed(hu: Tensor, mask: Tensor, scale: Tensor, shift: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Nodules (n, 1, 32, 32, 32) turned at random, scaled and shifted."""
    count = len(hu)
    turn, _ = torch.linalg.qr(torch.from_numpy(rng.standard_normal((count, 3, 3)).astype(np.float32)))
    move = torch.from_numpy(rng.uniform(-shift, shift, (count, 3, 1)).astype(np.float32)) * 2 / SIDE
    grid = functional.affine_grid(torch.cat([turn / scale[:, None, None], move], 2), list(hu.shape),
                                  align_corners=False)
    both = functional.grid_sample(torch.cat([hu, mask], 1), grid, mode="bilinear", padding_mode="border",
                                  align_corners=False)
    inside = (grid.abs() < 1).all(-1)[:, None]
    return both[:, :1], both[:, 1:] * inside


def varied(first: Tensor, second: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A share of the cubes with thicker slices, softer or noisier, both of a pair alike."""
    both = torch.stack([first, second], 1)
    for number in range(len(both)):
        if rng.random() < share:
            slices = int(rng.integers(1, 4))
            grain = torch.from_numpy(rng.standard_normal(both.shape[2:], np.float32))[None]
            if rng.random() < 0.6:
                grain = _thick(grain, slices)
            both[number] = _thick(both[number], slices) + float(rng.uniform(0, 60)) * grain[0]
    return both[:, 0], both[:, 1]


def _thick(cubes: Tensor, slices: int) -> Tensor:
    """(n, 1, z, y, x) averaged over so many slices."""
    low = (slices - 1) // 2
    padded = functional.pad(cubes, (0, 0, 0, 0, low, slices - 1 - low), mode="replicate")
    return functional.avg_pool3d(padded, (slices, 1, 1), 1)
