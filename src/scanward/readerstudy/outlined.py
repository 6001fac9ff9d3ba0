"""Cases of a closed study as their reader sees them: what was altered in white, the reader's marks in blue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from scanward.errors import UnreadableError
from scanward.formats.guard import shown
from scanward.image import Image, Provenance
from scanward.readerstudy.folder import Truth
from scanward.readerstudy.log import Mark, Spot
from scanward.report.heat import EDGE, FOUND, TRUTH, Rgb, png, stroke, to_grey
from scanward.report.panels import row
from scanward.report.planes import Plane, planes_through
from scanward.report.slices import volume_in
from scanward.web.volumes import WINDOWS

REACH_MM, SIDE = 60.0, 420
"""Of the planes through a place in a scan: millimetres on every side of it, and pixels of a picture."""
RING_MM = 8.0


def outlined(picture: Path, truth: Truth, marks: Sequence[Mark]) -> bytes:
    """A film of a closed study as PNG, with the forged region outlined in white and the reader's marks in blue."""
    grey = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise UnreadableError(f"{shown(picture)} is damaged; take it from a copy.")
    made = np.dstack([np.asarray(grey, np.uint8)] * 3)
    thick = max(2, max(grey.shape) // 500)
    if truth.mask is not None:
        around, _ = cv2.findContours(truth.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(made, around, -1, EDGE, thick + 2)
        cv2.drawContours(made, around, -1, TRUTH, thick)
    for mark in marks:
        x0, y0, x1, y1 = (round(v) for v in mark.box)
        for colour, width in ((EDGE, thick + 2), (FOUND, thick)):
            if mark.shape == "box":
                cv2.rectangle(made, (x0, y0), (x1, y1), colour, width)
            else:
                cv2.ellipse(made, ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2, (y1 - y0) // 2), 0, 0, 360,
                            colour, width)
    return png(np.asarray(made, np.uint8))


def outlined_scan(packed: Path, truth: Truth, spots: Sequence[Spot]) -> bytes:
    """A scan of a closed study as PNG: three planes through what was altered, then three through each mark; of a real
    scan without marks those through its middle."""
    _, low, high = WINDOWS[0]
    pixels = volume_in(packed).astype(np.float32)
    mm = np.linalg.norm(np.array(truth.to_mm)[:, :3], axis=0)
    image = Image(pixels, "CT", (float(mm[2]), float(mm[1]), float(mm[0])), provenance=Provenance(
        to_world=tuple(map(tuple, truth.to_mm))))  # type: ignore[arg-type]
    whole = np.zeros(pixels.shape, np.bool_)
    places: list[tuple[str, tuple[int, ...]]] = []
    if truth.mask is not None and truth.box is not None:
        x0, y0, z0, x1, y1, z1 = truth.box
        whole[z0:z1, y0:y1, x0:x1] = truth.mask
        forged = np.argwhere(truth.mask)
        middle = forged[np.abs(forged - forged.mean(0)).sum(1).argmin()] + (z0, y0, x0)
        places.append(("altered", tuple(int(v) for v in middle)))
    places += [(f"mark {number}", spot.at[::-1]) for number, spot in enumerate(spots, 1)]
    if not places:
        places.append(("no mark", tuple(side // 2 for side in pixels.shape)))
    rows = []
    for name, place in places:
        panels = []
        for plane in planes_through(image, place, REACH_MM, SIDE):
            picture = np.dstack([to_grey(plane.cut(pixels), low, high)] * 3)
            _draw_truth(picture, plane, whole)
            for number, spot in enumerate(spots, 1):
                _draw_spot(picture, plane, spot, number, mm)
            panels.append((f"{name}: {plane.title} {plane.index + 1}", picture))
        rows.append(row(panels))
    return png(np.vstack(rows))


def _draw_truth(picture: Rgb, plane: Plane, whole: npt.NDArray[np.bool_]) -> None:
    inside = plane.cut(whole) >= 0.5
    around, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for one in around:
        stroke(picture, one.reshape(-1, 2).astype(np.float64), TRUTH)


def _draw_spot(picture: Rgb, plane: Plane, spot: Spot, number: int, mm: npt.NDArray[np.float64]) -> None:
    """A ring where a mark lies within `RING_MM` of the plane."""
    voxel = spot.at[::-1]
    if abs(voxel[plane.axis] - plane.index) * mm[2 - plane.axis] > RING_MM:
        return
    down, across = (voxel[axis] for axis in range(3) if axis != plane.axis)
    x, y = (round(float(v)) for v in plane.move @ np.array([across, down, 1.0]))
    radius = round(RING_MM * SIDE / (2 * REACH_MM))
    for colour, width in ((EDGE, 4), (FOUND, 2)):
        cv2.circle(picture, (x, y), radius, colour, width, cv2.LINE_AA)
        cv2.putText(picture, str(number), (x + radius + 4, y - radius), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, width,
                    cv2.LINE_AA)
