"""Is a region really the same grain twice? Register, grow, and bound the number of false alarms.

The decision is a contrario (Desolneux, Moisan, Morel 2000): under the null hypothesis the two regions hold unrelated
grain, and the correlation r of N effectively independent samples has atanh(r) sqrt(N - 3) standard normal (Fisher).
N is the area over the sum of the product of the two regions' own autocorrelations (Bartlett 1946), so that lines and
other structure that resembles itself count for less than grain. NFA is that tail times the number of pairs of places,
orientations, scales and region shapes that could have been tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from scanward.detectors.copy_move.keypoints import Plane, band
from scanward.detectors.copy_move.matching import APART, Hypothesis

SIGMA = 3.5
"""Window of the local correlation, pixels of the working grid."""
ELLIPSES = np.log10(20 * 20 * 18)
"""Kinds of ellipse about one centre: two axes and a direction."""
FINE = (0.5, 1.5)
"""Inner and outer Gaussian of the fine band, pixels of the working grid."""
LAGS = 8
STILL = 0.75 * APART
"""A place moved by less than this many pixels matches itself."""
FILLED = 0.6
"""Least share of its ellipse that a region fills; ribbons along the skin line or a fold do not."""
LIKENESS = 0.75
"""Least correlation around a hypothesis' heart, once registered, for it to be looked at further."""
ALIKE = 0.6
"""Share of a match's correlation that it may have when it is moved or turned: more is no grain."""
LEAST = 60
ROUNDS = 6


@dataclass(frozen=True)
class Match:
    """A region and its twin on the working grid."""

    matrix: npt.NDArray[np.float64]
    """(2, 3), source to destination."""
    corner: tuple[int, int]
    """(x, y) of `local` in the plane."""
    local: Plane
    """(h, w), local correlation around the destination, 0 outside the region."""
    region: npt.NDArray[np.bool_]
    """(h, w), the destination."""
    correlation: float
    log_nfa: float
    """Decimal logarithm of the expected number of such matches in an authentic image."""


@dataclass(frozen=True)
class Field:
    """What verification looks at, all (y, x) of the working grid."""

    plane: Plane
    grain: Plane
    """`keypoints.band` of the plane, the middle band."""
    inside: npt.NDArray[np.bool_]
    floor: float


