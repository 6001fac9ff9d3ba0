"""The form of a mass at the host's own pixel: its outline from a coarse square, its margin, its spicules.

The coarse square, 64 pixels wide, says where a mass lies thick. The outline is the level set of the wanted area in a
field that adds to it a cone, noise and the host's own strands, so that the margin gives way where these run.
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

SHARES = (0.3, 0.35, 0.35)
"""How often each of `MARGINS` is drawn."""
REACH = 1.72
"""Radii from the centre within which everything ends: the disc in a square of 64/36 diameters."""
ANGLES = 360
"""Directions in which spicules may leave, and a host's strands are counted."""
BEND = 0.22
"""What a turn by one of them costs, in units of `lines`."""


@dataclass(frozen=True)
class Margin:
    """How a kind of margin is made; lengths in radii of the mass where no unit is named."""

    shape: float
    """Share of the coarse square in the field; the cone has the rest."""
    rough: float
    """Of the noise in the field."""
    finest: float
    """The noise's smallest period."""
    follow: float
    """Of the host's strands in the field."""
    rise: float
    """From the edge to full thickness."""
    soft: float
    """Standard deviation of the edge's blur where it is most obscured."""
    sharp_mm: float
    """The same where it is sharpest, in mm."""
    lumps: float
    """How uneven the thickness is."""
    spicules: tuple[int, int]
    """Fewest and most."""


MARGINS = {
    "circumscribed": Margin(0.10, 0.05, 0.7, 0.0, 0.6, 0.11, 0.10, 0.05, (0, 0)),
    "ill-defined": Margin(0.35, 0.17, 0.0, 0.10, 0.95, 0.16, 0.40, 0.10, (0, 5)),
    "spiculated": Margin(0.35, 0.12, 0.0, 0.08, 0.9, 0.08, 0.15, 0.10, (26, 48)),
}


def cone(side: int, params: dict[str, Any]) -> Plane:
    """(side, side): 1 in the middle of the mass's ellipse, 0 on it, and falling beyond, in radii."""
    y, x = _from_middle(side, params["diameter"] / 2)
    angle, aspect = params["angle"], params["aspect"]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return np.asarray(1 - np.hypot(along * math.sqrt(aspect), across / math.sqrt(aspect)), np.float32)


