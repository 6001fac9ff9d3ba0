"""What a forger seems to have done to a region of a CT, by its noise and density; no kind where these do not tell.

The bounds were chosen on scans of the splits train and val; docs/results.md says how often a kind is right when it is
said. Smoothing and resampling are not named: noise that is put back hides them, and most of what passed for smoothed
was something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.box import Box
from scanward.detectors.ct_self_reference.reference import BLOCK, PER_SCALE, SCALES, Reference, residuals, stack
from scanward.detectors.self_reference.local import EXPECTED
from scanward.detectors.self_reference.reference import CLIP
from scanward.image import Image
from scanward.tiles import widened

KINDS = {"put in": "it looks as if something was put in", "taken away": "it looks as if something was taken away"}
"""And what is said of each."""
SOLID = -500.0
"""HU above which a voxel is no lung."""
BODY, BODY_SHARE = 400.0, 0.3
"""What is put in is denser by so many HU, in its middle, than what is about it, and so much of it is solid."""
AIRY = 200.0
"""Where something was taken away, the middle is denser by less than that."""
EMPTY = 0.45
"""And its HU differ among themselves by less than this share of how those about it do: vessels are gone, too."""
FINE, STEEP = 0.75, (0.4, 0.8)
"""Nor is it smoothed: its fine noise is this loud at least, and its coarser noise, beside the fine, within these:
generators leave too little of it."""


@dataclass(frozen=True)
class Facts:
    """Of a region, the ellipsoid in its box."""

    fine: float
    """Its noise beside what it should be at such places."""
    coarse: float
    """The same of means over 2×2 pixels."""
    middle: float
    """Median HU of its inner half."""
    about: float
    """And of a shell about it."""
    solid: float
    """Share of it that is no lung."""
    unrest: float
    """Deviation of its HU, as a share of the shell's."""


def kind_of(facts: Facts) -> str:
    """One of `KINDS`, or none."""
    denser = facts.middle - facts.about
    if denser > BODY and facts.middle > SOLID and facts.solid > BODY_SHARE:
        return "put in"
    steep = facts.coarse / max(facts.fine, 0.02)
    if denser < AIRY and facts.unrest < EMPTY and facts.fine > FINE and STEEP[0] < steep < STEEP[1]:
        return "taken away"
    return ""


def facts_of(image: Image, reference: Reference, box: Box) -> Facts:
    """What a finding's box (voxels) holds, and what is about it."""
    fine, coarse = _noise(image, reference, box)
    pads = [int(0.4 * size) + 3 for size in box.size]
    window = tuple(widened(part, pad, length)
                   for part, pad, length in zip(box.slices, pads, image.shape, strict=True))
    cube, away = image.pixels[window], _away(box, np.ogrid[window])
    within, shell = cube[away < 0.9], cube[(away > 1.15) & (away < 1.7)]
    shell = shell if shell.size else cube.ravel()
    return Facts(fine, coarse, float(np.median(cube[away <= max(0.5, float(away.min()))])), float(np.median(shell)),
                 float((within > SOLID).mean()) if within.size else 0.0, float(within.std() / max(shell.std(), 1.0)))


def _away(box: Box, grid: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """How far voxels lie from a box's middle, 1 on the ellipsoid in it."""
    parts = [(at - (part.start + part.stop - 1) / 2) / max((part.stop - part.start) / 2, 0.5)
             for at, part in zip(grid, box.slices, strict=True)]
    return np.asarray(np.sqrt(sum(part**2 for part in parts)), np.float64)


def _noise(image: Image, reference: Reference, box: Box) -> tuple[float, float]:
    """Mean size of the first residual at each scale in three slices of a region, beside what it should be."""
    middle, step = (box.z0 + box.z1 - 1) / 2, (box.z1 - box.z0) / 4
    top, left = (max(0, first // BLOCK - 1) * BLOCK for first in (box.y0, box.x0))
    high, wide = ((last - first + 2 * BLOCK) // BLOCK * BLOCK for first, last in ((top, box.y1), (left, box.x1)))
    sums, counts = np.zeros(2), np.zeros(2)
    for z in sorted({round(middle + turn * step) for turn in (-1, 0, 1)}):
        part = image.pixels[:, top:top + high, left:left + wide]
        planes = reference.stabilise(stack(part, z)[:, :part.shape[1] // 2 * 2, :part.shape[2] // 2 * 2])
        gains = reference.gains_at(image.pixels[z], z)
        for number, (scale, raw) in enumerate(zip(SCALES, residuals(planes), strict=True)):
            y, x = (np.arange(n) * scale + first for n, first in zip(raw.shape[1:], (top, left), strict=True))
            gain = gains[number * PER_SCALE][np.ix_(y // BLOCK, x // BLOCK)]
            inside = _away(box, np.ix_(np.array([z]), y + (scale - 1) / 2, x + (scale - 1) / 2))[0] < 0.9
            sums[number] += np.minimum(np.abs(raw[0]) * gain, CLIP)[inside].sum()
            counts[number] += inside.sum()
    fine, coarse = sums / np.maximum(counts, 1) / EXPECTED
    return float(fine), float(coarse)
