"""The strands that radiate from a distortion: thin, gently curved, tapering, as the depth of tissue along the rays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanward.attacks.blend import Plane
from scanward.attacks.grain import smooth
from scanward.attacks.mammo_calcifications.thickness import BLUR
from scanward.attacks.mammo_digital.form import ANGLES, best_paths, polar

STEP_MM = 0.3
"""Between the points of a strand."""
FOLLOWED = (7, 12)
"""Strands that run along the host's own where there are any, fewest and most."""
FREE = (12, 22)
"""Fainter ones between them."""
STARTS = {True: (0.06, 0.35), False: (0.15, 0.5)}
"""How far from the middle a strand begins, in radii of the distortion, by whether it is followed: where all meet in
a point there is a star."""
ENDS = (0.6, 1.4)
LONGEST_MM = 25.0
WIDTHS_MM = (0.2, 0.6)
THINNEST = 0.6
"""Pixels: half of the least width that is drawn."""
TAPER = 0.6
"""By how much a strand is thinner at its end."""
RISE = 0.3
"""Share of its length over which a strand gains its opacity; it loses it over all the rest."""
FAINT = 0.5
"""Of a followed strand's opacity, a free one's."""
OFF = 0.1
"""Standard deviation of the points that free strands come from, in radii: they meet in no single one."""
STIFF = 0.45
"""What a turn of a followed strand costs, as `best_paths` takes it: spicules are straighter than strands."""


@dataclass(frozen=True)
class Strand:
    """One strand: an angle at each distance from a point."""

    radii: npt.NDArray[np.float64]
    """(n,), rising, in pixels."""
    angles: npt.NDArray[np.float64]
    """(n,), radians, from x to y, without jumps."""
    width: float
    """Where it is widest, in pixels."""
    opacity: float
    """1 at most, about."""
    focus: tuple[float, float] = (0.0, 0.0)
    """The point (y, x), in pixels from the middle."""


def strands_of(line: Plane, middle: tuple[float, ...], radius: float, reach: float, mm: float, favour: Plane,
               rng: np.random.Generator) -> list[Strand]:
    """Strands about `middle` (y, x) of a square with the host's `lines` (a, a), more of them in the directions of
    `favour`, as `favoured` has it; `radius` of the distortion and its `reach` in pixels. None where the reach is below
    eight steps."""
    radii = np.arange(0.04 * radius, reach, max(1.0, STEP_MM / mm))
    if len(radii) < 8:
        return []
    seen = polar(line, middle, radii)
    score, turns = best_paths(seen + np.float32(0.3) * rng.random(seen.shape, np.float32), STIFF)
    order = np.argsort(-score * (0.6 + 0.4 * favour) * (1 + 0.03 * rng.random(ANGLES)))
    count, taken, found = int(rng.integers(FOLLOWED[0], FOLLOWED[1] + 1)), list[int](), list[Strand]()
    for start in order.tolist():
        if all(min(abs(start - other), ANGLES - abs(start - other)) > 0.4 * ANGLES / count for other in taken):
            taken.append(start)
            found.append(_strand(radii, _followed(start, turns), radius, mm, rng))
        if len(taken) == count:
            break
    weights = np.square(favour, dtype=np.float64)
    far = radii / reach
    for _ in range(int(rng.integers(FREE[0], FREE[1] + 1))):
        start = 2 * math.pi / ANGLES * float(rng.choice(ANGLES, p=weights / weights.sum()))
        curve = rng.normal(0, 0.25) * far + rng.normal(0, 0.12) * np.sin(2.5 * far + rng.uniform(0, 2 * math.pi))
        y, x = rng.normal(0, OFF * radius, 2)
        found.append(_strand(radii, start + curve, radius, mm, rng, (float(y), float(x))))
    return found


def depth_of(strands: list[Strand], side: int, middle: tuple[float, ...]) -> Plane:
    """Depth (side, side) of all strands about `middle` (y, x), each its opacity where it is deepest: half ellipses
    across, blurred as a detector blurs."""
    depth = np.zeros((side, side), np.float32)
    for strand in strands:
        y, x = middle[0] + strand.focus[0], middle[1] + strand.focus[1]
        ys, xs = y + strand.radii * np.sin(strand.angles), x + strand.radii * np.cos(strand.angles)
        pad = strand.width + 2
        rows, columns = (slice(max(0, math.floor(v.min() - pad)), max(0, math.ceil(v.max() + pad) + 1))
                         for v in (ys, xs))
        part = depth[rows, columns]
        if part.size:
            dy, dx = (np.arange(side)[cut] - at for cut, at in ((rows, y), (columns, x)))
            part += _depth(strand, np.hypot(dy[:, None], dx), np.arctan2(dy[:, None], dx))
    return smooth(depth, BLUR)


def _depth(strand: Strand, away: npt.NDArray[np.float64], angle: npt.NDArray[np.float64]) -> Plane:
    """One strand's depth at places so far `away` from its point, at such an `angle` (a, b)."""
    turn = angle - np.interp(away, strand.radii, strand.angles)
    slope = np.interp(away, strand.radii, strand.radii * np.gradient(strand.angles, strand.radii))
    aside = away * np.sin(turn) / np.hypot(1, slope)
    along = (away - strand.radii[0]) / (strand.radii[-1] - strand.radii[0])
    half = np.maximum(strand.width / 2 * (1 - TAPER * np.clip(along, 0, 1)), THINNEST)
    fading = np.clip(along / RISE, 0, 1) * np.clip(1 - along, 0, 1) ** 0.7 * (np.cos(turn) > 0)
    return np.asarray(strand.opacity * fading * np.sqrt(np.clip(1 - (aside / half) ** 2, 0, 1)), np.float32)


def _followed(start: int, turns: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """The angles (radii,) of the best path from a direction, smoothed over a fourth of it."""
    angle, angles = start, []
    for n in range(turns.shape[1]):
        angles.append(angle)
        angle += int(turns[angle % ANGLES, n])
    half = 2 + turns.shape[1] // 8
    kernel = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(np.asarray(angles, np.float64), half, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), "valid") * (2 * math.pi / ANGLES)


def _strand(radii: npt.NDArray[np.float64], angles: npt.NDArray[np.float64], radius: float, mm: float,
            rng: np.random.Generator, focus: tuple[float, float] | None = None) -> Strand:
    """The part of a way that becomes a strand, its width and its opacity; a free one's if it has a `focus`."""
    first = rng.uniform(*STARTS[focus is None]) * radius
    last = min(rng.uniform(*ENDS) * radius, first + LONGEST_MM / mm)
    part = (radii >= first) & (radii <= last)
    if part.sum() < 4:
        part = np.ones(len(radii), np.bool_)
    width = float(rng.uniform(*WIDTHS_MM))
    opacity = float(rng.uniform(0.5, 1.2)) * math.sqrt(width / WIDTHS_MM[1]) * (1.0 if focus is None else FAINT)
    return Strand(radii[part], angles[part], width / mm, opacity, focus or (0.0, 0.0))
