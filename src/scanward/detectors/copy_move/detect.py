"""`CopyMove`: the detector that puts keypoints, matching and verification together."""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.breast import breast_mask
from scanward.detectors.base import findings_of
from scanward.detectors.copy_move import exact, keypoints, matching, verify
from scanward.detectors.copy_move.keypoints import Plane
from scanward.detectors.copy_move.seam import DOUBT, seam
from scanward.image import Image
from scanward.verdict import Evidence, untold

NAME = "copy-move"
THRESHOLD = 0.5
HEAT_THRESHOLD = 0.5
SOURCE = 0.8
FAINT = 0.01
"""Below this score the heat is left at zero."""


@dataclass(frozen=True)
class Options:
    """How the detector works; the defaults are the shipped ones."""

    side: int = 1400
    """Longest side of the working grid, about; larger images are averaged over whole blocks of pixels."""
    edge: float = 10.0
    """Pixels of the working grid taken off the breast's rim, where film edges and skin lines repeat."""
    log_nfa: float = -3.0
    """Decimal logarithm of the false alarms that one authentic image may be expected to give: the threshold."""
    slope: float = 2.0
    """Decades of false alarms from the threshold over which the score's odds change tenfold."""
    hypotheses: int = 45
    """Transforms verified at most."""
    twins: int = 4
    """Copies reported at most."""


class CopyMove:
    """Finds regions duplicated within one mammogram, also mirrored, turned, or scaled by 0.8 to 1.25.

    Grain is compared, not shape: two areas of tissue never share their grain, a copy does. Both places are marked.
    Where the borders tell which one was pasted (`seam`), the other's heat is `SOURCE` times as strong; otherwise both
    are equal.
    """

    name = NAME

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def load(self) -> None:
        """Nothing: it is untrained, and its libraries came with the module."""

    def detect(self, image: Image) -> Evidence:
        """Judge one mammogram; a volume, a tiny image or one without grain gives an inconclusive answer."""
        begun = time.perf_counter()
        if image.shape[0] != 1:
            return self._nothing(image, "Copy-move looks at single images only.", begun)
        plane = image.plane
        if min(plane.shape) < 96:
            return self._nothing(image, "The image is smaller than 96 pixels, too small to hold a copy.", begun)
        step = max(1, round(max(plane.shape) / self.options.side))
        work = _reduced(plane, step)
        inside = _tissue(work, self.options.edge)
        floor = _floor(image, work, step)
        field = verify.Field(work, keypoints.band(work, floor), inside, floor)
        points = keypoints.find(field.grain, inside)
        if len(points) < 50:
            return self._nothing(image, "The image has too little grain to compare.", begun)
        matches = self._matches(field, points, exact.find(plane, inside, step))
        return self._answer(image, matches, work, step, begun)

    def _matches(self, field: verify.Field, points: npt.NDArray[np.complex64],
                 identical: list[verify.Match]) -> list[verify.Match]:
        """Twins, identical or verified, surest first, none of them lying on another's."""
        options = self.options
        found = list(identical)
        grain = field.grain
        taken = np.zeros(grain.shape, np.bool_)
        for hypothesis in matching.hypotheses(grain, keypoints.describe(grain, points), options.hypotheses):
            spots = (hypothesis.source, hypothesis.destination)
            if all(taken[int(p.imag), int(p.real)] for p in spots):
                continue
            match = verify.verify(field, hypothesis)
            if match is None:
                continue
            found.append(match)
            if match.log_nfa < options.log_nfa:
                taken |= _laid(match, grain.shape) > 0
                taken |= _back(match, _laid(match, grain.shape)) > 0
        return _distinct(found, grain.shape, options.twins)

    def _answer(self, image: Image, matches: list[verify.Match], work: Plane, step: int, begun: float) -> Evidence:
        score = self._score(matches[0]) if matches else 0.0
        full = np.zeros(image.shape, np.float32)
        ways: list[str] = []
        if score >= FAINT:
            heat = np.zeros(work.shape, np.float32)
            for match in matches:
                pasted, source, way = _directed(match, work, _floor(image, work, step) / 0.15, step)
                heat = np.maximum(heat, self._score(match) * np.maximum(pasted, source))
                ways.append(way)
            height, width = work.shape[0] * step, work.shape[1] * step
            large = heat if step == 1 else cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)
            full[0, :height, :width] = np.clip(large, 0, 1)
        findings = findings_of(full, HEAT_THRESHOLD, image, NAME) if score >= THRESHOLD else ()
        return Evidence(NAME, score, THRESHOLD, full, HEAT_THRESHOLD, findings, reason=ways[0] if findings else "",
                        seconds=time.perf_counter() - begun)

    def _score(self, match: verify.Match) -> float:
        exponent = np.clip((match.log_nfa - self.options.log_nfa) / self.options.slope, -30, 30)
        return float(1 / (1 + 10**exponent))

    def _nothing(self, image: Image, reason: str, begun: float) -> Evidence:
        return untold(NAME, image.shape, reason, threshold=THRESHOLD, heat_threshold=HEAT_THRESHOLD,
                      seconds=time.perf_counter() - begun)


