"""Where the pectoral muscle is in a mediolateral oblique view, so that nothing is injected on its edge."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 256
"""The longest side that the search works on."""
LEAST = 0.045
"""Of the film's contrast: the step that the muscle's edge must have along most of its length."""


def pectoral_muscle(plane: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """True on the pectoral muscle of a mammogram (y, x), of the size of its breast's `mask`, which may be smaller than
    the film; False everywhere where no straight edge cuts off an upper corner of the breast at the chest wall, as in
    craniocaudal views.

    The muscle is the triangle whose hypotenuse has the largest step from bright to dark, among the lines from the
    breast's upper edge to its chest wall; the step counts where it is least, so that the line must fit as a whole.
    """
    ratio = min(1.0, SIDE / max(plane.shape))
    size = (max(1, round(plane.shape[1] * ratio)), max(1, round(plane.shape[0] * ratio)))
    grey = cv2.GaussianBlur(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), (0, 0), 2)
    breast = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    flipped = breast[:, :size[0] // 2].sum() < breast[:, size[0] // 2:].sum()
    if flipped:
        grey, breast = grey[:, ::-1], breast[:, ::-1]
    found = _triangle(np.ascontiguousarray(grey), np.ascontiguousarray(breast))
    triangle = np.zeros(grey.shape, np.uint8)
    if found is not None:
        cv2.fillConvexPoly(triangle, np.rint(found).astype(np.int32), 1)
    triangle = np.ascontiguousarray(triangle[:, ::-1] if flipped else triangle)
    return cv2.resize(triangle, mask.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _triangle(grey: npt.NDArray[np.floating], breast: npt.NDArray[np.bool_]) -> npt.NDArray[np.floating] | None:
    """Corners (3, 2), x and y, of the muscle in a breast whose chest wall is on the left; None if there is none."""
    if not breast.any():
        return None
    rows, columns = np.flatnonzero(breast.any(1)), np.flatnonzero(breast.mean(0) > 0.25 * breast.mean(0).max())
    top, left = float(rows[0]), float(columns[0])
    height, width = len(rows), len(columns)
    if min(height, width) < 32:
        return None
    across, down = (grid.ravel() for grid in np.meshgrid(np.linspace(0.2, 0.9, 36) * width,
                                                         np.linspace(0.15, 0.95, 41) * height))
    # a muscle's edge stands steeply on the film: 30 to 75 degrees against its upper border
    steep = (down > 0.55 * across) & (down < 4 * across)
    across, down = across[steep], down[steep]
    along = np.linspace(0.1, 0.85, 40)
    x = left + across[:, None] * (1 - along)
    y = top + down[:, None] * along
    length = np.hypot(across, down)
    steps = np.stack([down / length, across / length]) * 4
    inner, outer = (cv2.remap(grey, (x + sign * steps[0][:, None]).astype(np.float32),
                              (y + sign * steps[1][:, None]).astype(np.float32), cv2.INTER_LINEAR,
                              borderMode=cv2.BORDER_REPLICATE) for sign in (-1, 1))
    low, high = np.percentile(grey[breast], (2, 98))
    step = np.percentile(inner - outer, 25, axis=1) / max(float(high - low), 1e-6)
    best = int(step.argmax())
    if step[best] < LEAST:
        return None
    return np.array([[left, top], [left + across[best], top], [left, top + down[best]]])
