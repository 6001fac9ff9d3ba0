"""Copy-move: a region of the host pasted elsewhere in the same host."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import Breast
from scanward.attacks.base import Anatomy, Donor, Lesion, Patch
from scanward.attacks.blend import Plane, Region, compose, region_of, start
from scanward.attacks.grain import moments, ring
from scanward.attacks.places import draw_places
from scanward.image import Image


def far_place(host: Image, lesion: Lesion, rng: np.random.Generator, anatomy: Anatomy | None = None) -> Lesion:
    """Another place in the same breast, about as bright, apart from `lesion` where the breast has room for both."""
    candidates = draw_places(host, rng, 24, lesion.diameter, anatomy if isinstance(anatomy, Breast) else None)
    distance = [math.hypot(c.y - lesion.y, c.x - lesion.x) for c in candidates]
    apart = [c for c, d in zip(candidates, distance, strict=True) if d >= 1.3 * lesion.diameter]
    if not apart:
        return candidates[int(np.argmax(distance))]
    mean, spread = _look(host.plane, lesion)
    likeness = [abs(m - mean) + abs(s - spread) for m, s in (_look(host.plane, c) for c in apart)]
    apart = [apart[i] for i in np.argsort(likeness, kind="stable")]
    return apart[int(rng.integers(min(3, len(apart))))]


def _look(plane: Plane, lesion: Lesion) -> tuple[float, float]:
    """Mean and standard deviation of the square around a place, on a grid of about 16 x 16 pixels."""
    radius = lesion.diameter / 2
    step = max(1, int(lesion.diameter // 16))
    rows = slice(max(0, round(lesion.y - radius)), round(lesion.y + radius) + 1, step)
    columns = slice(max(0, round(lesion.x - radius)), round(lesion.x + radius) + 1, step)
    return float(plane[rows, columns].mean()), float(plane[rows, columns].std())


def fetch(plane: Plane, region: Region, centre: tuple[float, float], source: tuple[float, float],
          turn: float = 0.0, scale: float = 1.0, mirror: bool = False) -> Plane:
    """The pixels around `source` (y, x), turned, scaled and mirrored, as a crop of the region's shape.

    `centre` (y, x) is where the source's centre comes to lie. A copy without resampling (whole-pixel offset,
    turns by 90 degrees, scale 1) takes the pixels as they are. Beyond the image's border they are reflected.
    """
    y0, x0 = region.origin
    height, width = region.weight.shape
    angle = math.radians(turn)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    if turn % 90 == 0 and scale == 1:
        cos, sin = round(cos), round(sin)
        centre = (round(centre[0]), round(centre[1]))
        source = (round(source[0]), round(source[1]))
    flip = -1.0 if mirror else 1.0
    # (x, y) of the crop -> (x, y) of the plane: p = source + flip * R(-turn) / scale * (crop + origin - centre)
    linear = np.array([[flip * cos, flip * sin], [-sin, cos]], np.float64)
    offset = np.array([x0 - centre[1], y0 - centre[0]], np.float64)
    shift = linear @ offset + np.array([source[1], source[0]], np.float64)
    matrix = np.hstack([linear, shift[:, None]])
    exact = turn % 90 == 0 and scale == 1
    return _warp_local(plane, matrix, (width, height), cv2.INTER_NEAREST if exact else cv2.INTER_CUBIC)


def _warp_local(plane: Plane, matrix: npt.NDArray[np.float64], size: tuple[int, int], flags: int) -> Plane:
    """cv2.warpAffine (inverse map) that only touches the part of `plane` it needs."""
    width, height = size
    corners = matrix @ np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    x0, y0 = (int(v) - 4 for v in np.floor(corners.min(1)))
    x1, y1 = (int(v) + 5 for v in np.ceil(corners.max(1)))
    x0, y0 = min(max(x0, 0), plane.shape[1] - 1), min(max(y0, 0), plane.shape[0] - 1)
    part = np.ascontiguousarray(plane[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])
    moved = matrix.copy()
    moved[:, 2] -= (x0, y0)
    flags |= cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(part, moved, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101), np.float32)


class CopyMove:
    """A copy of another place of the same breast, plain or mirrored, turned, scaled and matched in brightness."""

    name = "copy-move"
    family = "copy-move"
    needs_donor = False

    def draw(self, host: Image, lesion: Lesion, rng: np.random.Generator, *, strength: float = 1.0,
             donor: Donor | None = None, anatomy: Anatomy | None = None) -> dict[str, Any]:
        """Every second copy is plain; the others draw each transform on its own. `ArgumentError` as `start`."""
        params = start(host, lesion, rng, strength)
        source = far_place(host, lesion, rng, anatomy)
        params |= {"source": [round(source.y), round(source.x)], "plain": True, "mirror": False, "turn": 0.0,
                   "scale": 1.0, "gain": 1.0, "offset": 0.0}
        if rng.random() < 0.5:
            return params
        params["plain"] = False
        params["mirror"] = bool(rng.random() < 0.4)
        if rng.random() < 0.5:
            quarter = float(90 * rng.integers(1, 4))
            params["turn"] = quarter if rng.random() < 0.5 else float(rng.uniform(-180, 180))
        if rng.random() < 0.3:
            params["scale"] = float(rng.uniform(0.8, 1.25))
        if rng.random() < 0.7:
            region = region_of(params["shape"], host.plane.shape)
            params["gain"], params["offset"] = self._match(host.plane, region, params, rng)
        return params

    def _match(self, plane: Plane, region: Region, params: dict[str, Any],
               rng: np.random.Generator) -> tuple[float, float]:
        copied = self._fetch(plane, region, params)
        around = ring(region.weight)
        gain = float(rng.uniform(0.85, 1.15))
        return gain, moments(plane[region.box], around)[0] - gain * moments(copied, around)[0]

    @staticmethod
    def _fetch(plane: Plane, region: Region, params: dict[str, Any]) -> Plane:
        shape = params["shape"]
        y, x = params["source"]
        return fetch(plane, region, (round(shape["y"]), round(shape["x"])), (y, x), params["turn"],
                     params["scale"], params["mirror"])

    def apply(self, host: Image, params: dict[str, Any], *, donor: Image | None = None) -> Patch:
        """The forged region and its truth: the target, not the source."""
        plane = host.plane
        region = region_of(params["shape"], plane.shape)
        altered = self._fetch(plane, region, params) * np.float32(params["gain"]) + np.float32(params["offset"])
        return compose(plane, region, altered, params["strength"])
