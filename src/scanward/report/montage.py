"""Many slices of a volume in one picture, with heat and findings on them."""

from __future__ import annotations

import numpy as np

from scanward.image import Image
from scanward.regions import hottest
from scanward.report.heat import Rgb, layers, overlay
from scanward.report.panels import PAPER, row
from scanward.verdict import Verdict

MOST = 12
"""Slices in one picture."""
COLUMNS = 4


def montage(image: Image, verdict: Verdict, *, side: int = 220) -> Rgb:
    """The slices that `shown_slices` names, at most `side` pixels wide and high, each under its number, which counts
    from 1: uint8 (y, x, 3). Raises `ValueError` where the heat has not the image's shape."""
    shown = shown_slices(verdict)
    panels = [(f"slice {z + 1} of {image.shape[0]}", _square(image, verdict, z, side)) for z in shown]
    columns = min(COLUMNS, len(panels))
    rows = [row(panels[i:i + columns]) for i in range(0, len(panels), columns)]
    width = rows[0].shape[1]
    return np.vstack([np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0)), constant_values=PAPER) for one in rows])


def shown_slices(verdict: Verdict, most: int = MOST) -> list[int]:
    """At most `most` slices in ascending order: those with findings, the hottest of each finding before others; of a
    verdict without findings some that lie evenly over the volume."""
    depth = verdict.heat.shape[0]
    if not verdict.findings:
        return _spread(list(range(depth)), most)
    first = list(dict.fromkeys(hottest(verdict, finding)[0] for finding in verdict.findings))[:most]
    touched = {z for finding in verdict.findings for z in range(finding.box.z0, finding.box.z1)}
    return sorted(first + _spread(sorted(touched - set(first)), most - len(first)))


def summary(image: Image, verdict: Verdict) -> Rgb:
    """One picture of a verdict for those who see no other: of a volume its montage, of a film the `overlay`."""
    return montage(image, verdict, side=320) if image.shape[0] > 1 else overlay(image, verdict)


def _spread(slices: list[int], most: int) -> list[int]:
    """At most so many of them, in the middles of equal parts."""
    count = min(most, len(slices))
    return [slices[int((i + 0.5) * len(slices) / count)] for i in range(count)]


def _square(image: Image, verdict: Verdict, index: int, side: int) -> Rgb:
    _, y, x = image.shape
    picture = layers(image, verdict, width=max(1, min(side, round(side * x / y))), index=index).merged()
    height, width = picture.shape[:2]
    canvas = np.zeros((max(side, height, width), max(side, height, width), 3), np.uint8)
    top, left = (len(canvas) - height) // 2, (len(canvas) - width) // 2
    canvas[top:top + height, left:left + width] = picture
    return canvas
