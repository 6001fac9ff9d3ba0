"""Scenes for training a protection: native voxels about a place in healthy lung, half of them with a real nodule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scanward.datasets.chests import Nodule, healthy_at, planted, taken
from scanward.image import Image
from scanward.nets.cube import SIDE, Cuboid, cuboid_of

AROUND = 1.5
"""Of a cube's half side: how far a scene reaches, so that attacks may miss the place."""


@dataclass(frozen=True)
class Scene:
    """What lies about one place."""

    voxels: Tensor
    """(z, y, x), HU."""
    cuboid: Cuboid
    """In these voxels."""
    diameter_mm: float
    ill: bool
    """A real nodule is there; an attacker would remove it, and otherwise inject one."""
    corner: tuple[int, int]
    """Where its voxels begin in the slices of its scan, (y, x)."""

    def to(self, device: torch.device) -> Scene:
        """The same with its voxels on a device."""
        return replace(self, voxels=self.voxels.to(device))

    def params(self, rng: np.random.Generator, miss: float) -> dict[str, Any]:
        """Of an attack there, up to `miss` mm off along each axis; JSON values as `ct_gan.CtGan.draw` makes them."""
        centre = [float(middle + off / step) for middle, off, step in
                  zip(self.cuboid.centre, rng.uniform(-miss, miss, 3), self.cuboid.spacing, strict=True)]
        return {"centre": centre, "spacing": list(self.cuboid.spacing), "diameter_mm": self.diameter_mm,
                "voxel": self.cuboid.voxel, "density": float(rng.uniform(0, 0.7)), "noise": "none", "strength": 1.0,
                "seed": int(rng.integers(2**31))}


class Scenes:
    """Draws scenes from scans and nodules."""

    def __init__(self, images: Sequence[Image], nodules: Sequence[Nodule], count: int, seed: int,
                 least: int = 0) -> None:
        """About `count` healthy places, by the scans' heights; scenes reach over at least `least` pixels, where the
        slices do."""
        self.images, self.nodules, self._least = list(images), list(nodules), least
        self.places = taken(images, count, np.random.default_rng(seed),
                            lambda number, centre: (number, centre) if healthy_at(images[number], centre) else None)

    def draw(self, rng: np.random.Generator, count: int) -> list[Scene]:
        """Random places, half of them with a nodule."""
        return [self._one(rng, bool(number % 2)) for number in range(count)]

    def _one(self, rng: np.random.Generator, ill: bool) -> Scene:
        number, centre = self.places[int(rng.integers(len(self.places)))]
        image, nodule = self.images[number], self.nodules[int(rng.integers(len(self.nodules)))]
        spacing, diameter = image.spacing or (1.0, 1.0, 1.0), max(4.0, nodule.diameter * nodule.voxel)
        voxel = cuboid_of(centre, spacing, diameter).voxel
        box = tuple(_span(m, AROUND * SIDE / 2 * voxel / s, n, least) for m, s, n, least in
                    zip(centre, spacing, image.shape, (0, self._least, self._least), strict=True))
        voxels = torch.from_numpy(image.pixels[box].copy())
        if ill:
            part, values = planted(image, centre, nodule, int(rng.integers(2**31)))
            inside = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
            voxels[inside] = torch.from_numpy(values)
        middle = [m - b.start for m, b in zip(centre, box, strict=True)]
        return Scene(voxels, Cuboid((middle[0], middle[1], middle[2]), spacing, voxel), diameter, ill,
                     (box[1].start, box[2].start))


def _span(middle: float, half: float, length: int, least: int) -> slice:
    """Voxels within `half` of the middle, or `least` of them beside the edge, as far as there are any."""
    half = max(half, least / 2)
    start, stop = max(0, math.floor(middle - half)), min(length, math.ceil(middle + half) + 1)
    return slice(max(0, min(start, length - least)), min(length, max(stop, least)))


def mirrored(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene mirrored at random along each axis."""
    voxels, middle = scene.voxels, list(scene.cuboid.centre)
    for axis in range(3):
        if rng.random() < 0.5:
            voxels, middle[axis] = voxels.flip(axis), voxels.shape[axis] - 1 - middle[axis]
    return replace(scene, voxels=voxels, cuboid=replace(scene.cuboid, centre=(middle[0], middle[1], middle[2])))
