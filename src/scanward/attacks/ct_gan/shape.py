"""Shapes of nodules: what an injector is asked to paint. It is trained on the outlines of real ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from scanward.nets.cube import SIDE

Cube = npt.NDArray[np.float32]
SOFT = 0.8
"""Voxels over which a shape's edge falls."""


def shape_of(diameter: float, seed: int) -> Cube:
    """(32, 32, 32) in [0, 1]: a random shape of the volume of a ball of `diameter` voxels.

    An ellipsoid, dented by smooth noise, every third with spicules.
    """
    rng = np.random.default_rng((seed, 2))
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    axes = np.exp(rng.normal(0, 0.16, 3))
    axes /= np.prod(axes) ** (1 / 3)
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    distance = np.linalg.norm((points @ turn) / axes, axis=-1)
    lumps = ndimage.gaussian_filter(rng.standard_normal((SIDE,) * 3), max(1.0, diameter / 5))
    edge = 1 + rng.uniform(0.03, 0.22) * lumps / lumps.std()
    if rng.random() < 1 / 3:
        away = points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-6)
        for _ in range(int(rng.integers(3, 9))):
            ray = rng.standard_normal(3)
            edge += rng.uniform(0.1, 0.5) * np.exp(rng.uniform(15, 40) * (away @ (ray / np.linalg.norm(ray)) - 1))
    relative = distance / np.maximum(edge, 0.4)
    # the level that holds the ball's volume
    count = max(1, round(np.pi / 6 * diameter**3))
    radius = float(np.partition(relative.ravel(), count - 1)[count - 1])
    return np.asarray(special.expit((radius - relative) / SOFT), np.float32)
