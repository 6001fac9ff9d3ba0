"""Where the nipple is in a mammogram: the landmark from which a lesion's place is carried over to the other view."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import Breast
from scanward.anatomy.pectoral import pectoral_muscle

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]

FINE, COARSE = 0.01, 0.07
"""Standard deviations, of the breast's depth, over which the skin line is smoothed to see the nipple and to lose it."""
NEAR = 0.8
"""Of the largest depth: a nipple is nowhere nearer to the chest wall."""
PROMINENT = 11.0
"""How much more a bulge of the skin line tells of the nipple than depth does."""
EQUAL = 0.01
"""Of the breast's depth: the middle of all points that come so close to the best, as a round breast is flat there."""
STEEPEST = np.radians(33)
"""Of the posterior nipple line: what falls more steeply was measured on no muscle."""
GLOW = 51
"""How wide, in pixels of the mask, what a marker's glow takes out of it."""
FAINT = 0.12
"""Of the breast's median brightness above bare film: what is as bright beside the mask is skin."""


class Nipple(NamedTuple):
    """On the skin line, in pixels of the film."""

    y: float
    x: float
    inward: tuple[float, float]
    """Unit vector (y, x) along the posterior nipple line: at a right angle to the chest wall, and in an MLO view to the
    pectoral muscle's edge."""

    def distance(self, y: float, x: float) -> float:
        """Pixels from the nipple to (y, x): the radius of the arc on which a lesion lies there."""
        return float(np.hypot(y - self.y, x - self.x))

    def depth(self, y: float, x: float) -> float:
        """Pixels from the nipple to (y, x) along the posterior nipple line."""
        return float((y - self.y) * self.inward[0] + (x - self.x) * self.inward[1])


def nipple_of(plane: npt.NDArray[np.float32], breast: Breast, *, oblique: bool) -> Nipple | None:
    """The nipple of a mammogram (y, x), of an MLO view where `oblique`: where the skin line bulges most, near the point
    that is farthest from the chest wall, in an MLO view from the pectoral muscle's edge. Where nothing bulges, that
    point. None where no skin line is seen, as in a crop of tissue.

    A guess where the nipple is not in profile; docs/results.md has its error.
    """
    small, ratio = breast
    skin = _skin_line(_whole(plane, small))
    if skin is None:
        return None
    inward = np.array(_inward(pectoral_muscle(plane, small) if oblique else np.zeros_like(small), small))
    depth, scale = -(skin @ inward), max(float(np.ptp(skin @ inward)), 1.0)
    depth = (depth - depth.min()) / scale
    fine, coarse = (_smoothed(skin, sigma * scale) for sigma in (FINE, COARSE))
    tangent = np.gradient(coarse, axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], 1) / np.maximum(np.linalg.norm(tangent, axis=1), 1e-9)[:, None]
    if (normal @ inward).mean() > 0:
        normal = -normal
    bulge = ((fine - coarse) * normal).sum(1) / scale
    score = np.where(depth >= NEAR, depth + PROMINENT * bulge, -np.inf)
    y, x = fine[round(np.flatnonzero(score >= score.max() - EQUAL).mean())]
    return Nipple(float((y + 0.5) / ratio - 0.5), float((x + 0.5) / ratio - 0.5), (float(inward[0]), float(inward[1])))


def _whole(plane: npt.NDArray[np.float32], small: Mask) -> Mask:
    """The breast (y, x) with what its mask lost beside a marker on the skin."""
    near = cv2.dilate(small.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (GLOW, GLOW))) > 0
    if near.all():
        return small
    grey = cv2.resize(plane, small.shape[::-1], interpolation=cv2.INTER_AREA)
    film = float(np.median(grey[~near]))
    bright = grey > film + FAINT * (float(np.median(grey[small])) - film)
    whole = cv2.morphologyEx((small | (near & bright)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    return whole > 0


def _skin_line(small: Mask) -> Points | None:
    """The outline (n, 2), y and x, without what lies on the image's border."""
    contours, _ = cv2.findContours(small.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    outline = max(contours, key=cv2.contourArea)[:, 0, ::-1].astype(np.float64)
    inside = np.all((outline >= 3) & (outline < np.array(small.shape) - 3), axis=1)
    if inside.sum() < 16 or inside.all():
        return None
    starts = np.flatnonzero(inside & ~np.roll(inside, 1))
    lines = [np.roll(outline, -start, 0)[:int(np.roll(inside, -start).argmin())] for start in starts]
    return max(lines, key=len)


def _smoothed(line: Points, sigma: float) -> Points:
    """A line (n, 2) smoothed over `sigma` points; its ends are drawn out straight, so that they do not shrink."""
    from scipy import ndimage

    pad = min(len(line) - 1, int(4 * sigma) + 1)
    drawn = np.pad(line, [(pad, pad), (0, 0)], mode="reflect", reflect_type="odd")
    return np.asarray(ndimage.gaussian_filter1d(drawn, max(sigma, 0.5), axis=0)[pad:len(drawn) - pad])


def _inward(muscle: Mask, small: Mask) -> tuple[float, float]:
    """The unit vector (y, x) towards the chest wall: at a right angle to the muscle's edge, or straight there."""
    half = small.shape[1] // 2
    side = -1.0 if int(small[:, :half].sum()) >= int(small[:, -half:].sum()) else 1.0
    ys, xs = np.nonzero(muscle)
    if not len(ys):
        return 0.0, side
    tilt = min(float(np.arctan2(np.ptp(xs) + 1, np.ptp(ys) + 1)), STEEPEST)
    return -float(np.sin(tilt)), side * float(np.cos(tilt))
