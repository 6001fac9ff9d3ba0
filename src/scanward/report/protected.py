"""Pictures of a perturbation, and of where an image was altered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from scanward.report.heat import Rgb, to_grey, window
from scanward.report.panels import row

if TYPE_CHECKING:
    from scanward.image import Image

SIDE = 480
ALTERED = (230, 60, 50)
NEAR = 48
"""Pixels on each side of the middle of which the change itself is shown."""
MOST = 3
"""Slices in one picture of a verification."""


def perturbed_picture(before: Image, after: Image, at: tuple[float, float, float] | None = None) -> Rgb:
    """The slice through `at` (z, y, x; the middle of the image where it is None) before and after, and about there the
    change alone, pixel by pixel on grey, ten times over."""
    index, *middle = (n // 2 for n in before.shape) if at is None else map(round, at)
    low, high = window(before, index)
    y, x = (max(0, min(m - NEAR, n - 2 * NEAR)) for m, n in zip(middle, before.shape[1:], strict=True))
    change = (after.pixels - before.pixels)[index, y:y + 2 * NEAR, x:x + 2 * NEAR]
    about = [start + length // 2 for start, length in zip((y, x), change.shape, strict=True)]
    return row([("before", _grey(before.pixels[index], low, high)),
                ("protected", _grey(after.pixels[index], low, high)),
                (f"what was added around x {about[1]}, y {about[0]}, times ten",
                 _grey(10 * change + (low + high) / 2, low, high))])


def verified_picture(image: Image, altered: npt.NDArray[np.float32]) -> Rgb:
    """The slices with most of what was altered (`altered` is 1 there), outlined; the middle one where nothing was."""
    counts = (altered == 1).sum((1, 2))
    along = np.arange(len(counts))
    middle = np.average(along, weights=counts) if counts.any() else len(counts) // 2
    worst = np.lexsort((np.abs(along - middle), -counts))[:MOST]
    slices = sorted(int(z) for z in worst if counts[z]) or [len(counts) // 2]
    panels = []
    for index in slices:
        picture = _grey(image.pixels[index], *window(image, index))
        scale = SIDE / max(altered.shape[1:])
        inside = (altered[index] == 1).astype(np.uint8)
        contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, [np.rint((c + 0.5) * scale).astype(np.int32) for c in contours], -1, ALTERED, 1)
        panels.append((f"slice {index + 1}" if image.shape[0] > 1 else "altered", picture))
    return row(panels)


def _grey(plane: npt.NDArray[np.float32], low: float, high: float) -> Rgb:
    """A slice on a square of `SIDE`."""
    scale = SIDE / max(plane.shape)
    size = (max(1, round(plane.shape[1] * scale)), max(1, round(plane.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[:size[1], :size[0]] = to_grey(cv2.resize(plane, size, interpolation=way), low, high)[..., None]
    return canvas
