"""What every detector is, and the step from a heat map to findings that all of them share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.box import Box
from scanward.image import Image
from scanward.tiles import extent
from scanward.verdict import Evidence, Finding

Arrays = dict[str, npt.NDArray[Any]]
Region = tuple[Box, npt.NDArray[np.bool_], npt.NDArray[Any]]
"""The box, the region's voxels in it, and a contour (n, 1, 2) of its x, y in one slice."""

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
                least_mm: float = 2.0, most: int = 32) -> tuple[Finding, ...]:
    """Connected regions of a (z, y, x) heat map at or above `threshold`, strongest first.

    Neighbours in a plane are 8, in a volume 26; a hole in a region of a plane belongs to it. Regions smaller than a
    square or cube of `least_mm` are dropped; where the spacing is unknown, a slice's longer side counts as FILM_MM.
    """
    side = FILM_MM / max(heat.shape[1:])
    steps = (image.spacing or (1.0, side, side))[1 if heat.shape[0] == 1 else 0:]
    least = max(4.0, least_mm ** len(steps) / math.prod(steps))
    findings = []
    for box, inside, contour in (_planar if heat.shape[0] == 1 else _solid)(heat, threshold):
        if inside.sum() < least:
            continue
        peak = float(heat[box.slices][inside].max())
        outline = cv2.approxPolyDP(contour, 1.5, True).reshape(-1, 2)
        findings.append(Finding(box, min(1.0, peak), box.in_mm(image.spacing),
                                tuple((float(a), float(b)) for a, b in outline), method))
    return tuple(sorted(findings, key=lambda f: -f.score)[:most])


def _planar(heat: npt.NDArray[np.float32], threshold: float) -> Iterator[Region]:
    for contour in _contours(heat[0] >= threshold):
        x, y, w, h = cv2.boundingRect(contour)
        inside = np.zeros((h, w), np.uint8)
        cv2.drawContours(inside, [contour], -1, 1, cv2.FILLED, offset=(-x, -y))
        yield Box(0, y, x, 1, y + h, x + w), inside[None] > 0, contour


def _solid(heat: npt.NDArray[np.float32], threshold: float) -> Iterator[Region]:
    """The contour is that of the slice with the largest heat: it is the one that pictures show."""
    hot = heat >= threshold
    if not hot.any():
        return
    about = extent(hot)
    labels, _ = ndimage.label(hot[about], np.ones((3, 3, 3)))
    for number, own in enumerate(ndimage.find_objects(labels), 1):
        part = tuple(slice(one.start + all_of.start, one.stop + all_of.start)
                     for one, all_of in zip(own, about, strict=True))
        box, inside = Box.of(part), labels[own] == number
        hottest = np.where(inside, heat[part], -np.inf).max((1, 2)).argmax()
        yield box, inside, max(_contours(inside[hottest], (box.x0, box.y0)), key=cv2.contourArea)


def _contours(plane: npt.NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> Sequence[npt.NDArray[Any]]:
    return cv2.findContours(plane.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=corner)[0]


def regions(heat: npt.NDArray[np.float32], threshold: float, image: Image, method: str) -> tuple[Finding, ...]:
    """Findings of an image that was called tampered: where the heat is low everywhere, the places around its peak."""
    peak = float(heat.max())
    return findings_of(heat, threshold, image, method) or (
        findings_of(heat, 0.8 * peak, image, method, least_mm=0) if peak > 0 else ())


def recalibrated(probability: npt.NDArray[np.floating] | np.floating, slope: float,
            offset: float) -> npt.NDArray[np.float32]:
    """Calibrated probabilities: sigmoid(slope · logit(p) + offset) (Platt 1999)."""
    p = np.clip(np.asarray(probability, np.float32), 1e-6, 1 - 1e-6)
    return np.asarray(1 / (1 + np.exp(-(slope * np.log(p / (1 - p)) + offset))), np.float32)
