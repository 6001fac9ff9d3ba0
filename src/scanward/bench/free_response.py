"""Free response of a lesion detector on films: the places that it points at, and how many lesions it finds at so many
false positives a film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from scanward.metrics import auc

HIT_MM = 10.0
"""A place this near to the centre of a lesion is a hit, whatever the lesion's size."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """What a detector says of one film, held against its lesions."""

    score: float
    """Of the film: that of its loudest place."""
    lesions: tuple[float, ...]
    """Of each lesion: the loudest place that hits it, −∞ where none does."""
    false: tuple[float, ...]
    """Of each place that hits no lesion."""


def peaks(heat: npt.NDArray[np.float32], apart: float, most: int = 30) -> list[tuple[float, int, int]]:
    """(value, y, x) of the local maxima of `heat` (y, x), loudest first, at most `most`, each farther than `apart`
    pixels from those before it."""
    width = 2 * int(apart) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    places = np.argwhere(heat >= cv2.dilate(heat, disc))
    places = places[np.argsort(-heat[tuple(places.T)], kind="stable")]
    found: list[tuple[float, int, int]] = []
    while len(places) and len(found) < most:
        y, x = (int(v) for v in places[0])
        found.append((float(heat[y, x]), y, x))
        places = places[np.hypot(*(places - places[0]).T) > apart]
    return found


def read(places: Sequence[tuple[float, float, float]], lesions: Sequence[tuple[float, float, float]]) -> Reading:
    """Places (value, y, x) held against lesions (y, x, diameter), all in mm.

    A place within the lesion's radius of its centre, or within `HIT_MM` where that is more, is a hit. Several hits of
    one lesion count once, and none as false.
    """
    best, false = [-np.inf] * len(lesions), []
    for value, y, x in places:
        hit = [i for i, (v, u, diameter) in enumerate(lesions)
               if np.hypot(y - v, x - u) <= max(diameter / 2, HIT_MM)]
        for i in hit:
            best[i] = max(best[i], value)
        if not hit:
            false.append(value)
    return Reading(max((value for value, _, _ in places), default=-np.inf), tuple(best), tuple(false))


def sensitivity(readings: Sequence[Reading], allowed: float, weights: npt.ArrayLike | None = None) -> float:
    """The share of lesions that are louder than the loudest place with which there are more than `allowed` false
    positives a film; NaN without lesions. Each film counts `weights` (≥ 0) times."""
    w = np.ones(len(readings)) if weights is None else np.asarray(weights, np.float64)
    false, often = _flat([reading.false for reading in readings], w)
    order = np.argsort(-false, kind="stable")
    over = np.flatnonzero(np.cumsum(often[order]) > allowed * w.sum() + 1e-9)
    bar = false[order[over[0]]] if len(over) else -np.inf
    lesions, counts = _flat([reading.lesions for reading in readings], w)
    return float(counts[lesions > bar].sum() / counts.sum()) if counts.sum() else float("nan")


def film_auc(readings: Sequence[Reading], weights: npt.ArrayLike | None = None) -> float:
    """AUC of the films' scores, films with lesions against films without; NaN where one kind is absent."""
    return auc([reading.score for reading in readings], [bool(reading.lesions) for reading in readings], weights)


def _flat(values: Sequence[Sequence[float]], weights: Floats) -> tuple[Floats, Floats]:
    """All films' values, and how often each counts."""
    return (np.array([value for some in values for value in some], np.float64),
            np.repeat(weights, [len(some) for some in values]))
