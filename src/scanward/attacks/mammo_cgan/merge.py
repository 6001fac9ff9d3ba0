"""Stages 6 to 8 of Mammo-CGAN as plain arithmetic: how a generated square joins its host (Bar-on 2020, section 2.3).

    (2.1)  M = W · G + (1 − W) · O
    (2.2)  W(x, y) = (1 − D(x, y)^p) · S((G(x, y) − Th) / α)
    (2.3)  S(x) = 1 / (1 + e^(−x))

The published constants (values over 1100, Th 400, α 20, σ 10) hold for its own 12-bit films. `Intensities` derives
them from any host:

    black, white = the 0.5th percentile of the film and the 99.9th of its breast    (published: 0 and 1100)
    Th = the 30th percentile of the host's square
    α  = 20 / 1100 · (white − black)
    σ  = the standard deviation of the host's own white grain in the square
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import breast_mask
from scanward.attacks.blend import Plane
from scanward.attacks.grain import grain
from scanward.errors import ArgumentError

SIDE = 64
"""Pixels a side of what the networks see."""
CENTRE = 44
"""Pixels a side of what is zeroed and generated anew."""
MOST = 1e9
"""No stored value is as large; what is would overflow."""
LESION = 36
"""Of the square's 64 pixels a lesion of the wanted diameter takes 36: the 44 that are generated hold it whole."""
TRUTH = 0.65
"""Pixels that weigh this much or more are the truth (the published code)."""


@dataclass(frozen=True)
class Intensities:
    """How a host's stored values relate to the networks', and the constants of stages 7 and 8."""

    black: float
    """Stored value that the networks see as 0."""
    white: float
    """Stored value that they see as 1 (published: 1100)."""
    threshold: float
    """Th, stored value."""
    alpha: float
    """α, stored values."""
    sigma: float
    """Standard deviation of the added noise, stored values."""
    power: float = 3.0
    """p."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def square_side(diameter: float) -> int:
    """Pixels a side of the square around a lesion of `diameter` pixels."""
    return max(8, round(diameter * SIDE / LESION))


def intensities_of(plane: Plane, square: Plane) -> Intensities:
    """The formulas at the top of this file, of a film (y, x) and of the square cut out of it."""
    black, white = levels_of(plane)
    return Intensities(black, white, float(np.percentile(square, 30)), 20 / 1100 * (white - black), grain(square))


def levels_of(plane: Plane) -> tuple[float, float]:
    """A film's black and white."""
    step = 4 if min(plane.shape) >= 512 else 1
    thin = np.ascontiguousarray(plane[::step, ::step])
    inside = breast_mask(thin)
    black = float(np.percentile(thin, 0.5))
    white = float(np.percentile(thin[inside] if inside.any() else thin, 99.9))
    return black, max(white, black + 1e-6)


def chebyshev(side: int) -> Plane:
    """D (side, side): Chebyshev distance from the centre, 1 on the border."""
    if side < 2:
        return np.zeros((side, side), np.float32)
    middle = (side - 1) / 2
    from_middle = np.abs(np.arange(side) - middle) / middle
    return np.maximum(from_middle[:, None], from_middle[None, :]).astype(np.float32)


def weight(generated: Plane, how: Intensities, *, everything: bool = False) -> Plane:
    """W (2.2) of a generated square; with `everything` without its second factor, for removals, whose whole square
    counts and not only what is bright."""
    edge = 1 - chebyshev(generated.shape[0]) ** np.float32(how.power)
    if everything:
        return edge
    steps = np.clip((generated - how.threshold) / how.alpha, -60, 60)
    return np.asarray(edge / (1 + np.exp(-steps)), np.float32)


def merge(generated: Plane, original: Plane, share: Plane) -> Plane:
    """M (2.1)."""
    return np.asarray(share * generated + (1 - share) * original, np.float32)


def resized(square: Plane, side: int, antialias: bool) -> Plane:
    """A square resized bilinearly to `side`; with `antialias` each pixel of a smaller one is the mean of what it
    covers, without which a shrunken square's grain is as strong as the film's."""
    way = cv2.INTER_AREA if antialias and side < square.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (side, side), interpolation=way), np.float32)


def symmetric(square: Plane, turn: int, *, back: bool = False) -> Plane:
    """One of the square's eight symmetries, `turn` from 0 to 7; with `back` what undoes it."""
    steps = -1 if turn & 1 else 1, -1 if turn & 2 else 1
    if turn & 4 and not back:
        square = square.T
    square = square[::steps[0], ::steps[1]]
    return np.ascontiguousarray(square.T if turn & 4 and back else square, np.float32)


def centre_mask() -> npt.NDArray[np.bool_]:
    """(64, 64), True on the central 44×44."""
    mask = np.zeros((SIDE, SIDE), np.bool_)
    edge = (SIDE - CENTRE) // 2
    mask[edge:-edge, edge:-edge] = True
    return mask


def check(how: Intensities) -> None:
    """`ArgumentError` for constants that make no sense."""
    for name, value, least in (("threshold", how.threshold, -MOST), ("alpha", how.alpha, 1e-9),
                               ("sigma", how.sigma, 0), ("power", how.power, 1e-3)):
        if not least <= value <= MOST:
            raise ArgumentError(f"--{name} {value:g} cannot be used; give a number from "
                                f"{least:g} to {MOST:g}.")
