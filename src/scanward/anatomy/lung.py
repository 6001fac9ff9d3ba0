"""Where the lungs are in a chest CT, coarsely: which places a lesion may take, and what counts as inside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.image import AIR, Image
from scanward.tiles import extent

COARSE_MM = 3.0
"""About the spacing within a slice that the segmentation works at."""
AIRY = -500.0
"""HU below which a voxel is air or lung."""
LARGEST_HOLE = 1000.0
"""Square millimetres of a hole in a slice of lung that is still a lesion: a disc of 36 mm."""
AIR_ALONE = -965.0
"""Median HU below which an airy region is air, as in the bowel."""
BODY = -300.0
"""HU above which a voxel is the patient's or the couch's."""
PART = 0.1
"""Of the largest dense thing: what is smaller is no part of the patient; a thin chest wall may break off it."""
WITHIN = 0.3
"""Share of a lung that lies within the convex outline of its body, slice by slice, however much of that the field of
view cuts off; what lies in the couch does not."""
LEAST_ML = 30.0
"""Smaller airy regions are bowel, throat or a gap in the clothes."""
SMALL = 0.1
"""Of the largest region of lung: what is smaller may be bowel or throat."""
BESIDE = 0.05
"""Of the largest slice of the others: a small region is lung only where they show more than that beside its middle."""


@dataclass(frozen=True)
class Lungs:
    """A coarse mask over a whole volume."""

    mask: npt.NDArray[np.bool_]
    """(z, y, x), True in the lungs, their vessels and small lesions included."""
    step: tuple[float, float, float]
    """Voxels of the volume a voxel of the mask, (z, y, x)."""
    spacing: tuple[float, float, float]
    """Millimetres a voxel of the mask."""

    @cached_property
    def depth(self) -> npt.NDArray[np.float32]:
        """Millimetres to the nearest voxel outside the lungs, (z, y, x) of the mask; the volume's ends are no edge."""
        found = np.zeros(self.mask.shape, np.float32)
        if self.mask.any():  # the nearest voxel outside is never beyond the box about the lungs and one voxel around
            box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in extent(self.mask))
            padded = np.pad(self.mask[box], ((1, 1), (0, 0), (0, 0)), mode="edge")
            found[box] = ndimage.distance_transform_edt(padded, self.spacing)[1:-1]
        return found

    def at(self, centre: tuple[float, float, float]) -> tuple[int, int, int]:
        """The mask's index (z, y, x) of a voxel of the volume."""
        z, y, x = (int(np.clip(c / s, 0, n - 1)) for c, s, n in zip(centre, self.step, self.mask.shape, strict=True))
        return z, y, x

    def voxel(self, index: tuple[int, ...]) -> tuple[float, float, float]:
        """The volume's voxel (z, y, x) in the middle of the mask's."""
        z, y, x = ((i + 0.5) * s - 0.5 for i, s in zip(index, self.step, strict=True))
        return float(z), float(y), float(x)


def inside(lungs: Lungs, z: int, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """The lungs in one slice, (y, x)."""
    small = lungs.mask[z].view(np.uint8)
    return cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST).view(np.bool_)


def lungs_of(image: Image) -> Lungs:
    """The lungs of a chest CT; empty where there are none.

    Of what is airy and no padding, regions within the body of more than 30 ml that hold more than air are lung, be they
    cut off by the field of view or not; closed over vessels and nodules and filled where lesions lie in them.
    """
    return lungs_in(image, coarse(image))


def coarse(image: Image) -> npt.NDArray[np.float32]:
    """The image (z, y, x) on the grid of its lungs' mask."""
    height, width = image.shape[1:]
    _, y, x = image.spacing or (1.0, 1.0, 1.0)
    factor = max(1, round(COARSE_MM / y)), max(1, round(COARSE_MM / x))
    size = (max(1, width // factor[1]), max(1, height // factor[0]))
    return np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in image.pixels])


