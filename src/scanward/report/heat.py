"""Pictures of a verdict: the windowed image, the heat over it, and the outlines of what was found.

Colours are safe for the usual colour deficiencies: the grey image, an inferno scale whose lightness alone carries
the heat, findings in solid sky blue and truth in dashed white, both with a dark edge so that they stand on any tissue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import breast_mask
from scanward.image import Image
from scanward.mark import marked_png
from scanward.modality import traits
from scanward.regions import outline_in, outline_of
from scanward.verdict import Finding, Verdict

Rgb = npt.NDArray[np.uint8]
"""(y, x, 3), red green blue."""
Rgba = npt.NDArray[np.uint8]
"""(y, x, 4), red green blue opacity; not premultiplied."""

FOUND = (86, 180, 233)
TRUTH = (255, 255, 255)
EDGE = (0, 0, 0)
STRONGEST_OPACITY = 0.72
NUMBER = 0.62
"""Size of a finding's number."""
SMALLEST = 480
"""Images narrower than this are enlarged by a whole factor, so that outlines and numbers stay legible."""


@dataclass(frozen=True)
class Layers:
    """The three pictures that make an overlay; equal (y, x)."""

    grey: Rgb
    heat: Rgba
    marks: Rgba
    """Outlines, rank numbers and the scale bar."""
    slice_index: int = 0

    def merged(self) -> Rgb:
        return _over(_over(self.grey, self.heat), self.marks)


def overlay(image: Image, verdict: Verdict, *, width: int = 900, truth: npt.NDArray[np.bool_] | None = None) -> Rgb:
    """The image with its heat, findings, scale bar and, where given, the truth: uint8 (y, x, 3).

    The picture is at most `width` pixels wide and twice as high, in the image's own proportions. `truth` is a
    (z, y, x) or (y, x) mask. Of a volume it shows the slice with the strongest heat. Raises `ValueError` where the
    heat or the truth has not the image's shape.
    """
    return layers(image, verdict, width=width, truth=truth).merged()


def layers(image: Image, verdict: Verdict, *, width: int = 900, truth: npt.NDArray[np.bool_] | None = None,
           weight: int = 1, index: int | None = None) -> Layers:
    """What `overlay` merges, apart. `weight` thickens lines and letters for pictures that are shown reduced; `index`
    is the slice that is shown, the one with the strongest heat where it is None."""
    _check_shapes(image, verdict, truth)
    index = strongest_slice(verdict) if index is None else index
    size, scale = _fit(image, width)
    grey = np.dstack([windowed(image, index, size)] * 3)
    small_heat = cv2.resize(verdict.heat[index], size, interpolation=_interpolation(scale))
    marks = np.zeros((*grey.shape[:2], 4), np.uint8)
    if truth is not None:
        plane = truth[index] if truth.ndim == 3 else truth
        _draw_truth(marks, plane, scale, weight)
    bar = np.zeros_like(marks)
    taken = _draw_scale_bar(bar, image, scale, weight)
    _draw_findings(marks, verdict, index, scale, weight, taken)
    marks = np.where(bar[..., 3:] > 0, bar, marks)
    return Layers(grey, _colour(small_heat, _low_level(verdict)), marks, index)


def truth_marks(image: Image, verdict: Verdict, truth: npt.NDArray[np.bool_], *, width: int = 900,
                weight: int = 1) -> Rgba:
    """The truth's outline, faintly filled, as a layer over `Layers.grey` of the same width."""
    _check_shapes(image, verdict, truth)
    size, scale = _fit(image, width)
    plane = truth[strongest_slice(verdict)] if truth.ndim == 3 else truth
    marks = np.zeros((size[1], size[0], 4), np.uint8)
    inside = cv2.resize(plane.astype(np.uint8), size, interpolation=_interpolation(scale)) > 0
    marks[inside] = (*TRUTH, 45)
    _draw_truth(marks, plane, scale, weight)
    _draw_scale_bar(marks, image, scale, weight)
    return marks


def heat_png(image: Image, verdict: Verdict, *, width: int = 900,
             truth: npt.NDArray[np.bool_] | None = None) -> bytes:
    """`overlay` as a PNG file."""
    return png(overlay(image, verdict, width=width, truth=truth))


