"""The retraction: how far tissue was drawn towards a point.

What is seen at p, at a distance r from the point, came from

    s(p) = p + a(p) R q (1 − q)² e,   q = r / R,

with e the unit vector away from the point, R where it ends and a(p) its strength, larger along the directions in which
the host's strands run. Displacement and its derivative vanish at R; s is injective while its Jacobian is positive.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from scanward.attacks.blend import Plane
from scanward.attacks.mammo_digital.form import ANGLES, polar

UNEVEN = 0.6
"""By how much the pull differs between directions, of its mean."""
WIDE = 20
"""Standard deviation, in directions, of what they are smoothed over."""
LEAST = 0.25
"""The smallest Jacobian: nothing is stretched to more than four times its area."""
SKIN = 0.5
"""Of a pixel's distance from the skin: the farthest that tissue came from."""


class Sources(NamedTuple):
    """Where each pixel of a square came from."""

    y: Plane
    """(a, a), pixels."""
    x: Plane

    def jacobian(self) -> Plane:
        """(a, a): by how much the area around each pixel was larger."""
        (yy, yx), (xy, xx) = np.gradient(self.y), np.gradient(self.x)
        return np.asarray(yy * xx - yx * xy, np.float32)

    def taken(self, square: Plane) -> Plane:
        """The square (a, a) with its tissue drawn in."""
        return np.asarray(cv2.remap(square, self.x, self.y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101),
                          np.float32)


def favoured(line: Plane, middle: tuple[float, ...], reach: float) -> Plane:
    """How hard each of `ANGLES` directions is pulled, 1 on average: more where there is more of the host's `lines`."""
    found = polar(line, middle, np.linspace(0.2 * reach, reach, 48)).mean(1)
    found = ndimage.gaussian_filter1d(found, WIDE, mode="wrap")
    return np.asarray(1 + UNEVEN * np.clip((found - found.mean()) / max(float(found.std()), 1e-6), -1, 1), np.float32)


def sources(side: int, middle: tuple[float, ...], reach: float, pull: float, favour: Plane, room: Plane) -> Sources:
    """Where the tissue of a square (side, side) came from that was drawn to `middle` (y, x) from within `reach` pixels.

    `pull` is a's mean; `favour` as from `favoured`; `room` (side, side) how far each pixel is from the skin:
    nothing comes from beyond `SKIN` of it. Where a fold would come, all of it is weaker.
    """
    y, x = (np.asarray(np.arange(side) - at, np.float32) for at in middle)
    away = np.maximum(np.hypot(y[:, None], x[None]), np.float32(1e-6))
    q = np.clip(away / reach, 0, 1)
    turn = (np.arctan2(y[:, None], x[None]) * (ANGLES / (2 * math.pi))) % ANGLES
    uneven = np.interp(turn, np.arange(ANGLES + 1), np.append(favour, favour[0]))
    uneven = 1 + (uneven - 1) * np.clip(2 * q, 0, 1)  # all directions are one in the middle
    for _ in range(40):
        far = np.minimum(pull * uneven * reach * q * (1 - q) ** 2, SKIN * room) / away
        found = Sources(*(np.asarray(at + steps * (1 + far), np.float32)
                          for at, steps in zip(middle, (y[:, None], x[None]), strict=True)))
        if side < 3 or float(found.jacobian().min()) >= LEAST:
            break
        pull *= 0.9
    return found