def lungs_in(image: Image, small: npt.NDArray[np.float32]) -> Lungs:
    """`lungs_of` an image that is `small` on the mask's grid."""
    z, y, x = image.spacing or (1.0, 1.0, 1.0)
    step = (1.0, image.shape[1] / small.shape[1], image.shape[2] / small.shape[2])
    spacing = (z, y * step[1], x * step[2])
    labels, count = ndimage.label((small < AIRY) & (small > AIR + 1))
    volume = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(spacing) / 1000
    large = np.flatnonzero(volume[1:] >= LEAST_ML) + 1
    keep = np.zeros(count + 1, np.bool_)
    if large.size:
        boxes, body = ndimage.find_objects(labels), _body(small)
        for number in large:
            region = labels[boxes[number - 1]] == number
            keep[number] = np.median(small[boxes[number - 1]][region]) > AIR_ALONE and \
                body[boxes[number - 1]][region].mean() > WITHIN
    mask = near(keep[labels])
    ball = np.linalg.norm(np.mgrid[-1:2, -3:4, -3:4] * np.reshape(spacing, (3, 1, 1, 1)), axis=0) <= 9.5
    wide = np.pad(mask, ((1, 1), (3, 3), (3, 3)), mode="edge")
    closed = ~grown(~grown(wide, ball), ball)[1:-1, 3:-3, 3:-3]
    return Lungs(_filled(closed | mask, spacing[1] * spacing[2]), step, spacing)


def near(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask (z, y, x) without small regions above or below the lungs: gas of the throat, and of the bowel, whose
    contents make it as dense as lung. A collapsed lung lies beside the other one and stays."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    small = sizes < SMALL * sizes.max()
    small[0] = False
    others = (mask & ~small[labels]).sum((1, 2))
    shown = others > BESIDE * others.max()
    keep = ~small
    keep[0] = False
    boxes = ndimage.find_objects(labels)
    for number in np.flatnonzero(small):
        high = boxes[number - 1][0]
        keep[number] = shown[(high.start + high.stop - 1) // 2]
    return keep[labels]


def _filled(mask: npt.NDArray[np.bool_], pixel: float) -> npt.NDArray[np.bool_]:
    """The mask with the holes of its slices that a lesion could leave: larger ones are heart or liver."""
    made = mask.copy()
    for number, plane in enumerate(mask):
        if plane.any():
            outside = np.pad(plane, 1)
            _, labels, stats, _ = cv2.connectedComponentsWithStats((~outside).view(np.uint8), connectivity=4)
            small = stats[:, cv2.CC_STAT_AREA] * pixel <= LARGEST_HOLE
            small[[0, labels[0, 0]]] = False
            made[number] |= small[labels[1:-1, 1:-1]]
    return made


def grown(mask: npt.NDArray[np.bool_], ball: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask (z, y, x) dilated by a ball of odd sides that is its own mirror image; slice by slice in OpenCV, many
    times faster than SciPy. What lies beyond the mask is empty."""
    planes, reach = mask.view(np.uint8), len(ball) // 2
    made = np.zeros(mask.shape, np.uint8)
    for offset, kernel in enumerate(ball.astype(np.uint8), -reach):
        if kernel.any():
            for z in range(max(0, -offset), min(len(planes), len(planes) - offset)):
                made[z + offset] |= cv2.dilate(planes[z], kernel)
    return made.view(np.bool_)


def _body(small: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The convex outline of what is dense, slice by slice, after what is thin or small is gone: clothes, the couch."""
    square = np.ones((3, 3), np.uint8)
    dense = np.stack([np.asarray(cv2.morphologyEx((plane > BODY).astype(np.uint8), cv2.MORPH_OPEN, square), np.uint8)
                      for plane in small])
    labels, count = ndimage.label(dense)
    if count == 0:
        return dense
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = (sizes >= PART * sizes.max())[labels]
    made = np.zeros_like(dense)
    for number, plane in enumerate(body):
        rows = np.flatnonzero(plane.any(1))
        if plane.sum() > 2:  # the ends of the rows have the hull of all points
            ends = plane[rows].argmax(1), plane.shape[1] - 1 - plane[rows, ::-1].argmax(1)
            points = np.concatenate([np.stack([end, rows], 1) for end in ends])
            cv2.fillConvexPoly(made[number], cv2.convexHull(points.astype(np.int32)), 1)
    return made