def body_of(coarse: Plane, inner: Plane, line: Plane, params: dict[str, Any]) -> Plane:
    """Thickness (a, a), about 1 at most, of a mass without spicules; `coarse` (a, a) in [0, 1], how far `inner` (a, a)
    each pixel is, in radii, as of a `cone`, and the host's `lines` (a, a)."""
    margin, mm, side = MARGINS[params["margin"]], params["mm"], coarse.shape[0]
    radius, seed = params["diameter"] / 2, params["seed"] + 11
    y, x = _from_middle(side, radius)
    field = (1 - margin.shape) * inner + margin.shape * coarse
    field += margin.rough * fractal(side, seed, 2.6, 1.4 * radius, max(2.0, margin.finest * radius))
    field += margin.follow * (smooth(line, max(1.0, 0.5 / mm)) - float(line.mean()))
    field[np.hypot(x, y) >= 1.45] = -9
    level = np.sort(field.ravel())[-max(5, round(math.pi * radius * radius))]
    inside = ndimage.binary_fill_holes(piece_of(field >= level))
    depth = cv2.distanceTransform(np.pad(inside, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1] / (margin.rise * radius)
    thick = np.sqrt(1 - (1 - np.clip(depth, 0, 1)) ** 2).astype(np.float32)
    sharp, soft = smooth(thick, max(0.6, margin.sharp_mm / mm)), smooth(thick, max(0.8, margin.soft * radius))
    obscured = np.clip(0.5 + 0.6 * fractal(side, seed + 1, 3, 4 * radius, max(2.0, 0.7 * radius)), 0, 1)
    lumps = 1 + margin.lumps * fractal(side, seed + 2, 3, 0.9 * radius, max(2.0, 0.8 / mm))
    return np.asarray((sharp + obscured * (soft - sharp)) * np.clip(lumps, 0.5, 1.5), np.float32)


def spicules_of(body: Plane, line: Plane, params: dict[str, Any]) -> Plane:
    """Thickness (a, a), up to .5, of thin strands that leave the body and run along the host's own where there are any.

    Each is the best path outwards, through the most of `line`, that may turn by one angle a step: dynamic programming
    over (angle, radius).
    """
    rng, mm = np.random.default_rng(params["seed"] + 12), params["mm"]
    low, high = MARGINS[params["margin"]].spicules
    count = params.get("spicules", int(rng.integers(low, high + 1)))
    canvas, radius = np.zeros(body.shape, np.float32), params["diameter"] / 2
    radii = np.arange(0.35 * radius, REACH * radius, max(1.0, 0.3 / mm))
    if count == 0 or len(radii) < 8:
        return canvas
    middle = (body.shape[0] - 1) / 2
    # Nothing beyond the square's rim, which the smallest masses reach: records replay bit for bit.
    seen = polar(line, (middle, middle), radii, cv2.BORDER_CONSTANT)
    score, turns = best_paths(seen + np.float32(0.35) * rng.random(seen.shape).astype(np.float32))
    taken: list[int] = []
    for start in np.argsort(-(score + 0.02 * len(radii) * rng.random(ANGLES))):
        if any(min(abs(start - other), ANGLES - abs(start - other)) < 0.35 * ANGLES / count for other in taken):
            continue
        taken.append(int(start))
        _draw(canvas, _path(int(start), turns, radii) + middle, body, rng, params)
        if len(taken) == count:
            break
    return smooth(canvas, max(0.5, 0.06 / mm))


def fading(side: int, diameter: float) -> Plane:
    """(a, a): 1 within, falling to 0 at `REACH` radii from the middle over a tenth of a radius."""
    y, x = _from_middle(side, diameter / 2)
    return np.clip((REACH - np.hypot(y, x)) / 0.1, 0, 1).astype(np.float32)


def piece_of(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest connected piece of a mask (y, x); that nearer to the middle of two equal ones."""
    height, width = mask.shape
    return piece_at(mask[None], (0, (height - 1) / 2, (width - 1) / 2), (1, 1, 1))[0]


def _from_middle(side: int, radius: float) -> tuple[Plane, Plane]:
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2).astype(np.float32) / np.float32(radius)
    return y, x


def polar(square: Plane, middle: tuple[float, ...], radii: npt.NDArray[np.floating],
          border: int = cv2.BORDER_REFLECT_101) -> Plane:
    """(ANGLES, radii) of a square (a, a) about `middle` (y, x), beyond whose rim lies what OpenCV calls `border`."""
    turn = np.linspace(0, 2 * math.pi, ANGLES, endpoint=False)[:, None]
    y, x = (np.asarray(at + radii * along(turn), np.float32)
            for at, along in zip(middle, (np.sin, np.cos), strict=True))
    return np.asarray(cv2.remap(square, x, y, cv2.INTER_LINEAR, borderMode=border), np.float32)


def best_paths(seen: Plane, bend: float = BEND) -> tuple[Plane, npt.NDArray[np.int8]]:
    """The score of the best path outwards through `seen` (angles, radii) from each angle (angles,), and where each
    turns (angles, radii): -1, 0, 1. A turn costs `bend`."""
    score, turns = seen[:, -1].copy(), np.zeros(seen.shape, np.int8)
    for n in range(seen.shape[1] - 2, -1, -1):
        choices = np.stack([np.roll(score, 1) - bend, score, np.roll(score, -1) - bend])
        turns[:, n] = choices.argmax(0) - 1
        score = seen[:, n] + choices.max(0)
    return score, turns


def _path(start: int, turns: npt.NDArray[np.int8], radii: npt.NDArray[np.float64]) -> Plane:
    """Points (n, 2), x and y from the middle, smoothed."""
    angle, points = start, []
    for n, radius in enumerate(radii):
        way = 2 * math.pi * angle / ANGLES
        points.append((radius * math.cos(way), radius * math.sin(way)))
        angle = (angle + int(turns[angle, n])) % ANGLES
    return np.asarray(ndimage.gaussian_filter1d(np.array(points), 3, axis=0, mode="nearest"), np.float32)


def _draw(canvas: Plane, path: Plane, body: Plane, rng: np.random.Generator, params: dict[str, Any]) -> None:
    """One spicule, brightest where it leaves the body, thinner and fainter to its tip."""
    columns, rows = np.clip(np.rint(path).astype(int), 0, len(body) - 1).T
    outside = np.flatnonzero(body[rows, columns] < 0.35)
    first = max(1, int(outside[0]) - 3) if len(outside) else 1
    step = float(np.linalg.norm(path[1] - path[0]))
    length = min(len(path) - first, max(4, int(rng.uniform(0.3, 1.1) * params["diameter"] / 2 / step)))
    width_mm, strength = rng.uniform(0.15, 0.45), rng.uniform(0.15, 0.45)
    for n in range(first, first + length - 1):
        share = (n - first) / length
        shade = strength * (1 - share) ** 0.8 * min(1.0, 0.4 + (n - first) / 4)
        _stroke(canvas, path[n], path[n + 1], shade, max(1, round(width_mm * (1 - 0.7 * share) / params["mm"])))


def _stroke(canvas: Plane, start: Plane, end: Plane, shade: float, thick: int) -> None:
    """A line between two points, x and y; where strokes cross, the stronger counts."""
    pad = 2 * thick + 2
    corner = np.maximum(np.floor(np.minimum(start, end)).astype(int) - pad, 0)
    x1, y1 = np.ceil(np.maximum(start, end)).astype(int) + pad
    part = canvas[corner[1]:max(y1, 0), corner[0]:max(x1, 0)]
    if not part.size:
        return
    (ax, ay), (bx, by) = (np.rint(16 * (point - corner)).astype(int).tolist() for point in (start, end))
    line = np.zeros(part.shape, np.uint8)
    cv2.line(line, (ax, ay), (bx, by), 255, thick, cv2.LINE_AA, 4)
    np.maximum(part, line.astype(np.float32) * np.float32(shade / 255), out=part)
