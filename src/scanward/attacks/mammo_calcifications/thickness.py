"""What calcifications add to each pixel: their depth along the rays, finely sampled, as the detector blurs it."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.attacks.blend import Plane
from scanward.attacks.mammo_calcifications.kinds import GROUPS, Kind
from scanward.attacks.mammo_calcifications.layout import densely
from scanward.attacks.mammo_digital.form import piece_of
from scanward.attacks.mammo_digital.texture import Mask, fractal

FINE = 4
"""Samples a pixel, each way."""
LARGEST = 2400
"""Samples a side of a coarse calcification, which is drawn whole."""
BLUR = 0.4
"""Standard deviation of the detector's blur in pixels, beside the pixel's own aperture. The presampled MTF of a CsI
detector of 0.1 mm is .42 at 4/mm (Vedantham et al., Med. Phys. 27, 558, 2000; .46 and .24 of two models in Ghetti et
al., Med. Phys. 2008, doi 10.1118/1.2828185), that of selenium of 0.07 mm more than .40 at 7.1/mm (Hoheisel et al., IEEE
NSS 2004): less the aperture a Gaussian of 0.43 and of 0.31 pixels."""
SPREAD = 1
"""Pixels by which the truth is wider than what a calcification covers: 2.5 `BLUR`, beyond which under 1 % goes."""


def specks_in(side: int, middle: tuple[float, float], params: dict[str, Any]) -> tuple[Plane, Mask]:
    """What the specks of `params` add (a, a), in the film's range from black to white, and the truth (a, a): every
    pixel of which they cover a part, and `SPREAD` around. `middle` is the centre (y, x) in the square."""
    added, truth = np.zeros((side, side), np.float32), np.zeros((side, side), np.bool_)
    kind, mm = GROUPS[params["morphology"]], params["mm"]
    for number, speck in enumerate(params["specks"]):
        lines = [np.asarray(line) / mm + middle for line in speck["lines"]]
        points = np.concatenate(lines)
        pad = speck["width"] / mm / 2 * (1 + kind.rough) + SPREAD + 1
        low = np.floor(points.min(0) - pad).astype(int)
        size = int((np.ceil(points.max(0) + pad).astype(int) - low).max())
        depth = _speck(lines, low, size, kind, speck["width"] / mm, params["seed"] + 100 + number)
        patch, seen = blurred(depth * np.float32(speck["depth"] * speck["dense"]), size, FINE)
        y0, x0 = np.clip(low, 0, side)
        y1, x1 = np.clip(low + size, 0, side)
        part = slice(y0 - low[0], y1 - low[0]), slice(x0 - low[1], x1 - low[1])
        added[y0:y1, x0:x1] += patch[part]
        truth[y0:y1, x0:x1] |= seen[part]
    return added, truth


def coarse_in(side: int, middle: tuple[float, float], params: dict[str, Any]) -> tuple[Plane, Mask]:
    """As `specks_in`, of the one coarse calcification of a benign morphology."""
    fine = max(1, min(FINE, LARGEST // side))
    radius, seed = params["diameter"] / 2 * fine, params["seed"]
    grid = (np.arange(side * fine, dtype=np.float32) + 0.5) / fine - 0.5
    y, x = (np.asarray((grid - m) * fine / radius, np.float32) for m in middle)
    form = popcorn if params["morphology"] == "popcorn" else rim
    depth = form(y[:, None], x[None], radius, fine / params["mm"], seed)
    return blurred(depth * np.float32(params["diameter"] / 2 * params["mm"] * params["dense"]), side, fine)


def popcorn(y: Plane, x: Plane, radius: float, mm: float, seed: int) -> Plane:
    """Depth (a, a), in radii, of an involuting fibroadenoma's calcification: lumps that run into one another. `y`
    (a, 1) and `x` (1, a) from the middle in radii, of `radius` samples; `mm` samples are a millimetre."""
    rng, side = np.random.default_rng(seed), y.size
    warp = 1 + 0.12 * np.clip(fractal(side, seed + 1, 2.5, 0.8 * radius, max(2.0, 0.15 * radius)), -2, 2)
    depth = np.zeros((side, side), np.float32)
    first = rng.uniform(0, math.pi)
    for number in range(int(rng.integers(7, 14))):
        size, away, turn = rng.uniform(0.16, 0.36), rng.uniform() ** 0.5, rng.uniform(0, 2 * math.pi)
        if number < 2:  # one at either end: it is as large as was asked for
            away, turn = 1.0, first + number * math.pi
        away *= 1 - 1.15 * size
        lump = np.hypot(y - away * math.sin(turn), x - away * math.cos(turn)) * warp / size
        depth += np.float32(rng.uniform(0.5, 1.0) * size) * np.sqrt(np.clip(1 - lump * lump, 0, 1))
    return np.where(np.hypot(y, x) < 1, depth, np.float32(0))


def rim(y: Plane, x: Plane, radius: float, mm: float, seed: int) -> Plane:
    """As `popcorn`, of a shell: the chord through a hollow ellipsoid, 2 (√(1 − r²) − √((1 − t)² − r²)), whose wall t is
    calcified unevenly."""
    rng, side = np.random.default_rng(seed), y.size
    turn, aspect = rng.uniform(0, math.pi), rng.uniform(0.75, 1.0)
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    bumps = np.clip(fractal(side, seed + 1, 3.5, 2.5 * radius, max(2.0, 0.4 * radius)), -2, 2)
    r = np.hypot(along, across / aspect) * (1.08 + 0.04 * bumps)  # never beyond the radius asked for
    uneven = fractal(side, seed + 2, 3.0, 2.5 * radius, max(2.0, 0.5 * radius))
    wall = np.clip(rng.uniform(0.2, 0.45) * (1 + 0.5 * uneven), 0.05, 0.8) * mm / radius
    return np.asarray(2 * (np.sqrt(np.clip(1 - r * r, 0, 1)) - np.sqrt(np.clip((1 - wall) ** 2 - r * r, 0, 1))
                           * (wall < 1)), np.float32)


def blurred(fine: Plane, size: int, samples: int) -> tuple[Plane, Mask]:
    """(size, size) of a finely sampled (size · samples)², and where it is or may have been spread to."""
    whole = cv2.GaussianBlur(fine, (0, 0), BLUR * samples, borderType=cv2.BORDER_CONSTANT)
    patch = cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)
    covered = fine.reshape(size, samples, size, samples).max((1, 3)) > 0
    seen = cv2.dilate(covered.view(np.uint8), np.ones((2 * SPREAD + 1,) * 2, np.uint8)) > 0
    return np.asarray(np.where(seen, patch, 0), np.float32), seen


def _speck(lines: list[npt.NDArray[np.float64]], low: npt.NDArray[np.int_], size: int, kind: Kind, width: float,
           seed: int) -> Plane:
    """Depth (size · FINE)², 1 at most, of one calcification, `width` pixels wide, in the square from `low` on: the
    level set of its distance from its lines and of noise."""
    count, half = size * FINE, width / 2
    grid = (np.arange(count) + 0.5) / FINE - 0.5
    points = np.concatenate([densely(line, 0.5) for line in lines]) - low
    away = np.full((count, count), np.inf)
    for y, x in points:
        np.minimum(away, np.hypot(grid[:, None] - y, grid[None] - x), out=away)
    noise = fractal(count, seed, 2.0, 2 * width * FINE, max(2.0, 0.4 * width * FINE))
    field = 1 - away / half + kind.rough * np.clip(noise, -1, 1)
    inside = piece_of(field > 0) if (field > 0).any() else away <= away.min()
    depth = np.where(inside, np.clip(field, 0.05, 1), 0)
    dome = np.where(inside, (1 - (1 - depth) ** 2) ** kind.dome, 0)
    return np.asarray(dome / max(float(dome.max()), 1e-6), np.float32)
