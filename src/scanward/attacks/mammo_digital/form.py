"""The form of a mass at the host's own pixel: its outline from a coarse square, its margin, its spicules.

The coarse square says where a mass lies thick, at 1/36 of its diameter. The outline is the level set of the wanted area of
a field that adds to it a cone, tissue-like noise, and the host's own strands, so that the margin gives way where they run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.attacks.blend import Plane
from scanward.attacks.grain import smooth
from scanward.attacks.mammo_digital.texture import fractal
from scanward.attacks.pieces import piece_at

REACH = 64 / 36
"""The square's side in diameters: everything ends within the disc in it."""


@dataclass(frozen=True)
class Margin:
    """How a kind of margin is made; lengths in radii of the mass where no unit is named."""

    rough: float
    """Of the noise in the field."""
    follow: float
    """Of the host's strands in the field."""
    rise: float
    """From the edge to full thickness."""
    soft: float
    """Standard deviation of the edge's blur."""
    sharp_mm: float
    """The same where the edge is at its sharpest, in mm."""
    spicules: tuple[int, int]
    """Fewest and most."""


MARGINS = {
    "circumscribed": Margin(0.05, 0.02, 0.55, 0.05, 0.12, (0, 0)),
    "ill-defined": Margin(0.17, 0.10, 0.95, 0.16, 0.4, (0, 5)),
    "spiculated": Margin(0.15, 0.12, 0.8, 0.07, 0.15, (16, 34)),
}


def body_of(coarse: Plane, ridge: Plane, params: dict[str, Any]) -> Plane:
    """Thickness [0, 1.5], (a, a), of a mass without its spicules; 0 beyond its edge."""
    margin, mm, side, diameter = MARGINS[params["margin"]], params["mm"], coarse.shape[0], params["diameter"]
    radius, seed = diameter / 2, params["seed"] + 11
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2).astype(np.float32) / np.float32(radius)
    angle, aspect = params["angle"], params["aspect"]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    away = np.hypot(along * np.sqrt(aspect), across / np.sqrt(aspect)).astype(np.float32)
    field = 0.65 * (1 - away) + 0.35 * coarse
    field += np.float32(margin.rough) * fractal(side, seed, 2.6, 1.4 * radius)
    field += np.float32(margin.follow) * (smooth(ridge, max(1.0, 0.5 / mm)) - float(ridge.mean()))
    field = np.where(np.hypot(x, y) < 1.45, field, -9)
    level = np.sort(field.ravel())[-max(9, round(math.pi * radius * radius))]
    inside = ndimage.binary_fill_holes(piece_at((field >= level)[None], (0, side / 2, side / 2), (1, 1, 1))[0])
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) / np.float32(margin.rise * radius)
    thick = np.sqrt(1 - (1 - np.clip(depth, 0, 1)) ** 2).astype(np.float32)
    sharp, soft = smooth(thick, max(0.6, margin.sharp_mm / mm)), smooth(thick, max(0.8, margin.soft * radius))
    obscured = np.clip(0.5 + 0.6 * fractal(side, seed + 1, 3, 2 * diameter, diameter / 3), 0, 1)
    body = sharp + obscured * (soft - sharp)
    lumps = 1 + 0.10 * fractal(side, seed + 2, 3, 0.9 * radius, max(2.0, 0.3 / mm))
    return np.asarray(body * np.clip(lumps, 0.5, 1.5), np.float32)


