"""Whether an image passes for a digitised film, whose grain may be held against one curve. No header is asked."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from scanward.detectors.self_reference.local import unevenness
from scanward.detectors.self_reference.reference import Reference

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

EVEN = 0.08
"""`unevenness` from which on grain counts as processed by a maker: on films of validation and training .02 to .06, on
digital ones .17 and more, .14 where they were resampled; but .03 to .12 on digital mammograms of one more maker that
were reduced to 2,048 rows."""
FLAT = 0.992
"""Share of the ground beside the breast where neighbouring pixels are the same, from which on a computer made it. A
digitiser leaves noise there: of 204 films of training and validation nine have as much, of that one maker's 109 digital
mammograms that it was chosen on all but one (docs/results.md)."""
APART, GROUND = 0.03, 0.02
"""Of the square root of the breast's area, between it and what counts as ground; and the least share of the image."""


def like_film(plane: Plane, tissue: Mask, reference: Reference) -> bool:
    """Whether the grain of a plane (y, x) is even over the breast and its ground, where it shows one, was scanned."""
    return unevenness(reference, tissue) < EVEN and flat_ground(plane, tissue) < FLAT


def flat_ground(plane: Plane, tissue: Mask) -> float:
    """Share of the pixels away from the breast that are as bright as those to the right and below; 0 where there are
    too few of them to tell."""
    reach = max(4, round(APART * float(np.sqrt(tissue.sum()))))
    ground = cv2.dilate(tissue.view(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8))[:-1, :-1] == 0
    if ground.sum() < GROUND * ground.size:
        return 0.0
    same = (plane[:-1, :-1] == plane[:-1, 1:]) & (plane[:-1, :-1] == plane[1:, :-1])
    return float(same[ground].mean())
