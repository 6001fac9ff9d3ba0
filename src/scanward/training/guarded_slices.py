"""What the published protections are trained on and followed by: crops of whole slices; slices and scenes of others.

The generator is convolutional and sees few pixels around each, so crops teach it what slices do. A crop's rim, where it
would see past the edge, feeds it only and is not judged; in use slices get such a rim (`network.rimmed`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scanward.attacks.ct_gan.tamper import Forger, tampered_together
from scanward.bench.likeness import closeness
from scanward.datasets.chests import SHARP, nodules
from scanward.datasets.scenes import Scene, Scenes
from scanward.datasets.thorax import BY4, SCANS, Thorax, images
from scanward.errors import UnreadableError
from scanward.image import Image
from scanward.protectors.mits_gan.network import RIM
from scanward.protectors.mits_gan.protect import Levels, levels_of

LEAST = 4
"""Slices of a scan; of what has fewer, one is repeated."""
SIDE = 96
"""Pixels of a crop."""
JUDGED = SIDE - 2 * RIM
"""Of them, those that are judged."""
REACH_MM = 16.0
"""Of an attacked cuboid about its place."""
KEPT_OUT = (SHARP, "tcga-slices")
"""Training scans that are not trained on here: the bench's, and what would outnumber all others."""
PHILIPS = Thorax("lungdx-a0001-b", "train", f"Lung-PET-CT-Dx: {BY4}", "Philips Brilliance16, 5 mm")
SCENES = 8
"""That follow a training, every second one with a nodule."""
FOLLOWED = ("osic-00423", "nsclc-lung1-001", "qin-lsc-0064", "ricord-neg-1")
"""Validation scans of which one slice each, the middle one, follows a training: Philips, Siemens twice, one unnamed."""


def slices(data: Path | None) -> dict[str, Image]:
    """The training scans that lie in the data folder; a single slice is repeated until an attack's cuboid is full.

    `UnreadableError` where none does.
    """
    rows = [row for row in SCANS if row.split == "train" and row.name not in KEPT_OUT]
    found = {name: image for row in (*rows, PHILIPS) for name, image in images(row, data) if image.spacing is not None}
    if not found:
        raise UnreadableError("No chest CT to train on was found; name the data folder with --data or SCANWARD_DATA.")
    return {name: _thick(image) if len(image.pixels) < LEAST else image for name, image in found.items()}


def told(names: Iterable[str]) -> str:
    """These scans for the manifest; of a folder of single slices how many."""
    folders = Counter(name.partition("/")[0] for name in names)
    return ", ".join(name if count == 1 else f"{name} ({count} slices)" for name, count in folders.items())


def licence_of(names: Iterable[str]) -> str:
    """The data sets of these scans with their licences, for the manifest."""
    wanted = {name.split("/")[0] for name in names}
    return "; ".join(sorted({row.source for row in (*SCANS, PHILIPS) if row.name in wanted}))


def _thick(image: Image) -> Image:
    spacing = (image.spacing or (1.0,))[0]
    return replace(image, pixels=np.repeat(image.pixels, max(LEAST, math.ceil(2 * REACH_MM / spacing)), 0))


@dataclass(frozen=True)
class Crop:
    """A part of one slice."""

    image: Image
    levels: Levels
    box: tuple[slice, slice, slice]

    @property
    def judged(self) -> tuple[slice, slice, slice]:
        """The box without its rim."""
        z, y, x = self.box
        return z, slice(y.start + RIM, y.stop - RIM), slice(x.start + RIM, x.stop - RIM)

    @property
    def share(self) -> float:
        """What is judged, as a part of the slice."""
        return JUDGED**2 / math.prod(self.image.shape[1:])

    def real(self) -> Tensor:
        """(1, 1, y, x) in [-1, 1]."""
        return self.levels.of(torch.from_numpy(self.image.pixels[self.box].copy()))[:, None]


