"""What every detector is, and the step from a heat map to findings that all of them share."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from scanward.image import Image
from scanward.verdict import Evidence, Finding, box_in_mm

Arrays = dict[str, npt.NDArray[Any]]

FILM_MM = 240.0
"""The longer side of a common mammography film (18 × 24 cm)."""


class Detector(Protocol):
    """Finds forged regions. Built without arguments by `methods.build`; weights load on first use."""

    name: str

    def load(self) -> None:
        """Read the weights and import what is heavy, before threads start: libraries that fork or take locks as they
        are imported hang where others run by then. `WeightsError` where weights are missing or altered."""
        ...

    def detect(self, image: Image) -> Evidence:
        """Judge one image from its pixels, modality and spacing alone.

        A detector never reads `image.provenance`. An image that it cannot judge gives an `Evidence` with
        `conclusive=False` and a `reason`, not an exception.
        """
        ...


def findings_of(heat: npt.NDArray[np.float32], threshold: float, image: Image, method: str,
                least_mm2: float = 4.0, most: int = 32) -> tuple[Finding, ...]:
    """Connected regions of a (y, x) heat map at or above `threshold`, strongest first.

    Regions under `least_mm2` are dropped; where the spacing is unknown, the longer side counts as FILM_MM.
    """
    side = FILM_MM / max(heat.shape)
    _, height, width = image.spacing or (1.0, side, side)
    least = max(4.0, least_mm2 / (height * width))
    binary = (heat >= threshold).astype(np.uint8)
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    findings = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        inside = np.zeros((h, w), np.uint8)
        cv2.drawContours(inside, [contour], -1, 1, cv2.FILLED, offset=(-x, -y))
        if inside.sum() < least:
            continue
        box = (x, y, x + w, y + h)
        peak = float(heat[y:y + h, x:x + w][inside > 0].max())
        outline = cv2.approxPolyDP(contour, 1.5, True).reshape(-1, 2)
        findings.append(Finding(box, min(1.0, peak), box_in_mm(box, image),
                                tuple((float(a), float(b)) for a, b in outline), method))
    return tuple(sorted(findings, key=lambda f: -f.score)[:most])


def regions(heat: npt.NDArray[np.float32], threshold: float, image: Image, method: str) -> tuple[Finding, ...]:
    """Findings of an image that was called tampered: where the heat is low everywhere, the places around its peak."""
    peak = float(heat.max())
    return findings_of(heat, threshold, image, method) or (
        findings_of(heat, 0.8 * peak, image, method, least_mm2=0) if peak > 0 else ())


def recalibrated(probability: npt.NDArray[np.floating] | np.floating, slope: float,
            offset: float) -> npt.NDArray[np.float32]:
    """Calibrated probabilities: sigmoid(slope · logit(p) + offset) (Platt 1999)."""
    p = np.clip(np.asarray(probability, np.float32), 1e-6, 1 - 1e-6)
    return np.asarray(1 / (1 + np.exp(-(slope * np.log(p / (1 - p)) + offset))), np.float32)
