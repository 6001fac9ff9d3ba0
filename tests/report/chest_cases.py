"""A chest of a few voxels with a verdict made by hand."""

from __future__ import annotations

import numpy as np

from scanward.box import Box
from scanward.image import Image, Provenance
from scanward.report.html import Case
from scanward.verdict import Evidence, Finding, Verdict

SPACING = (2.0, 0.5, 0.8)
SHAPE = (40, 160, 120)
CENTRE = (18, 90, 50)
"""(z, y, x) of a ball of `RADIUS` mm."""
RADIUS = 8.9


def away(centre=CENTRE, shape=SHAPE) -> np.ndarray:
    """Millimetres from a voxel."""
    grid = np.indices(shape, dtype=np.float32)
    return np.sqrt(sum(((grid[i] - centre[i]) * SPACING[i]) ** 2 for i in range(3)))


def chest(shape=SHAPE, to_world=None) -> Image:
    """Air with a ball of tissue in it, in HU."""
    pixels = np.where(away(shape=shape) < RADIUS, 0.0, -900.0).astype(np.float32)
    return Image(pixels, "CT", SPACING, provenance=Provenance(to_world=to_world))


def ball(centre, radius, peak) -> tuple[np.ndarray, Finding]:
    """Heat that is `peak` in the middle and half of that `radius` mm away, and its finding."""
    heat = (peak * (1 - away(centre) / (2 * radius))).clip(0).astype(np.float32)
    inside = np.argwhere(heat >= peak / 2)
    (z0, y0, x0), (z1, y1, x1) = inside.min(0), inside.max(0) + 1
    box = Box(*(int(v) for v in (z0, y0, x0, z1, y1, x1)))
    return heat, Finding(box, peak, box.in_mm(SPACING), method="ct-self-reference")


def verdict(heat: np.ndarray, findings=(), threshold=0.4) -> Verdict:
    evidence = Evidence("ct-self-reference", 0.8, 0.5, heat, threshold, tuple(findings))
    return Verdict(0.8, 0.5, "tampered" if findings else "authentic", heat, tuple(findings), (evidence,), "default",
                   "CT", version="0.1.0")


def case(name="chest") -> Case:
    heat, finding = ball(CENTRE, 6.0, 0.8)
    return Case(name, chest(), verdict(heat, [finding]))