def crop(image: Image, verdict: Verdict, finding: Finding, *, side: int = 240, margin: float = 0.6) -> Rgb:
    """A square close-up of one finding with its outline and no heat: uint8 (side, side, 3).

    `margin` is what is shown around the box on every side, as a part of the box's longer side.
    """
    z, y, x = finding.box.centre
    index = int(z)
    reach = max(8.0, max(finding.box.size[1:]) * (0.5 + margin))
    zoom = side / (2 * reach)
    move = np.array([[zoom, 0, side / 2 - zoom * x], [0, zoom, side / 2 - zoom * y]])
    low, high = window(image, index)
    if zoom < 0.5:
        # Warping samples points; averaging first keeps fine grain from turning into moire.
        shrink = max(1, int(1 / zoom))
        plane = cv2.blur(image.pixels[index], (shrink, shrink))
    else:
        plane = image.pixels[index]
    # The pixel (0, 0) covers [0, 1) here as in a box, while OpenCV puts its centre at 0.
    centred = move.copy()
    centred[:, 2] += zoom / 2 - 0.5
    view = cv2.warpAffine(plane, centred, (side, side), flags=cv2.INTER_LINEAR, borderValue=low)
    picture = np.dstack([to_grey(view, low, high)] * 3)
    line = outline_of(finding) @ move[:, :2].T + move[:, 2]
    stroke(picture, line, FOUND)
    return picture


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """A grey, RGB or RGBA picture as a PNG file without any metadata but the mark that it is Scanward's own."""
    return marked_png(_encode(picture, ".png", [cv2.IMWRITE_PNG_COMPRESSION, 6]))


def jpeg(picture: npt.NDArray[np.uint8], quality: int = 86) -> bytes:
    """A grey or RGB picture as a JPEG file without any metadata."""
    # Halved colour resolution would smear the thin outlines.
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
               cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _encode(picture, ".jpg", options)


def strongest_slice(verdict: Verdict) -> int:
    """Index z of the slice with the largest heat."""
    if verdict.heat.shape[0] == 1:
        return 0
    return int(np.argmax(verdict.heat.max(axis=(1, 2))))