def verify(field: Field, hypothesis: Hypothesis) -> Match | None:
    """Register by Gauss-Newton, grow to where the local correlation holds, and weigh; None where nothing matches."""
    grain, heart = field.grain, hypothesis.destination
    box = _around(heart.real, heart.imag, heart.real, heart.imag, 16, grain.shape)
    matrix = _register(grain, hypothesis.transform.matrix(), box, None)
    if matrix is None or _likeness(grain, matrix, box, heart) < LIKENESS:
        return None
    box = _grown(box, 24, grain.shape)
    kept: tuple[npt.NDArray[np.float64], Rectangle, Plane, npt.NDArray[np.bool_]] | None = None
    for _ in range(ROUNDS):
        local = _local(grain, field.inside, matrix, box)
        region = _component(local, heart.real - box[0], heart.imag - box[1])
        if region is None or region.sum() < LEAST:
            break
        grows = kept is None or region.sum() > 1.05 * kept[3].sum()
        kept = matrix, box, local, region
        refined = _register(grain, matrix, box, region)
        if not grows or refined is None:
            break
        matrix = refined
        y, x = np.nonzero(region)
        margin = max(24, (int(np.ptp(x)) + int(np.ptp(y))) // 4)
        box = _around(x.min() + box[0], y.min() + box[1], x.max() + box[0], y.max() + box[1], margin, grain.shape)
    if kept is None or _nearest(kept[0], kept[1], kept[3]) < STILL:
        return None
    ellipse = _ellipse(kept[3])
    if kept[3][ellipse].mean() < FILLED or _ordinary(grain, kept[0], kept[1], kept[3]):
        return None
    return _weighed(field, *kept, ellipse)


Rectangle = tuple[int, int, int, int]
"""x0, y0, x1, y1 on the working grid."""
Matrix = npt.NDArray[np.float64]
"""(2, 3), source to destination."""


def _around(x0: float, y0: float, x1: float, y1: float, margin: int, shape: tuple[int, ...]) -> Rectangle:
    return (max(0, int(x0) - margin), max(0, int(y0) - margin), min(shape[1], int(x1) + margin + 1),
            min(shape[0], int(y1) + margin + 1))


def _grown(box: Rectangle, margin: int, shape: tuple[int, ...]) -> Rectangle:
    return _around(box[0], box[1], box[2] - 1, box[3] - 1, margin, shape)


def _warp(grain: Plane, matrix: npt.NDArray[np.float64], box: Rectangle) -> Plane:
    """The source as `matrix` lays it over the destination's box."""
    shifted = matrix.copy()
    shifted[:, 2] -= box[:2]
    size = (box[2] - box[0], box[3] - box[1])
    return np.asarray(cv2.warpAffine(grain, shifted, size, flags=cv2.INTER_LINEAR), np.float32)


def _likeness(grain: Plane, matrix: npt.NDArray[np.float64], box: Rectangle, heart: complex) -> float:
    """Correlation under a Gaussian window of 6 px around the heart."""
    a, b = grain[box[1]:box[3], box[0]:box[2]], _warp(grain, matrix, box)
    x = np.exp(-((np.arange(box[0], box[2]) - heart.real) ** 2) / 72)
    y = np.exp(-((np.arange(box[1], box[3]) - heart.imag) ** 2) / 72)
    weight = np.outer(y, x) / (y.sum() * x.sum())
    a, b = a - (weight * a).sum(), b - (weight * b).sum()
    power = (weight * a * a).sum() * (weight * b * b).sum()
    return float((weight * a * b).sum() / max(np.sqrt(power), 1e-6))


def _register(grain: Plane, matrix: npt.NDArray[np.float64], box: Rectangle,
              region: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float64] | None:
    """Inverse compositional Gauss-Newton (Baker, Matthews 2004) over the six affine parameters.

    None where it leaves the range of scales looked for, or comes to match the place with itself.
    """
    target = grain[box[1]:box[3], box[0]:box[2]]
    h, w = target.shape
    x, y = (np.arange(w, dtype=np.float32) - w / 2) / 16, (np.arange(h, dtype=np.float32)[:, None] - h / 2) / 16
    gx = cv2.Sobel(target, cv2.CV_32F, 1, 0, scale=1 / 8)
    gy = cv2.Sobel(target, cv2.CV_32F, 0, 1, scale=1 / 8)
    if region is not None:
        gx, gy = gx * region, gy * region
    slopes = np.stack([gx, gx * x, gx * y, gy, gy * x, gy * y]).reshape(6, -1)
    inverse = np.linalg.inv((slopes @ slopes.T).astype(np.float64) + 1e-4 * target.size * np.eye(6))
    centre = np.array([box[0] + w / 2, box[1] + h / 2])
    for _ in range(10):
        warped = _warp(grain, matrix, box)
        gain = np.clip(np.vdot(warped, target) / max(float(np.vdot(warped, warped)), 1e-6), 0.3, 2.0)
        change = np.clip(inverse @ (slopes @ (np.float32(gain) * warped - target).ravel()), -1.0, 1.0)
        linear = np.array([[change[1], change[2]], [change[4], change[5]]]) / 16
        move = np.eye(2) + linear
        offset = np.array([change[0], change[3]]) - linear @ centre
        matrix = np.c_[move @ matrix[:, :2], move @ matrix[:, 2] + offset]
        if np.abs(change).max() < 0.02:
            break
    scales = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return matrix if scales[1] > 0.65 and scales[0] < 1.5 and _travel(matrix, box) >= STILL else None


def _travel(matrix: npt.NDArray[np.float64], box: Rectangle) -> float:
    """How far the box's centre lies from its source: every place matches itself, which is no finding."""
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    return float(np.linalg.norm(centre - np.linalg.solve(matrix[:, :2], centre - matrix[:, 2])))


def _nearest(matrix: npt.NDArray[np.float64], box: Rectangle, region: npt.NDArray[np.bool_]) -> float:
    """The shortest way that any place of the region has come."""
    y, x = np.nonzero(region)
    places = np.stack([x + box[0], y + box[1]]).astype(float)
    return float(np.linalg.norm(places - np.linalg.solve(matrix[:, :2], places - matrix[:, 2:]), axis=0).min())


def _local(grain: Plane, inside: npt.NDArray[np.bool_], matrix: npt.NDArray[np.float64], box: Rectangle) -> Plane:
    """Correlation under a Gaussian window of `SIGMA`, 0 outside the tissue of either place."""
    a = grain[box[1]:box[3], box[0]:box[2]]
    b = _warp(grain, matrix, box)
    valid = inside[box[1]:box[3], box[0]:box[2]] & (_warp(inside.astype(np.float32), matrix, box) > 0.5)

    def mean(values: Plane) -> Plane:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), SIGMA), np.float32)

    ma, mb = mean(a), mean(b)
    spread = np.sqrt(np.maximum(mean(a * a) - ma * ma, 0) * np.maximum(mean(b * b) - mb * mb, 0))
    local = np.where(valid & (spread > 0.05), (mean(a * b) - ma * mb) / np.maximum(spread, 0.05), 0)
    return local.astype(np.float32)


