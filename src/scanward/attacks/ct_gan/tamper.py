"""The whole attack as one function of the scan, in torch: what users run, and what a protection trains against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scanward.attacks.ct_gan.cube import AIR, METAL, REACH, Equaliser, injected, removed, repaired, window
from scanward.attacks.ct_gan.density import HALF, MIDDLE
from scanward.attacks.ct_gan.network import PRESETS, Generator, hole, wanted
from scanward.attacks.ct_gan.rim import bounded, rim, uncalcified, whole
from scanward.attacks.ct_gan.shape import shape_of
from scanward.nets.blocks import filled
from scanward.nets.cube import Cuboid, cut, spread

Box = tuple[slice, slice, slice]
LUNG, TISSUE = -600.0, -800.0
"""HU below which the lung's noise is measured, and above which copied noise is flattened."""


@dataclass(frozen=True)
class Forger:
    """A trained generator with the intensities it was trained on."""

    complete: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Cubes with a zeroed centre, condition and noise, to completed cubes; see `Generator.forward`."""
    equaliser: Equaliser
    inject: bool
    """Otherwise it paints healthy lung."""
    noise: float = 1.0
    """Of the noise that it is given. A remover works without: what noise makes it dream up looks like small nodules."""
    told: bool = True
    """Whether it paints what it is told, by the condition; the published kind reads it out of the surroundings."""

    def to(self, device: torch.device) -> Forger:
        """The same on a device; a generator that is a module is itself moved there."""
        complete = self.complete.to(device) if isinstance(self.complete, nn.Module) else self.complete
        return replace(self, complete=complete, equaliser=Equaliser(self.equaliser.hu.to(device),
                                                                    self.equaliser.level.to(device)))


def forger_of(arrays: dict[str, Any], settings: dict[str, Any], *, inject: bool) -> Forger:
    """From weights and their settings; the generator in evaluation mode, f32, its parameters without gradient."""
    widths = PRESETS[settings["preset"]]
    net = filled(Generator(widths), arrays).requires_grad_(False)
    return Forger(net, equaliser_of(settings), inject, 1.0 if inject else 0.0, told=not widths.published)


def equaliser_of(settings: dict[str, Any]) -> Equaliser:
    """The curve that an attacker was trained with."""
    return Equaliser(torch.tensor(settings["hu"]), torch.tensor(settings["level"]))


def tampered(scan: Tensor, params: dict[str, Any], forger: Forger) -> tuple[Box, Tensor]:
    """The voxels of a scan (z, y, x) in HU that the attack of these parameters changes, and what they become.

    Differentiable in the scan; the rest of it is never read but for copied noise.
    """
    return tampered_together([scan], [params], forger)[0]


def tampered_together(scans: Sequence[Tensor], params: Sequence[dict[str, Any]],
                      forger: Forger) -> list[tuple[Box, Tensor]]:
    """The same of several scans, each by the parameters of its own, in one pass of the generator."""
    cuboids = [cuboid_from(one) for one in params]
    cubes = torch.cat([cut(scan, cuboid) for scan, cuboid in zip(scans, cuboids, strict=True)]).clamp(AIR, METAL)
    painted = _completed(cubes, params, forger)
    return [_merged(scan, one, cuboid, cubes[n:n + 1], painted[n:n + 1], forger)
            for n, (scan, one, cuboid) in enumerate(zip(scans, params, cuboids, strict=True))]


def _merged(scan: Tensor, params: dict[str, Any], cuboid: Cuboid, cube: Tensor, painted: Tensor,
            forger: Forger) -> tuple[Box, Tensor]:
    box = cuboid.box(tuple(scan.shape), REACH)
    original, weight = scan[box], weight_of(params, box, forger).to(scan.device)
    noise = _noise(scan, original, cube, cuboid, box, params)
    made = (injected if forger.inject else removed)(original, spread(painted, cuboid, box) + noise, weight)
    change = made - original
    if forger.inject and bounded(params):
        change = whole(change, params, box)
    return box, original + float(params["strength"]) * change


def weight_of(params: dict[str, Any], box: Box, forger: Forger) -> Tensor:
    """The weight of the forgery at the scan's voxels in `box`, (z, y, x)."""
    cuboid = cuboid_from(params)
    weight = window(cuboid, box)
    return weight * rim(params, cuboid, box, inject=forger.inject, told=forger.told) if bounded(params) else weight


