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


def image_settings(rows: Sequence[Row]) -> dict[str, Any]:
    """`slopes` and `offset` (logistic regression on the rows' features) and `threshold`, from uncalibrated rows.

    The regression sees images as they were read: forgeries pass through no other step, and it must not learn the steps.
    The threshold lies midway between the loudest authentic image, whatever was done to it, that must stay silent and
    the next score above.
    Inconclusive rows are left out. Rows without features are calibrated on the logit of their score, and get one slope.
    """
    rows = [row for row in rows if row.conclusive]
    x = np.array([row.features or (logit(row.score),) for row in rows])
    y = np.array([bool(row.item.attack) for row in rows])
    untouched = np.array([row.item.step == "none" for row in rows])
    slopes, offset = regress(x[untouched], y[untouched])
    return {"slopes": slopes.tolist(), "offset": offset, "threshold": threshold_among(x @ slopes + offset, y)}


def threshold_among(logits: npt.NDArray[np.float64], forged: npt.NDArray[np.bool_]) -> float:
    """The score midway between the loudest authentic image that must stay silent, all but `FALSE_ALARMS` of them, and
    the next one above."""
    calm = np.sort(logits[~forged])[::-1]
    loudest = calm[int(FALSE_ALARMS * len(calm))]
    cut = (loudest + logits[logits > loudest].min(initial=loudest + 1)) / 2
    return float(1 / (1 + np.exp(-cut)))


def heat_settings(rows: Sequence[Row]) -> dict[str, float]:
    """`heat_slope`, `heat_offset` and `heat_threshold` = 0.5, so that 0.5 is where the mean IoU is largest."""
    forged = [row for row in rows if row.item.attack]
    best = int(ious(forged)[:, 1:].mean(0).argmax()) + 1
    return {"heat_slope": 1.0, "heat_offset": float(8 - 16 * best / BINS), "heat_threshold": 0.5}


def regress(x: npt.NDArray[np.float64], y: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], float]:
    """Slopes (≥ 0) and offset of P(forged) = sigmoid(x · slopes + offset), classes balanced (Platt 1999)."""
    weight = np.where(y, 0.5 / max(1, y.sum()), 0.5 / max(1, (~y).sum()))
    sign = np.where(y, 1.0, -1.0)

    def cost(w: npt.NDArray[np.float64]) -> float:
        return float((weight * np.logaddexp(0, -sign * (x @ w[:-1] + w[-1]))).sum() + 1e-3 * (w[:-1] ** 2).sum())

    start = np.append(np.full(x.shape[1], 1 / x.shape[1]), 0.0)
    found: Any = minimize(cost, start, method="L-BFGS-B", bounds=[(0, None)] * x.shape[1] + [(None, None)])
    return found.x[:-1], float(found.x[-1])


def logit(score: float) -> float:
    """The inverse of the sigmoid, finite at 0 and 1."""
    clipped = min(max(score, 1e-7), 1 - 1e-7)
    return float(np.log(clipped / (1 - clipped)))