def _component(local: Plane, x: float, y: float) -> npt.NDArray[np.bool_] | None:
    """The connected region of high local correlation next to (x, y)."""
    count, labels = cv2.connectedComponents((local > 0.45).astype(np.uint8), connectivity=4)
    if count < 2:
        return None
    r = 10
    near = labels[max(0, int(y) - r):int(y) + r + 1, max(0, int(x) - r):int(x) + r + 1]
    near = near[near > 0]
    if near.size == 0:
        return None
    return np.asarray(labels == np.bincount(near).argmax())


def _weighed(field: Field, matrix: npt.NDArray[np.float64], box: Rectangle, local: Plane,
             region: npt.NDArray[np.bool_], ellipse: npt.NDArray[np.bool_]) -> Match:
    """The match with its false alarms: the best of two bands, times all that could have been tried.

    The fine band has several times the independent samples, the middle one outlives JPEG and resampling. The
    correlation is that over the ellipse with the region's moments: the region itself was grown to where the
    correlation is high, and could have had any shape.
    """
    # Ordered pairs of places, mirror or not, 72 orientations, 10 scales and 2 bands.
    tests = 2 * np.log10(max(float(field.inside.sum()), 1.0)) + np.log10(2 * 72 * 10 * 2) + ELLIPSES
    middle = (field.grain[box[1]:box[3], box[0]:box[2]], _warp(field.grain, matrix, box))
    tails = [_log_tail(a, b, ellipse) for a, b in (middle, _fine(field, matrix, box))]
    r = _correlation(*middle, region)
    return Match(matrix, (box[0], box[1]), np.where(region, local, 0).astype(np.float32), region, r,
                 min(tails) + float(tests))


def _ordinary(grain: Plane, matrix: Matrix, box: Rectangle, region: npt.NDArray[np.bool_]) -> bool:
    """Whether the region matches nearly as well elsewhere about the place: then others would, too."""
    target = grain[box[1]:box[3], box[0]:box[2]]
    best = _correlation(target, _warp(grain, matrix, box), region)
    y, x = np.nonzero(region)
    others = itertools.chain(_slid(matrix), _turned(matrix, (x.mean() + box[0], y.mean() + box[1])))
    return any(_correlation(target, _warp(grain, other, box), region) > ALIKE * best for other in others)


def _slid(matrix: Matrix) -> Iterator[Matrix]:
    """Some pixels away: there an edge or a line matches, which any other one resembles."""
    for turn in range(8):
        moved = matrix.copy()
        moved[:, 2] += 5 * np.array([np.cos(turn * np.pi / 4), np.sin(turn * np.pi / 4)])
        yield moved


