"""Where the breast is in a mammogram: the one segmentation that attacks and detectors share."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 512
"""The longest side that the segmentation works on."""
_EDGE = (9, 17)
_GLOW = 51
"""Pixels of the working size, both sides together: between which widths a label's edge has fallen to black, and how
wide its glow is."""


class Breast(NamedTuple):
    """Where the breast is, at the segmentation's working size of at most `SIDE` pixels."""

    mask: npt.NDArray[np.bool_]
    """(y, x)."""
    ratio: float
    """Pixels of the mask per pixel of the film."""

    def at_full_size(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """The mask of the film's own `shape` (y, x)."""
        enlarged = cv2.resize(self.mask.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
        return enlarged.view(np.bool_)


def breast_mask(plane: npt.NDArray[np.float32], margin: float = 0.0) -> npt.NDArray[np.bool_]:
    """True on the breast (y, x) of a mammogram (y, x), without labels, wedges, tape and scanner borders.

    `margin` pixels are taken off every side of the breast that does not touch the image's border. A crop that
    holds nothing but tissue is True everywhere; an image without any structure too. A linear change of the
    intensities leaves the answer as it is.
    """
    breast = breast_small(plane)
    if margin > 0:
        breast = breast._replace(mask=eroded(breast.mask, margin * breast.ratio))
    return breast.at_full_size(plane.shape)


def breast_small(plane: npt.NDArray[np.float32]) -> Breast:
    """The breast of a mammogram (y, x), as `breast_mask` finds it."""
    height, width = plane.shape
    ratio = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    # INTER_AREA over all of 4096 x 2700 takes most of the time; every second sample is plenty for a mean
    step = max(1, int(1 / ratio) // 2)
    small = cv2.resize(np.ascontiguousarray(plane[::step, ::step]), size, interpolation=cv2.INTER_AREA)
    low, high = (float(v) for v in np.percentile(small, (0.5, 99.5)))
    if high - low < 1e-6 or min(size) < 16:
        return Breast(np.ones(small.shape, np.bool_), ratio)
    grey = cv2.GaussianBlur(np.clip((small - low) * (255 / (high - low)), 0, 255).astype(np.uint8), (5, 5), 0)
    bright = _foreground(grey)
    if bright.mean() > 0.97:
        return Breast(np.ones(small.shape, np.bool_), ratio)
    breast = _main_component(bright) & ~_frame(np.asarray(small, np.float32), low)
    return Breast(breast & ~_labels(grey), ratio)


def chest_wall(plane: npt.NDArray[np.float32]) -> Literal["left", "right", ""]:
    """On which side of a mammogram (y, x) the chest wall is: where most of the breast lies. Empty where that does not
    tell."""
    mask = breast_small(plane).mask
    third = max(1, mask.shape[1] // 3)
    left, right = int(mask[:, :third].sum()), int(mask[:, -third:].sum())
    if min(left, right) > 0.8 * max(left, right):
        return ""
    return "left" if left > right else "right"


def eroded(small: npt.NDArray[np.bool_], radius: float) -> npt.NDArray[np.bool_]:
    """`small` without what lies within `radius` pixels of its edge; the image's own border is no edge."""
    distance = cv2.distanceTransform(np.pad(small, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)
    return distance[1:-1, 1:-1] > radius


def _frame(small: npt.NDArray[np.float32], low: float) -> npt.NDArray[np.bool_]:
    """The white frame that a digitiser leaves: nearly the brightest pixels of the image, within a rim of 3 %, where
    they reach the image's border; what does not may be a mass."""
    rim = max(2, round(0.03 * max(small.shape)))
    white = (small >= low + 0.92 * (float(small.max()) - low)).astype(np.uint8)
    white[rim:-rim, rim:-rim] = 0
    _, labels = cv2.connectedComponents(white, connectivity=8)
    outside = np.ones(labels.shape, np.bool_)
    outside[2:-2, 2:-2] = False
    frame = np.isin(labels, np.unique(labels[outside])) & (white > 0)
    return cv2.dilate(frame.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def _labels(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """White things that stand against bare film, with the glow around them, which may join them to the breast.

    Dense tissue fades into its surroundings; a label's edge falls from white to black within a few pixels.
    """
    white = (grey > 180).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(white, connectivity=8)
    found = np.zeros(grey.shape, np.uint8)
    near, far = (np.ones((width, width), np.uint8) for width in _EDGE)
    for number in range(1, count):
        if not 20 < stats[number, cv2.CC_STAT_AREA] < 0.03 * grey.size:
            continue
        own = (labels == number).astype(np.uint8)
        around = cv2.dilate(own, far) > cv2.dilate(own, near)
        if (grey[around] < 40).mean() > 0.6:
            found |= own
    return cv2.dilate(found, np.ones((_GLOW, _GLOW), np.uint8)) > 0


def _foreground(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Brighter than the film's background.

    Otsu's threshold parts dense from fatty tissue as readily as breast from film, so it only bounds the search:
    the background is the lowest strong mode of the histogram, and tissue starts in the valley above it.
    """
    otsu, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    histogram = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    smooth = np.convolve(histogram, np.ones(7) / 7, mode="same")
    top = max(8, int(otsu))
    mode = int(np.argmax(smooth[:top]))
    share = histogram[: mode + 6].sum() / histogram.sum()
    if share < 0.03:
        return np.ones(grey.shape, np.bool_)
    valley = mode + int(np.argmin(smooth[mode : top + 1]))
    threshold = min(max(valley, mode + 6), max(top, mode + 6))
    below = np.flatnonzero(smooth[mode : top + 1] < 0.04 * smooth[mode])
    if len(below):
        threshold = min(threshold, max(mode + 6, mode + int(below[0])))
    # bare film is even: half of its pixels and more lie within a few grey levels; dark tissue in a crop is not
    dark = histogram[: threshold + 1]
    if np.convolve(dark, np.ones(9), mode="same").max() < 0.4 * dark.sum():
        return np.ones(grey.shape, np.bool_)
    return grey > threshold


def _main_component(bright: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest component once bridges to labels and bright film borders are cut, with its holes filled."""
    reach = max(3, round(max(bright.shape) / 20)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    bordered = cv2.copyMakeBorder(bright.astype(np.uint8), reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
    opened = cv2.morphologyEx(bordered, cv2.MORPH_OPEN, kernel)[reach:-reach, reach:-reach]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return np.ones(bright.shape, np.bool_)
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    # the opening rounded the corners and took the nipple: give back what lies close by
    component = cv2.dilate((labels == best).astype(np.uint8), kernel) & bright.astype(np.uint8)
    contours, _ = cv2.findContours(component, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(contours, key=cv2.contourArea)
    return cv2.drawContours(np.zeros_like(component), [largest], -1, 1, cv2.FILLED).astype(np.bool_)