def _distinct(matches: list[verify.Match], shape: tuple[int, ...], most: int) -> list[verify.Match]:
    """The surest first, without those that mostly repeat a surer one, there or back."""
    kept: list[verify.Match] = []
    taken = np.zeros(shape, np.bool_)
    for match in sorted(matches, key=lambda m: m.log_nfa)[:4 * most]:
        there = _laid(match, shape)
        own = there > 0.5
        if own.any() and taken[own].mean() < 0.3:
            kept.append(match)
            both = (own | (_back(match, there) > 0.5)).astype(np.uint8)
            # The feather around a copy matches too, under a transform that is a little off.
            taken |= cv2.dilate(both, np.ones((21, 21), np.uint8)) > 0
    return kept[:most]


def _tissue(work: Plane, edge: float) -> npt.NDArray[np.bool_]:
    """The breast without its rim, the image's own border, where the film's edge may run along, and burnt-out areas.

    Where nine pixels square hold one value there is no grain, and the outlines of two such areas may well be alike.
    """
    inside = breast_mask(work, edge)
    rim = max(1, round(edge))
    square = np.ones((9, 9), np.uint8)
    flat = (cv2.dilate(work, square) == cv2.erode(work, square)).astype(np.uint8)
    if flat.any():
        inside &= cv2.dilate(flat, np.ones((2 * rim + 9, 2 * rim + 9), np.uint8)) == 0
    inside[:rim] = inside[-rim:] = False
    inside[:, :rim] = inside[:, -rim:] = False
    return inside


def _reduced(plane: Plane, step: int) -> Plane:
    """Means over blocks of `step` pixels square; what does not fill a block at the far edges is left out."""
    if step == 1:
        return plane
    height, width = (n // step for n in plane.shape)
    whole = plane[:height * step, :width * step]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _floor(image: Image, work: Plane, step: int) -> float:
    """Spread below which detail is only rounding: half a step for whole numbers, averaged by the reduction."""
    if image.integer:
        return 0.15 / step
    return 1e-5 * float(work.max() - work.min()) + 1e-12


def _laid(match: verify.Match, shape: tuple[int, ...]) -> Plane:
    """The match's destination on the working grid: 0.5 where the local correlation falls to half the region's own.

    There half of the correlation's window lies outside the copy, which is its border.
    """
    out = np.zeros(shape, np.float32)
    x, y = match.corner
    h, w = match.local.shape
    sure = 1 / (1 + np.exp((0.5 * match.correlation - match.local) / 0.08))
    out[y:y + h, x:x + w] = np.where(match.region, sure, 0)
    return out


def _back(match: verify.Match, there: Plane) -> Plane:
    """The destination's heat carried to the source."""
    size = (there.shape[1], there.shape[0])
    return np.asarray(cv2.warpAffine(there, match.matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP),
                      np.float32)


def _directed(match: verify.Match, work: Plane, step: float, size: int) -> tuple[Plane, Plane, str]:
    """Heat of the pasted region and of its source, and the sentence; `size` is a working pixel in the image's own."""
    there = _laid(match, work.shape)
    back = _back(match, there)
    lead = seam(work, there > 0.5, step) - seam(work, back > 0.5, step)
    y, x = np.nonzero(match.region)
    to = np.array([x.mean() + match.corner[0], y.mean() + match.corner[1]])
    linear: npt.NDArray[np.floating] = match.matrix[:, :2]
    start = np.linalg.solve(linear, to - match.matrix[:, 2])
    if lead < 0:
        there, back, start, to, linear = back, there, to, start, np.linalg.inv(linear)
    if abs(lead) >= DOUBT:
        back = SOURCE * back
    (x0, y0), (x1, y1) = ((place + 0.5) * size - 0.5 for place in (start, to))
    doubt = "" if abs(lead) >= DOUBT else " or the reverse"
    return there, back, (f"A region was copied from ({x0:.0f}, {y0:.0f}) to ({x1:.0f}, {y1:.0f}){doubt} "
                         f"({_change(linear)}; correlation {match.correlation:.2f}).")


def _change(linear: npt.NDArray[np.floating]) -> str:
    """The (2, 2) linear part of the transform in words: mirrored left to right, turned clockwise, scaled."""
    size = float(np.sqrt(abs(np.linalg.det(linear))))
    mirrored = np.linalg.det(linear) < 0
    turn = linear @ np.diag([-1.0, 1.0]) if mirrored else linear
    degrees = float(np.degrees(np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1])))
    steps = ["mirrored"] if mirrored else []
    if abs(degrees) >= 1:
        steps.append(f"turned by {degrees:.0f}°")
    if abs(size - 1) >= 0.02:
        steps.append(f"scaled by {size:.2f}")
    return ", ".join(steps) or "unchanged"
