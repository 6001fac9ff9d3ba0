"""A mass in three dimensions, and the two ways in which a CC and an MLO view look through it.

The solid is the level set, of a ball's volume, in the field

    f = 1 − |A r| + ρ · n,   r in radii, A a turned ellipsoid of the ball's volume, n noise of tissue's spectrum,

along the axes nipple to chest wall, medial to lateral, and towards the head. Both views share the first. A CC view
looks along the third; an MLO view is turned by `OBLIQUE` about the first, as the tube is. In each the solid is
flattened along the way of the rays, as compression flattens what lies in a breast. No breast is deformed around it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.attacks.base import View
from scanward.attacks.blend import Plane
from scanward.attacks.mammo_cgan.merge import LESION, SIDE
from scanward.attacks.mammo_digital.form import MARGINS

OBLIQUE = math.radians(45)
"""Of an MLO view; the tube is turned by 30 to 60 degrees."""
LONG = (0.75, 1.3)
"""The ellipsoid's axes, in radii, before they are scaled to a ball's volume."""
FLAT = (0.75, 0.95)
"""How flat compression leaves the solid."""
REACH = SIDE / LESION
"""Half of the square's width in diameters of the lesion, in radii."""
EACH = 2 * REACH / SIDE
"""Radii a voxel."""
STEPS = (np.arange(SIDE) - (SIDE - 1) / 2) * EACH
"""Of the voxels along an axis, in radii from the middle."""


class Solid(NamedTuple):
    """The form of a mass before a view looks at it."""

    inside: npt.NDArray[np.float32]
    """(SIDE, SIDE, SIDE) over `REACH` radii to each side: towards the chest wall, lateral, and towards the head."""
    flat: float
    spicules: int
    """How many leave it, in both views."""


@lru_cache(maxsize=2)
def solid_of(seed: int, margin: str) -> Solid:
    """The solid of a seed with one of `MARGINS`."""
    rng, how = np.random.default_rng((seed, 7)), MARGINS[margin]
    axes = np.exp(rng.uniform(math.log(LONG[0]), math.log(LONG[1]), 3))
    axes /= np.prod(axes) ** (1 / 3)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    flat, spicules = float(rng.uniform(*FLAT)), int(rng.integers(how.spicules[0], how.spicules[1] + 1))
    places = np.stack(np.meshgrid(STEPS, STEPS, STEPS, indexing="ij"), -1)
    away = np.linalg.norm(places @ turn / axes, axis=-1)
    field = (1 - away + how.rough * _noise(rng)).astype(np.float32)
    field[np.linalg.norm(places, axis=-1) > 1.5] = -9
    level = np.sort(field.ravel())[-round(4 / 3 * math.pi / EACH**3)]
    return Solid(np.clip(0.5 + (field - level) / EACH, 0, 1).astype(np.float32), flat, spicules)


def chords(view: View, margin: str) -> Plane:
    """How much of the solid each ray of a view passes, in diameters: (SIDE, SIDE) of the square about the lesion."""
    solid = solid_of(view.solid, margin)
    angle = OBLIQUE if view.name == "MLO" else 0.0
    y, x, ray = np.meshgrid(STEPS, STEPS, STEPS, indexing="ij")
    (iy, ix), (uy, ux) = view.inward, above_of(view)
    deep, above = y * iy + x * ix, y * uy + x * ux
    wide = math.sqrt(solid.flat)
    deep, above, ray = deep * wide, above * wide, ray / solid.flat
    lateral = above * math.cos(angle) + ray * math.sin(angle)
    head = above * math.sin(angle) - ray * math.cos(angle)
    where = [v / EACH + (SIDE - 1) / 2 for v in (deep, lateral, head)]
    passed = ndimage.map_coordinates(solid.inside, where, order=1, mode="constant")
    return np.asarray(passed.sum(2) * (EACH / 2), np.float32)


def above_of(view: View) -> tuple[float, float]:
    """Unit vector (y, x) across a view: films are hung with what is lateral, or nearer to the head, above."""
    iy, ix = view.inward
    return -abs(ix), math.copysign(1, ix) * iy


def inner_of(chord: Plane, radius: float) -> Plane:
    """How far inside the silhouette of `chord` (a, a) each pixel is, in radii of so many pixels; below 0 outside."""
    inside = (chord > 0.5 / SIDE).astype(np.uint8)
    if not inside.any():
        return np.zeros(chord.shape, np.float32)
    to_edge, from_edge = (cv2.distanceTransform(np.pad(part, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
                          for part in (inside, 1 - inside))
    return np.asarray((to_edge - from_edge) / np.float32(radius), np.float32)


def _noise(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(SIDE, SIDE, SIDE) of deviation 1 whose power falls as f^-3.6, as that of a plane does as f^-2.6, with periods
    below 1.4 radii."""
    bins = np.fft.fftfreq(SIDE)[:, None, None], np.fft.fftfreq(SIDE)[None, :, None], np.fft.rfftfreq(SIDE)[None, None]
    frequency = np.sqrt(sum(part**2 for part in bins))
    band = frequency >= EACH / 1.4
    amplitude = np.where(band, np.maximum(frequency, 1e-9) ** -1.8, 0)
    drawn = np.fft.irfftn(np.fft.rfftn(rng.standard_normal((SIDE,) * 3)) * amplitude, (SIDE,) * 3, axes=(0, 1, 2))
    return np.asarray(drawn / max(float(drawn.std()), 1e-9))