def cuboid_from(params: dict[str, Any]) -> Cuboid:
    """The cuboid that an attack was drawn for."""
    z, y, x = params["centre"]
    sz, sy, sx = params["spacing"]
    return Cuboid((z, y, x), (sz, sy, sx), params["voxel"])


def _completed(cubes: Tensor, params: Sequence[dict[str, Any]], forger: Forger) -> Tensor:
    """The cubes (n, 1, 32, 32, 32) in HU as the generator completes them."""
    level = forger.equaliser.forward(cubes)
    drawn = [np.random.default_rng(one["seed"]).standard_normal(tuple(cubes.shape[1:]), np.float32) for one in params]
    shape = torch.zeros_like(cubes)
    if forger.inject:
        shape = torch.from_numpy(np.stack([shape_of(one["diameter_mm"] / one["voxel"], one["seed"])[None]
                                           for one in params])).to(cubes.device)
    density = torch.tensor([one["density"] for one in params], dtype=torch.float32, device=cubes.device)
    made = forger.complete(level * (1 - hole(level)), wanted(shape, density),
                           forger.noise * torch.from_numpy(np.stack(drawn)).to(cubes.device))
    hu = repaired(forger.equaliser.inverse(made))
    if not forger.inject:
        return hu
    hu = _as_dense_as_asked(hu, cubes, shape, density) if forger.told else hu
    return torch.cat([uncalcified(hu[n:n + 1], one, told=forger.told) if bounded(one) else hu[n:n + 1]
                      for n, one in enumerate(params)])


def _as_dense_as_asked(made: Tensor, cube: Tensor, shape: Tensor, density: Tensor) -> Tensor:
    """The nodules raised, most in their middle, to the mean HU that a real one of this density has within its outline:
    small ones are painted too faint."""
    asked = (MIDDLE + HALF * density)[:, None, None, None, None]
    composed, middle = shape * asked + (1 - shape) * cube, shape * shape
    axes = (1, 2, 3, 4)
    lacks = ((torch.maximum(composed, cube) - made) * shape).sum(axes) / (middle * shape).sum(axes)
    return made + lacks.clamp_min(0)[:, None, None, None, None] * middle


def _noise(scan: Tensor, original: Tensor, cube: Tensor, cuboid: Cuboid, box: Box, params: dict[str, Any]) -> Tensor:
    """What the touch-up adds in the box (z, y, x)."""
    if params["noise"] == "copied":
        shifts = [round(there - here) for there, here in zip(params["noise_from"], params["centre"], strict=True)]
        shifts = [min(max(shift, -part.start), length - part.stop)
                  for shift, part, length in zip(shifts, box, scan.shape, strict=True)]
        part = tuple(slice(b.start + s, b.stop + s) for b, s in zip(box, shifts, strict=True))
        source = scan[part]
        return torch.where(source > TISSUE, 0.0, source - _smooth(source))
    if params["noise"] == "gaussian":
        grain = original - spread(cube, cuboid, box)
        lung = original < LUNG
        spread_of = grain[lung].std() if int(lung.sum()) > 8 else grain.std()
        drawn = np.random.default_rng((params["seed"], 1)).standard_normal(tuple(original.shape), np.float32)
        return spread_of * torch.from_numpy(drawn).to(original.device)
    return torch.zeros_like(original)


def _smooth(part: Tensor) -> Tensor:
    """The mean over 3×3 of each slice (z, y, x): what is left when it is taken off is mostly noise."""
    return functional.avg_pool2d(functional.pad(part[:, None], (1,) * 4, mode="replicate"), 3, 1)[:, 0]