def spicules_of(body: Plane, ridge: Plane, params: dict[str, Any]) -> Plane:
    """Thickness [0, 1], (a, a), of thin strands that leave the body and run along the host's own where there are any.

    Paths are found by dynamic programming on (angle, radius): each step outwards may turn by one angle.
    """
    rng, mm = np.random.default_rng(params["seed"] + 12), params["mm"]
    low, high = MARGINS[params["margin"]].spicules
    count = int(rng.integers(low, high + 1))
    canvas = np.zeros(body.shape, np.float32)
    if not count:
        return canvas
    side, radius = body.shape[0], params["diameter"] / 2
    middle, angles = (side - 1) / 2, 360
    radii = np.arange(0.35 * radius, REACH * radius * 0.97, max(1.0, 0.3 / mm))
    turn = np.linspace(0, 2 * math.pi, angles, endpoint=False)
    map_x = (middle + radii[None] * np.cos(turn)[:, None]).astype(np.float32)
    map_y = (middle + radii[None] * np.sin(turn)[:, None]).astype(np.float32)
    polar = cv2.remap(ridge, map_x, map_y, cv2.INTER_LINEAR)
    polar += 0.35 * rng.random(polar.shape).astype(np.float32)
    best, back = _best_paths(polar)
    order = np.argsort(-(best + 0.02 * len(radii) * rng.random(angles)))
    taken: list[int] = []
    for start in order:
        gap = min((min(abs(start - t), angles - abs(start - t)) for t in taken), default=angles)
        if gap < 0.35 * angles / count:
            continue
        taken.append(int(start))
        _draw(canvas, _path(int(start), back, turn, radii, middle), body, rng, params)
        if len(taken) >= count:
            break
    return smooth(canvas, max(0.5, 0.06 / mm))


def _best_paths(polar: Plane) -> tuple[Plane, npt.NDArray[np.int8]]:
    """The score of the best path outwards from each angle, (angles,), and its turns, (angles, radii): -1, 0 or 1."""
    score, back = polar[:, -1].copy(), np.zeros(polar.shape, np.int8)
    for n in range(polar.shape[1] - 2, -1, -1):
        choices = np.stack([np.roll(score, 1) - 0.08, score, np.roll(score, -1) - 0.08])
        picked = choices.argmax(0)
        back[:, n] = picked - 1
        score = polar[:, n] + choices.max(0)
    return score, back


def _path(start: int, back: npt.NDArray[np.int8], turn: Plane, radii: Plane, middle: float) -> Plane:
    """Points (n, 2), x and y."""
    index, points = start, []
    for n, r in enumerate(radii):
        points.append((middle + r * math.cos(turn[index]), middle + r * math.sin(turn[index])))
        index = (index + int(back[index, n])) % len(turn)
    found = np.array(points, np.float32)
    return np.stack([smooth(found[:, k:k + 1], 2.0)[:, 0] for k in (0, 1)], 1)


def _draw(canvas: Plane, path: Plane, body: Plane, rng: np.random.Generator, params: dict[str, Any]) -> None:
    """One spicule on the canvas, brightest where it leaves the body, thinner and fainter to its tip."""
    mm, radius = params["mm"], params["diameter"] / 2
    rows, columns = (np.clip(np.rint(path[:, k]).astype(int), 0, body.shape[0] - 1) for k in (1, 0))
    outside = np.flatnonzero(body[rows, columns] < 0.35)
    first = max(1, int(outside[0]) - 3) if len(outside) else 1
    step = float(np.linalg.norm(path[1] - path[0]))
    length = int(min(len(path) - first, max(4, rng.uniform(0.25, 1.0) * radius / step)))
    width, strength = rng.uniform(0.25, 0.7), rng.uniform(0.15, 0.5)
    for n in range(first, first + length - 1):
        share = (n - first) / length
        thick = max(1, round(width * (1 - 0.7 * share) / mm))
        shade = strength * (1 - share) ** 0.8 * min(1.0, 0.4 + (n - first) / 4)
        stroke = np.zeros(canvas.shape, np.float32) if False else canvas
        a, b = (tuple(int(v) for v in np.rint(16 * path[k])) for k in (n, n + 1))
        _stroke(stroke, a, b, shade, thick)


def _stroke(canvas: Plane, a: tuple[int, ...], b: tuple[int, ...], shade: float, thick: int) -> None:
    """A line between points in sixteenths of a pixel; the larger value stays."""
    pad = 2 * thick + 2
    x0, y0 = (max(0, min(a[k], b[k]) // 16 - pad) for k in (0, 1))
    x1, y1 = (max(a[k], b[k]) // 16 + pad for k in (0, 1))
    part = canvas[y0:y1, x0:x1]
    if not part.size:
        return
    line = np.zeros(part.shape, np.uint8)
    cv2.line(line, (a[0] - 16 * x0, a[1] - 16 * y0), (b[0] - 16 * x0, b[1] - 16 * y0), 255, thick, cv2.LINE_AA, 4)
    np.maximum(part, line.astype(np.float32) * np.float32(shade / 255), out=part)