class Crops:
    """Draws crops of `SIDE` × `SIDE` from images, each slice as often as any other."""

    def __init__(self, found: Sequence[Image]) -> None:
        self.images = [(image, levels_of(image)) for image in found]
        heights = np.array([image.shape[0] for image in found], float)
        self._share = heights / heights.sum()

    def draw(self, rng: np.random.Generator) -> Crop:
        """One, anywhere."""
        image, levels = self.images[int(rng.choice(len(self.images), p=self._share))]
        z, y, x = (slice(start, start + side) for n, side in zip(image.shape, (1, SIDE, SIDE), strict=True)
                   for start in (int(rng.integers(n - side + 1)),))
        return Crop(image, levels, (z, y, x))


def inner(crops: Tensor) -> Tensor:
    """Crops (n, 1, y, x) without their rims."""
    return crops[..., RIM:-RIM, RIM:-RIM]


Protect = Callable[[nn.Module, Tensor, Levels], Tensor]
"""How a network protects slices (n, 1, y, x) in [-1, 1] of a scan of these levels."""


def followed(data: Path | None) -> list[Image]:
    """The scans of `FOLLOWED` that lie in the data folder."""
    return [image for row in SCANS if row.name in FOLLOWED for _, image in images(row, data)]


class Followed:
    """Slices of patients that nothing is trained on, and how near to them a protection leaves them."""

    def __init__(self, data: Path | None, protect: Protect) -> None:
        self._slices = [(image.pixels[len(image.pixels) // 2][None].copy(), levels_of(image))
                        for image in followed(data)]
        self._protect = protect

    def __call__(self, net: nn.Module) -> dict[str, float]:
        """Mean RMSE in HU, PSNR in dB, SSIM and change of level in HU over whole slices, as it is used; and, `batch_`,
        with batch norms that take each slice's own mean and variance, as in training."""
        if not self._slices:
            return {}
        made = self._figures(net.eval(), "")
        if any(isinstance(part, nn.BatchNorm2d) for part in net.modules()):
            made |= self._figures(net.train(), "batch_")
        return made

    def _figures(self, net: nn.Module, prefix: str) -> dict[str, float]:
        rows = []
        for pixels, levels in self._slices:
            real = levels.of(torch.from_numpy(pixels))[:, None].to(next(net.parameters()).device)
            torch.manual_seed(0)
            made = levels.back(self._protect(net, real, levels).float().cpu())[:, 0].numpy()
            rows.append((*closeness(pixels, made, [0]), float((made - pixels).mean())))
        return {f"{prefix}{name}": float(np.mean(column))
                for name, column in zip(("rmse", "psnr", "ssim", "shift"), zip(*rows, strict=True), strict=True)}


Guard = Callable[[nn.Module, Scene], Tensor]
"""How a network protects a scene: its voxels (z, y, x) in HU."""


class Attacked:
    """Scenes of patients that nothing is trained on, and what attacks still do there under a protection."""

    def __init__(self, data: Path | None, guard: Guard, forgers: Sequence[Forger]) -> None:
        rng, found = np.random.default_rng(9), followed(data)
        scenes = Scenes(found, nodules("val", data), 4 * SCENES, 9).draw(rng, SCENES) if found else []
        self._cases = [(scene, scene.params(rng, 0.0)) for scene in scenes]
        self._guard, self._forgers = guard, forgers

    def __call__(self, net: nn.Module) -> dict[str, float]:
        """Mean logarithm of `potency`, to base 2, of injections and of removals."""
        made: dict[str, list[float]] = {}
        for scene, params in self._cases:
            torch.manual_seed(0)
            after = self._guard(net, scene.to(next(net.parameters()).device)).cpu()
            for forger in self._forgers:
                if forger.inject != scene.ill:
                    more = potency(scene, after, params, forger).log2()
                    made.setdefault(f"potency_{'inject' if forger.inject else 'remove'}", []).append(float(more))
        return {name: float(np.mean(values)) for name, values in made.items()}


def potency(scene: Scene, after: Tensor, params: dict[str, Any], forger: Forger) -> Tensor:
    """How many times as much an attack changes in the protected scene, `after`, as in the plain one, by the mean square
    of HU; shape (1,). Differentiable in `after`."""
    with torch.no_grad():
        (box, bare), = tampered_together([scene.voxels], [params], forger)
    (_, made), = tampered_together([after], [params], forger)
    return ((((made - after[box]) ** 2).mean() + 1) / (((bare - scene.voxels[box]) ** 2).mean() + 1))[None]
