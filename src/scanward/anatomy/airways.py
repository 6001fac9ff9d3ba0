"""What air is no lung in a chest CT, coarsely: that of the trachea and the large bronchi, of throat and stomach."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import Lock
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.anatomy.lung import Lungs, coarse, grown, lungs_in, near
from scanward.image import Image

Mask = npt.NDArray[np.bool_]

AREA_MM2 = (60.0, 700.0)
"""Of the trachea across."""
ROUND = 0.6
"""Share of the box about it that the trachea fills, at least; a disc fills .79."""
LEAST_MM = 15.0
"""That it goes on for."""
MOST_ML = 110.0
"""Of the trachea and bronchi; more has run into the lungs."""
TOWARDS_AIR = 0.45
"""How far from air to lung airways reach."""
POCKET = 0.25
"""How far from air to lung the air of a pocket reaches."""
WIDE_MM, LEAST_ML = 10.0, 3.0
"""Across a pocket, at least, and in it: of the throat, of the stomach under a thin diaphragm."""


@dataclass
class _Known:
    """The lungs of an image, once somebody asked."""

    lock: Lock = field(default_factory=Lock)
    lungs: Lungs | None = None


_LOCK = Lock()
_KNOWN: WeakKeyDictionary[Image, _Known] = WeakKeyDictionary()


def lungs_alone(image: Image) -> Lungs:
    """The lungs of a chest CT without the trachea, the large bronchi and other pockets of air.

    Found once for each image, and kept as long as it lives: its detectors ask side by side.
    """
    with _LOCK:
        known = _KNOWN.setdefault(image, _Known())
    with known.lock:
        if known.lungs is None:
            known.lungs = _alone(image)
        return known.lungs


def _alone(image: Image) -> Lungs:
    small = coarse(image)
    lungs = lungs_in(image, small)
    if not lungs.mask.any():
        return lungs
    shrunk = _levelled(small, lungs)
    return replace(lungs, mask=near(lungs.mask & ~_airways(*shrunk, lungs) & ~_pockets(*shrunk, lungs)))


def pockets_of(image: Image, lungs: Lungs) -> Mask:
    """Air within the mask of `lungs` that is no lung, for it is air alone, (z, y, x) of that mask, walls included."""
    return _pockets(*_levelled(coarse(image), lungs), lungs) if lungs.mask.any() else np.zeros_like(lungs.mask)


def _pockets(small: npt.NDArray[np.float32], level: float, lungs: Lungs) -> Mask:
    air = lungs.mask & (small < -1000 + POCKET * (level + 1000))
    reach = [int(WIDE_MM / 2 / step) for step in lungs.spacing]
    offsets = np.mgrid[tuple(slice(-n, n + 1) for n in reach)]
    ball = np.linalg.norm(offsets * np.reshape(lungs.spacing, (3, 1, 1, 1)), axis=0) <= WIDE_MM / 2
    tight = grown(~np.pad(air, [(n, n) for n in reach], mode="edge"), ball)
    within = tuple(slice(n, n + side) for n, side in zip(reach, air.shape, strict=True))
    labels, count = ndimage.label(grown(~tight[within], ball))
    large = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(lungs.spacing) / 1000 >= LEAST_ML
    large[0] = False
    return _with_walls(ndimage.binary_propagation(large[labels], mask=air))


def _levelled(small: npt.NDArray[np.float32], lungs: Lungs) -> tuple[npt.NDArray[np.float32], float]:
    """The image on the grid of the mask of `lungs`, and the median HU in it."""
    return small, float(np.median(small[lungs.mask]))


def airways_of(image: Image, lungs: Lungs) -> Mask:
    """The trachea and the bronchi that hang on it, walls included, (z, y, x) of the mask of `lungs`; empty where no
    trachea is found."""
    return _airways(*_levelled(coarse(image), lungs), lungs) if lungs.mask.any() else np.zeros_like(lungs.mask)


def windpipe_mm(image: Image, lungs: Lungs) -> float:
    """Millimetres of slices that the trachea is seen in, or what looks most like one; 0 where nothing does."""
    if not lungs.mask.any():
        return 0.0
    small, level = _levelled(coarse(image), lungs)
    shown = _trachea(small < -1000 + TOWARDS_AIR * (level + 1000), lungs).any((1, 2))
    return float(shown.sum() * lungs.spacing[0])


def _airways(small: npt.NDArray[np.float32], level: float, lungs: Lungs) -> Mask:
    for share in (TOWARDS_AIR, TOWARDS_AIR / 2):
        air = small < -1000 + share * (level + 1000)
        tube = _trachea(air, lungs)
        grown = ndimage.binary_propagation(tube, mask=air)
        if grown.sum() * np.prod(lungs.spacing) / 1000 <= MOST_ML:
            return _with_walls(grown)
    return _with_walls(tube)


def _with_walls(mask: Mask) -> Mask:
    return np.stack([cv2.dilate(plane.view(np.uint8), np.ones((3, 3), np.uint8)) > 0 for plane in mask])


def _trachea(air: Mask, lungs: Lungs) -> Mask:
    """Round patches of air in the middle that go on from slice to slice, the longest of them."""
    columns = np.flatnonzero(lungs.mask.any((0, 1)))
    middle, reach = (columns[0] + columns[-1]) / 2, 0.2 * (columns[-1] - columns[0] + 1)
    pixel = lungs.spacing[1] * lungs.spacing[2]
    patches = np.zeros_like(air)
    for number, plane in enumerate(air):
        _, labels, stats, centres = cv2.connectedComponentsWithStats(plane.view(np.uint8), connectivity=4)
        area = stats[:, cv2.CC_STAT_AREA]
        whole = area >= ROUND * stats[:, cv2.CC_STAT_WIDTH] * stats[:, cv2.CC_STAT_HEIGHT]
        fits = whole & (area * pixel >= AREA_MM2[0]) & (area * pixel <= AREA_MM2[1])
        fits &= np.abs(centres[:, 0] - middle) <= reach
        fits[0] = False
        patches[number] = fits[labels]
    labels, count = ndimage.label(patches)
    if count == 0:
        return patches
    heights = np.array([part[0].stop - part[0].start for part in ndimage.find_objects(labels)]) * lungs.spacing[0]
    best = int(heights.argmax())
    return np.asarray(labels == best + 1) if heights[best] >= LEAST_MM else np.zeros_like(air)
