"""Which loud places have nothing in the image to be held against.

The grain expected of a brightness is measured where the breast is as bright. Of the one dense mass that outshines all
other tissue it is a guess, and a wrong guess looks like a forgery.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

LIKE = 0.01
"""Share of the breast, outside all loud places, that is to be about as bright."""
ENOUGH = 0.5
"""Share of a loud place that has so many like it. Of 76 forgeries found on validation images none has under .6
(docs/results.md)."""
LEVELS = 40
"""Steps of brightness; what lies in the two beside one's own is about as bright."""
SIDE, APART = 9, 9
"""Of the means that tell how bright a place is, and between a loud place and what it is held against; in logits."""


def without_like(plane: Plane, logits: Plane) -> Mask:
    """True in the connected places above logit 0 that hardly anything else in the breast is as bright as.

    `plane` (y, x) and `logits` (y / 2, x / 2, rounded up; -inf outside the breast); the answer has the logits' shape.
    """
    breast, loud = np.isfinite(logits), logits > 0
    count, places = cv2.connectedComponents(loud.view(np.uint8), connectivity=8)
    if count < 2:
        return np.zeros(logits.shape, np.bool_)
    bright = cv2.blur(np.ascontiguousarray(plane[::2, ::2], np.float32), (SIDE, SIDE))
    low, high = np.quantile(bright[breast], [0.002, 0.998])
    step = np.clip((bright - low) / max(high - low, 1e-6) * LEVELS, 0, LEVELS - 1).astype(np.int32)
    near = cv2.dilate(loud.view(np.uint8), np.ones((APART, APART), np.uint8)) > 0
    found = np.bincount(step[breast & ~near], minlength=LEVELS)
    like = np.convolve(found, np.ones(3), "same") >= LIKE * breast.sum()
    sizes = np.bincount(places[loud], minlength=count)
    have = np.bincount(places[loud], like[step[loud]], minlength=count)
    alone = have < ENOUGH * sizes
    alone[0] = False
    return np.asarray(alone[places])
