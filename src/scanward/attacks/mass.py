"""The shape and texture model of a composed mass."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from scanward.attacks.blend import Plane, Region, depth
from scanward.attacks.grain import smooth, white


def density(region: Region, params: dict[str, Any]) -> Plane:
    """Added density (y, x) of the region's crop, [0, 1]: a textured body with a soft edge, and spicules.

    `params` as drawn by `ComposedMass`. The body is (1 - t^2)^steep with t the share of the way to the edge.
    """
    shape = params["shape"]
    diameter = float(shape["diameter"])
    t = 1 - depth(shape, region)
    body = np.clip(1 - t * t, 0, 1) ** np.float32(params["steep"])
    size = region.weight.shape
    fine = white(size, params["seed"], max(0.8, diameter / 18))
    coarse = white(size, params["seed"] + 1, max(1.5, diameter / 7))
    body = body * (1 + np.float32(params["texture"]) * (0.5 * fine + 0.5 * coarse))
    if params["spicules"]:
        body = np.maximum(body, 0.6 * _spicules(region, params))
    return np.clip(body, 0, 1.5) * (region.weight > 0)


def _spicules(region: Region, params: dict[str, Any]) -> Plane:
    """Thin lines from the body outwards, (y, x), [0, 1]; they end inside the region."""
    rng = np.random.default_rng(params["seed"] + 2)
    shape, (y0, x0) = params["shape"], region.origin
    radius, centre = shape["diameter"] / 2, np.array([shape["x"] - x0, shape["y"] - y0])
    canvas = np.zeros(region.weight.shape, np.uint8)
    for _ in range(int(params["spicules"])):
        angle, bend = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.25)
        points = []
        for step in np.linspace(0.35, rng.uniform(0.8, 1.2), 5):
            way = angle + bend * step
            points.append(centre + radius * step * np.array([math.cos(way), math.sin(way)]))
        line = np.rint(np.array(points) * 16).astype(np.int32)
        thick = max(1, round(shape["diameter"] / 40))
        cv2.polylines(canvas, [line], False, int(rng.integers(120, 256)), thick, cv2.LINE_AA, 4)
    lines = smooth(np.asarray(canvas / 255, np.float32), max(0.6, shape["diameter"] / 60))
    return lines * np.sqrt(region.weight)
