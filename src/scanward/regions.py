"""Where a verdict's findings lie, voxel by voxel and slice by slice."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.verdict import Finding, Verdict

Line = npt.NDArray[np.float64]
"""(n, 2) vertices x, y of a closed line, where (0, 0) is the corner of the first pixel."""


def mask_of(verdict: Verdict) -> npt.NDArray[np.bool_]:
    """(z, y, x), True where a method's heat reaches its own threshold inside one of the verdict's findings."""
    mask = np.zeros(verdict.heat.shape, np.bool_)
    for finding in verdict.findings:
        mask[finding.box.slices] |= region_of(verdict, finding)
    return mask


def region_of(verdict: Verdict, finding: Finding) -> npt.NDArray[np.bool_]:
    """(z, y, x) of the finding's box, True where its method's heat reaches that method's own threshold; all False where
    a method found something below it."""
    region = np.zeros(verdict.heat[finding.box.slices].shape, np.bool_)
    for heat, threshold in _heats(verdict, finding):
        # In float32, as the detector compared them: .3 as a double lies below .3 as a float.
        region |= heat[finding.box.slices] >= np.float32(threshold)
    return region


def hottest(verdict: Verdict, finding: Finding) -> tuple[int, int, int]:
    """(z, y, x) of the voxel with the largest heat of the finding's method inside its box."""
    heat = max((heat[finding.box.slices] for heat, _ in _heats(verdict, finding)), key=np.max)
    z, y, x = (int(i) for i in np.unravel_index(heat.argmax(), heat.shape))
    return finding.box.z0 + z, finding.box.y0 + y, finding.box.x0 + x


def outline_of(finding: Finding) -> Line:
    """A finding's own outline, or its box where it has none."""
    if len(finding.outline) >= 3:
        return np.array(finding.outline, np.float64) + 0.5
    _, y0, x0, _, y1, x1 = finding.box
    return _rectangle(x0, y0, x1, y1)


def outlines_of(verdict: Verdict, finding: Finding) -> list[tuple[int, Line]]:
    """Every slice that a finding is in, with its outline there, as `outline_in` has it."""
    region, (z0, y0, x0) = region_of(verdict, finding), finding.box[:3]
    if verdict.heat.shape[0] == 1 or not region.any():
        return [(z, outline_of(finding)) for z in range(z0, finding.box.z1)]
    return [(z, line) for z, plane in enumerate(region, z0) if (line := _around(plane, x0, y0)) is not None]


def outline_in(verdict: Verdict, finding: Finding, index: int) -> Line | None:
    """The outline of a finding in the slice `index`; None where nothing of it is there.

    Of a film, and where its heat stays below the threshold everywhere, that is `outline_of`; in a volume it runs around
    the region's largest part in the slice.
    """
    z0, y0, x0, z1 = finding.box[:4]
    if not z0 <= index < z1:
        return None
    if verdict.heat.shape[0] == 1:
        return outline_of(finding)
    slab = dataclasses.replace(finding, box=finding.box._replace(z0=index, z1=index + 1))
    line = _around(region_of(verdict, slab)[0], x0, y0)
    return outline_of(finding) if line is None and not region_of(verdict, finding).any() else line


def parts_of(plane: npt.NDArray[np.bool_]) -> list[Line]:
    """The outlines of all parts of a plane (y, x), the largest first."""
    contours, _ = cv2.findContours(plane.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [_line(one.reshape(-1, 2)) for one in sorted(contours, key=_size, reverse=True)]


def _around(plane: npt.NDArray[np.bool_], x0: int, y0: int) -> Line | None:
    """The outline of the largest part of a plane that begins at (x0, y0)."""
    lines = parts_of(plane)
    return lines[0] + (x0, y0) if lines else None


def _size(contour: npt.NDArray[Any]) -> tuple[float, int]:
    return cv2.contourArea(contour), len(contour)


def _line(contour: npt.NDArray[Any]) -> Line:
    if len(contour) >= 3:
        return contour.astype(np.float64) + 0.5
    (left, top), (right, bottom) = contour.min(0), contour.max(0) + 1
    return _rectangle(left, top, right, bottom)


def _rectangle(x0: int, y0: int, x1: int, y1: int) -> Line:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


def _heats(verdict: Verdict, finding: Finding) -> list[tuple[npt.NDArray[np.float32], float]]:
    """The heat of the method that found it, with that method's own threshold."""
    own = [(e.heat, e.heat_threshold) for e in verdict.evidence if e.method == finding.method]
    return own or [(verdict.heat, verdict.threshold)]
