"""From a detector's raw answers on the validation split to the settings that ship with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from scanward.bench.measure import BINS, Row, ious

FALSE_ALARMS = 0.02
"""Share of authentic validation images that the image threshold lets through as alarms."""


def image_settings(rows: Sequence[Row]) -> dict[str, float]:
    """`slope`, `offset` (Platt scaling with both classes weighing the same) and `threshold`, from uncalibrated rows.

    The threshold lies midway between the loudest authentic image that must stay silent and the next score above.
    """
    x = np.array([logit(row.score) for row in rows])
    y = np.array([bool(row.item.attack) for row in rows])
    slope, offset = platt(x, y)
    calm = np.sort(x[~y])[::-1]
    loudest = calm[int(FALSE_ALARMS * len(calm))]
    cut = (loudest + x[x > loudest].min(initial=loudest + 1)) / 2
    return {"slope": slope, "offset": offset, "threshold": float(1 / (1 + np.exp(-(slope * cut + offset))))}


def heat_settings(rows: Sequence[Row]) -> dict[str, float]:
    """`heat_slope`, `heat_offset` and `heat_threshold` = 0.5, so that 0.5 is where the mean IoU is largest."""
    forged = [row for row in rows if row.item.attack]
    best = int(ious(forged)[:, 1:].mean(0).argmax()) + 1
    return {"heat_slope": 1.0, "heat_offset": float(8 - 16 * best / BINS), "heat_threshold": 0.5}


def platt(x: npt.NDArray[np.float64], y: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of P(forged) = sigmoid(slope · x + offset), classes balanced (Platt 1999)."""
    weight = np.where(y, 0.5 / max(1, y.sum()), 0.5 / max(1, (~y).sum()))
    sign = np.where(y, 1.0, -1.0)

    def cost(w: npt.NDArray[np.float64]) -> float:
        return float((weight * np.logaddexp(0, -sign * (w[0] * x + w[1]))).sum() + 1e-3 * w[0] ** 2)

    found: Any = minimize(cost, np.array([1.0, 0.0]), method="BFGS")
    return float(found.x[0]), float(found.x[1])


def logit(score: float) -> float:
    """The inverse of the sigmoid, finite at 0 and 1."""
    clipped = min(max(score, 1e-7), 1 - 1e-7)
    return float(np.log(clipped / (1 - clipped)))
