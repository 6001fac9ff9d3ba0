"""Where a nodule's rim is, beyond which an attack of the extent `lesion` changes nothing; in torch, as the attack is.

Records made before there was an extent hold none: they changed the cuboid, and do so again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from scanward.attacks.ct_gan.density import CALCIFIED, HALF, MIDDLE, VISIBLE
from scanward.attacks.ct_gan.shape import shape_of
from scanward.attacks.pieces import piece_at
from scanward.nets.cube import SIDE, Cuboid, spread

WHOLE, GONE = 0.5, 2.5
"""Voxels of the cube beyond a shape's edge to which a forgery is whole, and from which it is gone."""
WIDER, MORE = 1.2, 1.0
"""A nodule that is there is seldom the ball that it is taken for: a removal takes so many times its radius, and so many
voxels more."""
EVEN, UNEVEN = 30.0, 50.0
"""HU over a nodule's density, or that of the densest without calcium, up to which what is painted stays as it is, and
those that more of it adds at most."""


def bounded(params: dict[str, Any]) -> bool:
    """Whether an attack of these parameters ends at the nodule's rim."""
    return params.get("extent") == "lesion"


def rim(params: dict[str, Any], cuboid: Cuboid, box: tuple[slice, slice, slice], *, inject: bool,
        told: bool) -> Tensor:
    """The weight of the forgery at the scan's voxels in `box`, (z, y, x): of an injection about the shape drawn, or
    about a ball of the diameter where the generator is not told it, of a removal about a larger ball."""
    diameter = params["diameter_mm"] / params["voxel"]
    if inject and told:
        shape = piece_at(shape_of(diameter, params["seed"]) >= 0.5, [(SIDE - 1) / 2] * 3, [1.0] * 3)
        beyond = ndimage.distance_transform_edt(~shape) - 0.5
    else:
        axis = np.arange(SIDE) - (SIDE - 1) / 2
        beyond = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) - diameter / 2
        if not inject:
            beyond = beyond - (WIDER - 1) * diameter / 2 - MORE
    weight = 0.5 + 0.5 * np.cos(math.pi * ((beyond - WHOLE) / (GONE - WHOLE)).clip(0, 1))
    return spread(torch.from_numpy(weight.astype(np.float32))[None, None], cuboid, box)


def uncalcified(painted: Tensor, params: dict[str, Any], *, told: bool) -> Tensor:
    """A cube of any shape in HU whose nodule shows no calcium, or hardly more than was asked for. The density asked for
    is the mean over a nodule with its rim, so its middle may well be denser."""
    level = max(CALCIFIED, MIDDLE + HALF * params["density"] if told else CALCIFIED) + EVEN
    return torch.where(painted > level, level + UNEVEN * torch.tanh((painted - level) / UNEVEN), painted)


def whole(change: Tensor, params: dict[str, Any], box: tuple[slice, slice, slice]) -> Tensor:
    """Of a change (z, y, x) in HU the largest piece that can be seen, and what cannot about it: specks are dropped."""
    seen = (change.detach().abs() >= VISIBLE).cpu().numpy()
    centre = [c - part.start for c, part in zip(params["centre"], box, strict=True)]
    piece = piece_at(seen, centre, params["spacing"])
    about = ndimage.binary_dilation(piece, ndimage.generate_binary_structure(3, 2))
    return change * torch.from_numpy(about & (piece | ~seen)).to(change)
