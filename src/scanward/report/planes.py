"""The axial, coronal and sagittal plane through a place in a volume, in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.image import Image
from scanward.regions import hottest, region_of
from scanward.report.heat import FOUND, Rgb, stroke, to_grey, window
from scanward.report.panels import row
from scanward.verdict import Finding, Verdict

AXES = ("axial", "coronal", "sagittal")
"""The planes across z, y and x of a volume that lies as most do."""
WIDE = 60.0
"""Millimetres that are shown around a finding; more around a larger one."""


@dataclass(frozen=True)
class Plane:
    """A square of one plane of a volume, `side` pixels wide."""

    title: str
    axis: int
    """Of (z, y, x), the one that it lies across."""
    index: int
    """Of the voxel that it goes through, along that axis."""
    move: npt.NDArray[np.float64]
    """(2, 3): takes (column, row) of the plane to those of the picture; centres of pixels are whole numbers."""
    side: int

    def cut(self, volume: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The square of a (z, y, x) volume; beyond the volume it is as dark as the plane's darkest voxel."""
        return self.picture(np.take(volume, self.index, self.axis))

    def picture(self, plane: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The square of values in the whole plane."""
        values = plane.astype(np.float32)
        return np.asarray(cv2.warpAffine(values, self.move, (self.side, self.side), flags=cv2.INTER_LINEAR,
                                         borderMode=cv2.BORDER_CONSTANT, borderValue=float(values.min())), np.float32)


def planes_through(image: Image, place: tuple[int, ...], reach: float, side: int) -> list[Plane]:
    """The three planes through a voxel (z, y, x), each with `reach` mm on every side of it; the head is up.

    Where the spacing is unknown, a voxel counts as a cube of a millimetre.
    """
    spacing, to_world = image.spacing or (1.0, 1.0, 1.0), image.provenance.to_world
    steps = np.eye(3) if to_world is None else np.array(to_world)[:, :3]
    upwards = steps[2, 2] >= 0
    planes = []
    for axis in range(3):
        # DICOM's x goes from right to left and is the axis that sagittal planes lie across.
        title = AXES[2 - int(np.abs(steps[:, 2 - axis]).argmax())]
        others = [other for other in range(3) if other != axis]
        flip = -1 if axis and upwards else 1
        down, right = (spacing[other] * side / (2 * reach) for other in others)
        y, x = (place[other] for other in others)
        middle = (side - 1) / 2
        move = np.array([[right, 0, middle - right * x], [0, flip * down, middle - flip * down * y]])
        planes.append(Plane(title, axis, min(max(place[axis], 0), image.shape[axis] - 1), move, side))
    return planes


def finding_planes(image: Image, verdict: Verdict, finding: Finding, *, side: int = 280) -> Rgb:
    """The three planes through a finding's hottest voxel in a row, each under its title, with its region outlined.

    Where its heat stays below its method's threshold, its box is outlined.
    """
    region = region_of(verdict, finding)
    if not region.any():
        region = np.ones_like(region)
    longest = max(n * mm for n, mm in zip(finding.box.size, image.spacing or (1.0, 1.0, 1.0), strict=True))
    panels = []
    for plane in planes_through(image, hottest(verdict, finding), max(WIDE / 2, 0.7 * longest), side):
        picture = np.dstack([to_grey(plane.cut(image.pixels), *window(image))] * 3)
        inside = plane.picture(_flat(region, finding, plane, image.shape)) >= 0.5
        contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            stroke(picture, contour.reshape(-1, 2).astype(np.float64), FOUND)
        where = f"slice {plane.index + 1}" if plane.axis == 0 else f"{'zyx'[plane.axis]} {plane.index}"
        panels.append((f"{plane.title}, {where}", picture))
    return row(panels)


def _flat(region: npt.NDArray[np.bool_], finding: Finding, plane: Plane,
          shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """What of a finding's region lies in a plane, in the whole of it."""
    others = [other for other in range(3) if other != plane.axis]
    flat = np.zeros([shape[other] for other in others], np.bool_)
    flat[tuple(finding.box.slices[other] for other in others)] = np.take(
        region, plane.index - finding.box[plane.axis], plane.axis)
    return flat