def _turned(matrix: Matrix, middle: tuple[float, float]) -> Iterator[Matrix]:
    """Turned about the region's middle (x, y): so a calcification matches, which other round or oval ones resemble."""
    for degrees in range(30, 360, 30):
        turn = cv2.getRotationMatrix2D(middle, degrees, 1.0)
        yield np.c_[turn[:, :2] @ matrix[:, :2], turn[:, :2] @ matrix[:, 2] + turn[:, 2]]


def _fine(field: Field, matrix: npt.NDArray[np.float64], box: Rectangle) -> tuple[Plane, Plane]:
    """Destination and warped source in the fine band, computed around the two places only."""
    corners = np.array([[x, y] for x in (box[0], box[2]) for y in (box[1], box[3])], float).T
    back = np.linalg.solve(matrix[:, :2], corners - matrix[:, 2:])
    (x0, y0), (x1, y1) = back.min(axis=1), back.max(axis=1)
    there = _around(x0, y0, x1, y1, 4, field.plane.shape)
    out = []
    for place in (box, there):
        wide = _grown(place, 20, field.plane.shape)
        grain = band(field.plane[wide[1]:wide[3], wide[0]:wide[2]], field.floor, *FINE)
        x, y = place[0] - wide[0], place[1] - wide[1]
        out.append(np.ascontiguousarray(grain[y:y + place[3] - place[1], x:x + place[2] - place[0]]))
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ np.array(there[:2], float)
    return out[0], _warp(out[1], shifted, box)


def _ellipse(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The ellipse with the region's centre, area and second moments."""
    y, x = np.nonzero(region)
    spread = np.cov(np.stack([x, y])) + 0.1 * np.eye(2)
    ys, xs = np.mgrid[:region.shape[0], :region.shape[1]]
    far = np.stack([xs - x.mean(), ys - y.mean()]).reshape(2, -1)
    return np.asarray(((far * np.linalg.solve(spread, far)).sum(axis=0) <= 4).reshape(region.shape))


def _centred(a: Plane, b: Plane, region: npt.NDArray[np.bool_]) -> tuple[Plane, Plane]:
    return tuple(np.where(region, v - v[region].mean(), 0).astype(np.float32) for v in (a, b))  # type: ignore[return-value]


def _correlation(a: Plane, b: Plane, region: npt.NDArray[np.bool_]) -> float:
    a, b = _centred(a, b, region)
    return float(np.vdot(a, b) / max(float(np.sqrt(np.vdot(a, a) * np.vdot(b, b))), 1e-6))


def _log_tail(a: Plane, b: Plane, region: npt.NDArray[np.bool_]) -> float:
    """Decimal logarithm of the chance that unrelated grain correlates as well over the region."""
    samples = float(region.sum()) / _shared_extent(*_centred(a, b, region))
    z = np.arctanh(min(_correlation(a, b, region), 0.9999)) * np.sqrt(max(samples - 3, 0))
    return float(log_ndtr(-z)) / float(np.log(10))


def _shared_extent(a: Plane, b: Plane) -> float:
    """Bartlett's sum of the product of both autocorrelations, in pixels; at least 1.

    Over all lags the sampling noise of grain adds as much again as the sum itself, hence the half; a straight edge,
    which resembles itself over its whole length, keeps its large sum.
    """
    h, w = a.shape
    size = (cv2.getOptimalDFTSize(2 * h), cv2.getOptimalDFTSize(2 * w))
    products = []
    for values in (a, b):
        auto = np.fft.irfft2(np.abs(np.fft.rfft2(values, size)) ** 2, size)
        products.append(auto / max(float(auto[0, 0]), 1e-9))
    both = products[0] * products[1]
    lags = np.roll(both, (LAGS, LAGS), (0, 1))[:2 * LAGS + 1, :2 * LAGS + 1]
    return max(1.0, float(lags.sum()), float(both.sum()) / 2)