def window(image: Image, index: int = 0) -> tuple[float, float]:
    """The values that become black and white: the modality's, or the 1st and 99.5th percentile of the breast."""
    known = traits(image.modality).window
    if known is not None:
        return known
    step = max(1, max(image.shape[1:]) // 1024)
    plane = np.ascontiguousarray(image.pixels[index, ::step, ::step])
    tissue = plane[breast_mask(plane)]
    if tissue.size < 64:
        tissue = plane.ravel()
    low, high = (float(v) for v in np.percentile(tissue, (1, 99.5)))
    return (low, high) if high > low else (low - 1, low + 1)


def windowed(image: Image, index: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """One slice as grey uint8 of `size` (width, height)."""
    low, high = window(image, index)
    scale = size[0] / image.shape[2]
    return to_grey(cv2.resize(image.pixels[index], size, interpolation=_interpolation(scale)), low, high)


def to_grey(plane: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Values from `low` (black) to `high` (white)."""
    return np.rint(np.clip((plane - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)


def _fit(image: Image, width: int) -> tuple[tuple[int, int], float]:
    """(width, height) of the picture and picture pixels per image pixel."""
    _, y, x = image.shape
    scale = min(width / x, 2 * width / y)
    if scale > 1:
        scale = float(max(1, int(min(scale, SMALLEST / x))))
    return (max(1, round(x * scale)), max(1, round(y * scale))), scale


def _interpolation(scale: float) -> int:
    return cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST


def _check_shapes(image: Image, verdict: Verdict, truth: npt.NDArray[np.bool_] | None) -> None:
    if verdict.heat.shape != image.shape:
        raise ValueError(f"the heat is {verdict.heat.shape} where the image is {image.shape}")
    if truth is not None and truth.shape not in (image.shape, image.shape[1:]):
        raise ValueError(f"the truth is {truth.shape} where the image is {image.shape}")


def _low_level(verdict: Verdict) -> float:
    """Heat below this is not drawn: half of the level at which a voxel would belong to a finding."""
    if len(verdict.evidence) == 1:
        return 0.5 * verdict.evidence[0].heat_threshold
    return 0.25


def _colour(heat: npt.NDArray[np.float32], low: float) -> Rgba:
    strength = np.clip((heat - low) / max(1e-6, 1 - low), 0, 1)
    # The scale's black end would read as dark tissue, so it starts at its purple.
    index = np.rint(90 + strength * (245 - 90)).astype(np.uint8)
    rgb = cv2.cvtColor(cv2.applyColorMap(index, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    opacity = np.rint(255 * STRONGEST_OPACITY * np.sqrt(strength)).astype(np.uint8)
    return np.dstack([rgb, opacity])


def _over(below: Rgb, above: Rgba) -> Rgb:
    opacity = above[..., 3:].astype(np.float32) / 255
    mixed = below * (1 - opacity) + above[..., :3] * opacity
    return np.rint(mixed).astype(np.uint8)


def stroke(canvas: npt.NDArray[np.uint8], line: npt.NDArray[np.floating], colour: tuple[int, int, int],
           *, dash: int = 0, weight: int = 1) -> None:
    """Draw a closed line with a dark edge on an RGB or RGBA canvas; dashes are `dash` pixels long."""
    thick = weight * (2 if max(canvas.shape[:2]) >= 200 else 1)
    opaque = (255,) if canvas.shape[2] == 4 else ()
    parts = _dashes(line, dash) if dash else [np.rint(line).astype(np.int32).reshape(-1, 1, 2)]
    for tone, width in ((EDGE, thick + 2), (colour, thick)):
        for part in parts:
            cv2.polylines(canvas, [part], not dash, (*tone, *opaque), width, cv2.LINE_AA if not opaque else cv2.LINE_8)


def _dashes(line: npt.NDArray[np.floating], dash: int) -> list[npt.NDArray[np.int32]]:
    """Every other stretch of `dash` pixels along a closed line, as short polylines."""
    closed = np.vstack([line, line[:1]])
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    if along[-1] < 2 * dash:
        return [np.rint(closed).astype(np.int32).reshape(-1, 1, 2)]
    starts: Iterable[float] = np.arange(0, along[-1], 2 * dash)
    parts = []
    for start in starts:
        at = np.linspace(start, min(start + dash, along[-1]), max(2, dash // 3))
        points = np.column_stack([np.interp(at, along, closed[:, 0]), np.interp(at, along, closed[:, 1])])
        parts.append(np.rint(points).astype(np.int32).reshape(-1, 1, 2))
    return parts


def _draw_truth(marks: Rgba, plane: npt.NDArray[np.bool_], scale: float, weight: int) -> None:
    contours, _ = cv2.findContours(plane.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        stroke(marks, (contour.reshape(-1, 2) + 0.5) * scale, TRUTH, dash=7 + 3 * (weight - 1), weight=weight)


def _draw_findings(marks: Rgba, verdict: Verdict, index: int, scale: float, weight: int,
                   taken: npt.NDArray[np.bool_]) -> None:
    lines = {rank: line * scale for rank, finding in enumerate(verdict.findings, 1)
             if (line := outline_in(verdict, finding, index)) is not None}
    for line in reversed(lines.values()):
        stroke(marks, line, FOUND, weight=weight)
    size = NUMBER * weight
    # Right of each outline's upper corner.
    wanted = {str(rank): (float(line[:, 0].max()) + 2 * weight, float(line[:, 1].min()))
              for rank, line in lines.items()}
    inside = {str(rank): cv2.fillPoly(np.zeros(taken.shape, np.uint8), [np.rint(line).astype(np.int32)], 1)
              for rank, line in lines.items()}
    total = sum((one.astype(np.int32) for one in inside.values()), np.zeros(taken.shape, np.int32))
    others = {text: total > own for text, own in inside.items()}
    for text, place in label_places(wanted, taken, marks[..., 3] > 0, size, weight, others).items():
        _label(marks, text, place, FOUND, size, weight)


def label_places(wanted: dict[str, tuple[float, float]], taken: npt.NDArray[np.bool_], drawn: npt.NDArray[np.bool_],
                 size: float, weight: int,
                 others: Mapping[str, npt.NDArray[np.bool_]] | None = None) -> dict[str, tuple[int, int, int, int]]:
    """Where texts go: as near as can be to the (x, y) that each wants its upper left corner at, as (x0, y0, x1, y1) in
    pixels, upper ends exclusive.

    All lie in the picture, none on another or where `taken` (y, x) is True, nor, while there is room elsewhere, where
    `drawn` is, or inside of what belongs to other texts than itself (`others`). Earlier ones choose first; a text for
    which there is no room has no place.
    """
    places, full = {}, taken.astype(np.uint8)
    for text, (x, y) in wanted.items():
        width, height = _label_size(text, size, weight)
        apart = full | drawn | others[text] if others else full | drawn
        for forbidden in (apart, full | drawn, full):
            ys, xs = _room(forbidden, width, height)
            if len(ys):
                break
        else:
            continue
        best = int(np.argmin((xs - x) ** 2 + (ys - y) ** 2))
        x0, y0 = int(xs[best]), int(ys[best])
        full[y0:y0 + height, x0:x0 + width] = 1
        places[text] = (x0, y0, x0 + width, y0 + height)
    return places


def _room(full: npt.NDArray[np.uint8], width: int, height: int) -> tuple[npt.NDArray[np.intp], ...]:
    """Rows and columns of the upper left corners of all empty rectangles of a size."""
    if width > full.shape[1] or height > full.shape[0]:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    sums = cv2.integral(full)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    return np.nonzero(inside == 0)


def _label_size(text: str, size: float, weight: int) -> tuple[int, int]:
    """(width, height) in pixels, with the dark edge."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 2 * weight)
    return width + 2 * _edge(weight), height + 2 * _edge(weight)


def _edge(weight: int) -> int:
    """Pixels by which a text's dark edge reaches beyond it."""
    return 2 * weight + 2


def _label(marks: Rgba, text: str, place: tuple[int, int, int, int], colour: tuple[int, int, int], size: float,
           weight: int) -> None:
    """Text with a dark edge that fills a place (x0, y0, x1, y1)."""
    at = (place[0] + _edge(weight), place[3] - _edge(weight))
    for tone, thick in ((EDGE, 2 * weight + 3), (colour, 2 * weight)):
        cv2.putText(marks, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (*tone, 255), thick, cv2.LINE_8)


def _draw_scale_bar(marks: Rgba, image: Image, scale: float, weight: int) -> npt.NDArray[np.bool_]:
    """Draws the bar where there is room, and tells what it takes (y, x)."""
    height, width = marks.shape[:2]
    taken = np.zeros((height, width), np.bool_)
    if image.spacing is None or width < 120 * weight or height < 60 * weight:
        return taken
    per_mm = scale / image.spacing[2]
    fitting = [mm for mm in (50, 20, 10, 5, 2, 1) if mm * per_mm <= width / 4]
    if not fitting or fitting[0] * per_mm < 12:
        return taken
    x1, y = width - 14, height - 14
    x0 = x1 - round(fitting[0] * per_mm)
    for tone, edge in ((EDGE, 2), (TRUTH, 0)):
        reach = 2 * weight + edge
        cv2.rectangle(marks, (x0 - edge, y - reach), (x1 + edge, y + reach), (*tone, 255), cv2.FILLED)
    text, size = f"{fitting[0]} mm", 0.55 * weight
    high = _label_size(text, size, weight)[1]
    taken |= marks[..., 3] > 0
    for place in label_places({text: (x0, y - 18 * weight - high // 2)}, taken, taken, size, weight).values():
        _label(marks, text, place, TRUTH, size, weight)
        taken[place[1]:place[3], place[0]:place[2]] = True
    return taken


def _encode(picture: npt.NDArray[Any], suffix: str, options: list[int]) -> bytes:
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, data = cv2.imencode(suffix, picture, options)
    if not done:
        raise ValueError(f"a picture of {picture.shape} cannot be encoded as {suffix}")
    return data.tobytes()
