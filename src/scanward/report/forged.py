"""Pictures of a forgery: before and after, and the stages on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from scanward.report.heat import Rgb, to_grey, window
from scanward.report.panels import row
from scanward.report.planes import planes_through

if TYPE_CHECKING:
    from scanward.attacks.base import Tamper
    from scanward.attacks.mammo_cgan.inject import Stages
    from scanward.image import Image

SIDE = 320
TRUTH = (64, 200, 255)


def before_after(host: Image, tamper: Tamper) -> Rgb:
    """The place before, after, and after with the truth outlined; and the whole film with the place marked."""
    mask = tamper.mask[0]
    ys, xs = np.nonzero(mask)
    y, x = (ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2
    reach = max(24.0, 1.4 * max(np.ptp(ys) + 1, np.ptp(xs) + 1))
    low, high = window(host)

    def view(plane: npt.NDArray[np.float32]) -> Rgb:
        return _grey(_cut(plane, y, x, reach), low, high)

    outlined = view(tamper.image.plane)
    inside = (_cut(mask.astype(np.float32), y, x, reach) > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(outlined, contours, -1, TRUTH, 2)
    panels = [("before", view(host.plane)), ("after", view(tamper.image.plane)), ("truth", outlined),
              ("whole film, after", _whole(tamper.image, (y, x), reach, low, high))]
    return row(panels)


def planes_before_after(host: Image, tamper: Tamper) -> Rgb:
    """Each lesion of a volume in the axial, coronal and sagittal plane through it: before, after, and after with
    the truth outlined; at most four lesions."""
    rows, shades = [], window(host)
    for place in tamper.record.params["places"][:4]:
        centre = tuple(round(c) for c in place["centre"])
        panels = []
        for plane in planes_through(host, centre, max(20.0, 1.1 * place["diameter_mm"]), SIDE):
            before, after, truth = (plane.cut(volume) for volume in (host.pixels, tamper.image.pixels, tamper.mask))
            outlined = _grey(after, *shades)
            contours, _ = cv2.findContours((truth > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(outlined, contours, -1, TRUTH, 1)
            panels.append(np.vstack([row([(f"{plane.title}, {name}", picture)]) for name, picture in (
                ("before", _grey(before, *shades)), ("after", _grey(after, *shades)),
                ("truth", outlined))]))
        rows.append(np.hstack(panels))
    return np.vstack(rows)


def stages_picture(stages: Stages) -> Rgb:
    """The eight stages of Mammo-CGAN (Bar-on 2020, figure 9) and what of stage 7 went into stage 8."""
    low, high = (float(v) for v in np.percentile(stages.original, (0.5, 99.5)))
    low, high = min(low, float(stages.large.min())), max(high, float(np.percentile(stages.large, 99.5)), low + 1e-6)
    small_low, small_high = float(stages.small.min()), max(float(stages.small.max()), float(stages.completed.max()))
    shown = [("1 original", stages.original, low, high), ("2 resized", stages.small, small_low, small_high),
             ("3 centre zeroed", stages.zeroed, small_low, small_high),
             ("4 first generator", stages.painted, small_low, small_high),
             ("5 second generator", stages.completed, small_low, small_high),
             ("6 original size", stages.large, low, high), ("7 with grain: G", stages.noisy, low, high),
             ("8 merged: M", stages.merged, low, high), ("what of G went into M: W", stages.weight, 0.0, 1.0)]
    panels = [(title, _grey(_fit(plane), a, b)) for title, plane, a, b in shown]
    rows = [row(panels[i:i + 3]) for i in range(0, 9, 3)]
    return np.vstack(rows)


def _cut(plane: npt.NDArray[np.float32], y: float, x: float, reach: float) -> npt.NDArray[np.float32]:
    """The square of `reach` around a place, resized to a panel; black beyond the film."""
    zoom = SIDE / (2 * reach)
    if zoom < 0.7:
        shrink = max(1, int(1 / zoom))
        plane = np.asarray(cv2.blur(plane, (shrink, shrink)), np.float32)
    move = np.array([[zoom, 0, SIDE / 2 - zoom * (x + 0.5)], [0, zoom, SIDE / 2 - zoom * (y + 0.5)]])
    return np.asarray(cv2.warpAffine(plane, move, (SIDE, SIDE), flags=cv2.INTER_LINEAR), np.float32)


def _fit(square: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    way = cv2.INTER_AREA if square.shape[0] > SIDE else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=way), np.float32)


def _whole(image: Image, place: tuple[float, float], reach: float, low: float, high: float) -> Rgb:
    height, width = image.plane.shape
    zoom = SIDE / max(height, width)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    grey = _grey(np.asarray(cv2.resize(image.plane, size, interpolation=cv2.INTER_AREA), np.float32), low, high)
    (y, x), r = (place[0] * zoom, place[1] * zoom), reach * zoom
    cv2.rectangle(grey, (round(x - r), round(y - r)), (round(x + r), round(y + r)), TRUTH, 1)
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    canvas[top:top + size[1], left:left + size[0]] = grey
    return canvas


def _grey(plane: npt.NDArray[np.float32], low: float, high: float) -> Rgb:
    return np.dstack([to_grey(plane, low, high)] * 3)
