"""The whole attack as one function of the scan, in torch: what users run, and what a protection trains against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scanward.attacks.ct_gan.cube import (
    AIR,
    METAL,
    Cuboid,
    Equaliser,
    cut,
    injected,
    removed,
    repaired,
    spread,
    window,
)
from scanward.attacks.ct_gan.density import hu_of
from scanward.attacks.ct_gan.network import PRESETS, Generator, hole, wanted
from scanward.attacks.ct_gan.shape import shape_of
from scanward.nets.blocks import filled

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


def forger_of(arrays: dict[str, Any], settings: dict[str, Any], *, inject: bool) -> Forger:
    """From weights and their settings; the generator in evaluation mode, f32, its parameters without gradient."""
    net = filled(Generator(PRESETS[settings["preset"]]), arrays).requires_grad_(False)
    return Forger(net, equaliser_of(settings), inject, 1.0 if inject else 0.0)


def equaliser_of(settings: dict[str, Any]) -> Equaliser:
    """The curve that an attacker was trained with."""
    return Equaliser(torch.tensor(settings["hu"]), torch.tensor(settings["level"]))


def tampered(scan: Tensor, params: dict[str, Any], forger: Forger) -> tuple[Box, Tensor]:
    """The voxels of a scan (z, y, x) in HU that the attack of these parameters changes, and what they become.

    Differentiable in the scan; the rest of it is never read but for copied noise.
    """
    cuboid = cuboid_from(params)
    box = cuboid.box(tuple(scan.shape))
    original = scan[box]
    cube = cut(scan, cuboid).clamp(AIR, METAL)
    painted = spread(_completed(cube, params, forger), cuboid, box)
    weight = window(cuboid, box)
    noise = _noise(scan, original, cube, cuboid, box, params)
    merge = injected if forger.inject else removed
    made = merge(original, painted + noise, weight)
    return box, original + float(params["strength"]) * (made - original)


def cuboid_from(params: dict[str, Any]) -> Cuboid:
    """The cuboid that an attack was drawn for."""
    z, y, x = params["centre"]
    sz, sy, sx = params["spacing"]
    return Cuboid((z, y, x), (sz, sy, sx), params["voxel"])


def _completed(cube: Tensor, params: dict[str, Any], forger: Forger) -> Tensor:
    """The cube in HU as the generator completes it."""
    level = forger.equaliser.forward(cube)
    noise = forger.noise * np.random.default_rng(params["seed"]).standard_normal(tuple(cube.shape), np.float32)
    shape = torch.zeros_like(cube)
    if forger.inject:
        shape[0, 0] = torch.from_numpy(shape_of(params["diameter_mm"] / params["voxel"], params["seed"]))
    asked = wanted(shape, torch.tensor([params["density"]], dtype=torch.float32))
    made = forger.complete(level * (1 - hole(level)), asked, torch.from_numpy(noise))
    hu = repaired(forger.equaliser.inverse(made))
    return _as_dense_as_asked(hu, cube, shape, params["density"]) if forger.inject else hu


def _as_dense_as_asked(made: Tensor, cube: Tensor, shape: Tensor, density: float) -> Tensor:
    """The nodule raised, most in its middle, to the mean HU that a real one of this density has within its outline:
    small ones are painted too faint."""
    composed, middle = shape * hu_of(density) + (1 - shape) * cube, shape * shape
    lacks = ((torch.maximum(composed, cube) - made) * shape).sum() / (middle * shape).sum()
    return made + lacks.clamp_min(0) * middle


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
        return spread_of * torch.from_numpy(drawn)
    return torch.zeros_like(original)


def _smooth(part: Tensor) -> Tensor:
    """The mean over 3×3 of each slice (z, y, x): what is left when it is taken off is mostly noise."""
    return functional.avg_pool2d(functional.pad(part[:, None], (1,) * 4, mode="replicate"), 3, 1)[:, 0]
