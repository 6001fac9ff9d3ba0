"""Where what lies in the phantom: organs as distances to their surfaces, in mm, negative inside.

Points are (z, y, x) mm from the middle of the scan: z upwards, y to the back, x to the patient's left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

BODY = (104.0, 148.0)
"""Half axes (y, x) of the trunk."""
CAVITY = (80.0, 118.0)
"""And of the space within the ribs."""
RIB_APART, RIB_FALL = 24.0, 34.0
"""How far ribs lie apart, and how much lower they end in front."""
VERTEBRA = 26.0
"""Height of a vertebra with its disc."""
HILUM = {-1: (6.0, 4.0, -24.0), 1: (12.0, 6.0, 26.0)}
"""Where vessels and bronchi enter the right (-1) and the left lung."""
CARINA = 26.0


@dataclass(frozen=True)
class Place:
    """Points of one height, moved a little from where they would be in a chest of ellipses."""

    z: Any
    y: Any
    x: Any
    uneven: Any = 0.0
    """By how much the diaphragm is higher there than a dome."""


def ellipse(y: Any, x: Any, half: tuple[Any, Any]) -> Any:
    """Distance from an ellipse about the origin, nearly."""
    return (np.hypot(y / half[0], x / half[1]) - 1) * np.minimum(*half)


def ball(at: Place, centre: tuple[float, float, float], half: tuple[float, float, float]) -> Any:
    """From an ellipsoid, nearly."""
    z, y, x = ((p - c) / h for p, c, h in zip((at.z, at.y, at.x), centre, half, strict=True))
    return (np.sqrt(z * z + y * y + x * x) - 1) * min(half)


def pipe(at: Place, centre: tuple[float, float], radius: float) -> Any:
    """From an upright cylinder about (y, x)."""
    return np.hypot(at.y - centre[0], at.x - centre[1]) - radius


def lungs(at: Place, low: float, high: float) -> Any:
    """From both lungs, of a scan from `low` to `high`: within the ribs, above the diaphragm, below the tips, beside
    the middle."""
    shrink = np.sqrt(np.clip(1 - ((at.z - 15) / (high + 8 - 15)).clip(0) ** 2, 0.01, 1))
    within = ellipse(at.y - 6 * (1 - shrink), at.x, (CAVITY[0] * shrink, CAVITY[1] * (0.25 + 0.75 * shrink)))
    middle = 20 + 9 * np.exp(-((at.y - 8) / 22) ** 2) - np.abs(at.x)
    return np.maximum.reduce([within, dome(at, low) - at.z, middle, -heart(at) + 2, -aorta(at) + 1.5, -spine(at) + 2.5])


def heart(at: Place) -> Any:
    """From heart and the roots of its vessels."""
    return np.minimum(ball(at, (-50, -26, 22), (62, 44, 54)), ball(at, (22, -24, 3), (60, 24, 27)))


def aorta(at: Place) -> Any:
    """From the descending aorta."""
    return pipe(at, (40.0, 21.0), 11.5)


def gullet(at: Place) -> Any:
    """From the oesophagus."""
    return pipe(at, (26.0, 4.0), 6.0)


def spine(at: Place) -> Any:
    """From the vertebrae's bodies."""
    waist = 2.0 * np.cos(2 * np.pi * at.z / VERTEBRA)
    return ellipse(at.y - 58, at.x, (15.0, 18.0)) - waist


def disc(at: Place) -> Any:
    """From the discs' middles, along z."""
    return np.abs((at.z + VERTEBRA / 2) % VERTEBRA - VERTEBRA / 2) - 3.5


def arch(at: Place) -> Any:
    """From the vertebrae's arches and spines."""
    ring = np.abs(np.hypot(at.y - 80, at.x * 0.9) - 12) - 3
    spinous = np.maximum.reduce([np.abs(at.x) - 3.5, 88 - at.y, at.y - 103, np.abs(disc(at) - 5) - 5])
    wings = np.maximum.reduce([np.abs(at.y - 78 - 0.1 * np.abs(at.x)) - 4, np.abs(at.x) - 34, 12 - np.abs(at.x),
                               np.abs(disc(at) - 5) - 4])
    return np.minimum(np.minimum(np.maximum(ring, 2 - disc(at)), spinous), wings)


def ribs(at: Place) -> Any:
    """From the ribs: rings about the cavity, lower in front, open at the breastbone and the spine."""
    turn = np.arctan2(np.abs(at.x) / CAVITY[1], at.y / CAVITY[0]) / np.pi
    along = (at.z + RIB_FALL * turn * 2 + RIB_APART / 3) % RIB_APART - RIB_APART / 2
    out = ellipse(at.y, at.x, (CAVITY[0] + 7, CAVITY[1] + 8))
    return np.maximum(np.hypot(along / 1.25, out) - 4.6, np.where(turn > 0.86, 99.0, -99.0) * (turn > 0.86))


def breastbone(at: Place) -> Any:
    """From the sternum."""
    return np.maximum(np.abs(at.y + 89) - 5, np.abs(at.x) - 17)


def blades(at: Place) -> Any:
    """From the shoulder blades, behind the ribs of the upper half."""
    out = ellipse(at.y, at.x, (CAVITY[0] + 19, CAVITY[1] + 18))
    turn = np.arctan2(np.abs(at.x) / CAVITY[1], at.y / CAVITY[0]) / np.pi
    return np.maximum.reduce([np.abs(out) - 2.2, np.abs(turn - 0.24) * 330 - 34, 5 - at.z])


def windpipe(at: Place) -> Any:
    """From the trachea, down to where it forks."""
    return np.maximum(np.hypot(at.y - 12, at.x) - 8.5, CARINA - at.z)


def belly(at: Place, low: float) -> Any:
    """From what lies below the diaphragm, of a scan that begins at `low`."""
    return np.maximum(ellipse(at.y, at.x, CAVITY), at.z - dome(at, low))


def dome(at: Place, low: float) -> Any:
    """Height of the diaphragm, whose right side is higher."""
    return low + 46 - 55 * np.hypot((at.y + 8) / 80, (np.abs(at.x) - 58) / 58) ** 2 - 7 * np.sign(at.x) + at.uneven


def couch(at: Place) -> Any:
    """From the couch, a thin bowl behind the patient."""
    return np.abs(at.y - 124 + np.square(at.x) / 900) - 9
