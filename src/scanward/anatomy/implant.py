"""Whether a mammogram shows an implant: a large plateau of nearly one brightness with a steep rim, as no tissue has."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import breast_mask

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SIDE = 400
"""The longest side, about, that it is looked for on."""
CUTS = (0.9, 0.8, 0.7, 0.6, 0.5)
"""Of the breast's range of brightness, from its 2nd percentile to its 99.9th."""
LARGE, ROUND, STEEP, EVEN = 0.2, 0.85, 0.25, 0.045
"""Least share of the breast, of its own convex hull, and fall at its rim, and most spread, the last two of the range.
Chosen on 554 mammograms of film and digital sources: of the eight that pass seven show an implant (docs/results.md)."""
RIM = 0.06
"""How wide its rim is, of the square root of its area."""


class Plateau(NamedTuple):
    """A bright region."""

    share: float
    """Of the breast."""
    solidity: float
    fall: float
    spread: float

    @property
    def implant(self) -> bool:
        """Whether it looks like one."""
        return self.share >= LARGE and self.solidity >= ROUND and self.fall >= STEEP and self.spread < EVEN


def shows_implant(plane: Plane) -> bool:
    """Whether the plane (y, x) of a mammogram shows an implant."""
    step = max(1, round(max(plane.shape) / SIDE))
    height, width = (side // step for side in plane.shape)
    whole = np.ascontiguousarray(plane[:height * step, :width * step], np.float32)
    small = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    tissue = breast_mask(small)
    if min(small.shape) < 16 or not tissue.any():
        return False
    low, high = np.quantile(small[tissue], [0.02, 0.999])
    level = np.clip((cv2.GaussianBlur(small, (0, 0), 1) - low) / max(high - low, 1e-6), 0, 1.2)
    return any(found.implant for cut in CUTS if (found := _plateau(level, tissue, cut)) is not None)


def _plateau(level: Plane, tissue: Mask, cut: float) -> Plateau | None:
    """The largest region of the breast above `cut`; None where none is large."""
    above = cv2.morphologyEx(((level > cut) & tissue).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, places, stats, _ = cv2.connectedComponentsWithStats(above)
    if count < 2:
        return None
    region = (places == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    area = int(region.sum())
    if area < LARGE * tissue.sum():
        return None
    outline, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.contourArea(cv2.convexHull(np.vstack(outline)))
    reach = max(3, int(RIM * np.sqrt(area)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    ring = (cv2.dilate(region, disc) > cv2.dilate(region, np.ones((3, 3), np.uint8))) & tissue
    core = cv2.erode(region, np.ones((5, 5), np.uint8)) > 0
    if not ring.any() or not core.any():
        return None
    fall = float(np.median(level[core]) - np.quantile(level[ring], 0.7))
    return Plateau(area / int(tissue.sum()), area / max(float(hull), 1.0), fall, float(level[core].std()))
