"""Is a region really the same grain twice? Register, grow, and bound the number of false alarms.

The decision is a contrario (Desolneux, Moisan, Morel 2000): under the null hypothesis the two regions hold unrelated
grain, and the correlation r of N effectively independent samples has atanh(r) sqrt(N - 3) standard normal (Fisher).
N is the area over the sum of the product of the two regions' own autocorrelations (Bartlett 1946), so that lines and
other structure that resembles itself count for less than grain. NFA is that tail times the number of pairs of places,
orientations, scales and region shapes that could have been tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from scanward.detectors.copy_move.keypoints import Plane
from scanward.detectors.copy_move.matching import APART, Hypothesis

SIGMA = 3.5
"""Window of the local correlation, pixels of the working grid."""
ANIMAL = np.log10(4.0626)
"""Growth of the number of lattice animals with their cells (Jensen 2003): how many shapes a region can take."""
LAGS = 8


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


def verify(grain: Plane, inside: npt.NDArray[np.bool_], hypothesis: Hypothesis) -> Match | None:
    """Register by Gauss-Newton, grow to where the local correlation holds, and weigh; None where nothing matches."""
    matrix = hypothesis.transform.matrix()
    heart = hypothesis.destination
    box = _around(heart.real, heart.imag, heart.real, heart.imag, 16, grain.shape)
    step = _register(grain, matrix, box, None)
    if step is None:
        return None
    matrix = step
    best: Match | None = None
    box = _grown(box, 24, grain.shape)
    for _ in range(6):
        local, a, b = _local(grain, inside, matrix, box)
        region = _component(local, heart.real - box[0], heart.imag - box[1])
        if region is None or region.sum() < 60:
            return best
        match = _weigh(matrix, box, local, region, a, b, float(inside.sum()))
        if best is not None and match.log_nfa > best.log_nfa - 0.5:
            return match if match.log_nfa < best.log_nfa else best
        best = match
        step = _register(grain, matrix, box, region)
        if step is None:
            return best
        matrix = step
        y, x = np.nonzero(region)
        box = _around(x.min() + box[0], y.min() + box[1], x.max() + box[0], y.max() + box[1], 24, grain.shape)
    return best


Box = tuple[int, int, int, int]


def _around(x0: float, y0: float, x1: float, y1: float, margin: int, shape: tuple[int, ...]) -> Box:
    return (max(0, int(x0) - margin), max(0, int(y0) - margin), min(shape[1], int(x1) + margin + 1),
            min(shape[0], int(y1) + margin + 1))


def _grown(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    return _around(box[0], box[1], box[2] - 1, box[3] - 1, margin, shape)


def _warp(grain: Plane, matrix: npt.NDArray[np.float64], box: Box) -> Plane:
    """The source as `matrix` lays it over the destination's box."""
    shifted = matrix.copy()
    shifted[:, 2] -= box[:2]
    size = (box[2] - box[0], box[3] - box[1])
    return np.asarray(cv2.warpAffine(grain, shifted, size, flags=cv2.INTER_LINEAR), np.float32)


def _register(grain: Plane, matrix: npt.NDArray[np.float64], box: Box,
              region: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float64] | None:
    """Gauss-Newton over the six affine parameters; None where it leaves the range of scales looked for."""
    target = grain[box[1]:box[3], box[0]:box[2]]
    h, w = target.shape
    ys, xs = np.mgrid[:h, :w].astype(np.float32)
    xs, ys = (xs - w / 2) / 16, (ys - h / 2) / 16
    weight = np.ones((h, w), np.float32) if region is None else region.astype(np.float32)
    for _ in range(8):
        warped = _warp(grain, matrix, box)
        gx = cv2.Sobel(warped, cv2.CV_32F, 1, 0, scale=1 / 8)
        gy = cv2.Sobel(warped, cv2.CV_32F, 0, 1, scale=1 / 8)
        slopes = np.stack([gx, gx * xs, gx * ys, gy, gy * xs, gy * ys], axis=-1).reshape(-1, 6)
        mass = weight.ravel()
        gain = float((mass * warped.ravel() * target.ravel()).sum() / max((mass * warped.ravel() ** 2).sum(), 1e-6))
        miss = (target - max(gain, 0.3) * warped).ravel()
        weighted = slopes * mass[:, None]
        change = np.linalg.solve(weighted.T @ slopes + 1e-2 * len(miss) / 100 * np.eye(6), weighted.T @ miss)
        change = np.clip(change, -1.0, 1.0)
        # The image moves by -u where the warp of positions moves by +u; composed on the destination's side.
        centre = np.array([box[0] + w / 2, box[1] + h / 2])
        linear = np.array([[change[1], change[2]], [change[4], change[5]]]) / 16
        move = np.eye(2) - linear
        offset = -np.array([change[0], change[3]]) + linear @ centre
        matrix = np.c_[move @ matrix[:, :2], move @ matrix[:, 2] + offset]
        if np.abs(change).max() < 0.02:
            break
    scales = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return matrix if scales[1] > 0.65 and scales[0] < 1.5 and _travel(matrix, box) >= APART * 0.75 else None


def _travel(matrix: npt.NDArray[np.float64], box: Box) -> float:
    """How far the box's centre lies from its source: every place matches itself, which is no finding."""
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    return float(np.linalg.norm(centre - np.linalg.solve(matrix[:, :2], centre - matrix[:, 2])))


def _local(grain: Plane, inside: npt.NDArray[np.bool_], matrix: npt.NDArray[np.float64],
           box: Box) -> tuple[Plane, Plane, Plane]:
    a = grain[box[1]:box[3], box[0]:box[2]]
    b = _warp(grain, matrix, box)
    valid = inside[box[1]:box[3], box[0]:box[2]] & (_warp(inside.astype(np.float32), matrix, box) > 0.5)

    def mean(values: Plane) -> Plane:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), SIGMA), np.float32)

    ma, mb = mean(a), mean(b)
    spread = np.sqrt(np.maximum(mean(a * a) - ma * ma, 0) * np.maximum(mean(b * b) - mb * mb, 0))
    local = np.where(valid & (spread > 0.05), (mean(a * b) - ma * mb) / np.maximum(spread, 0.05), 0)
    return local.astype(np.float32), a, b


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


def _weigh(matrix: npt.NDArray[np.float64], box: Box, local: Plane, region: npt.NDArray[np.bool_], a: Plane, b: Plane,
           tissue: float) -> Match:
    area = float(region.sum())
    va, vb = (np.where(region, v - v[region].mean(), 0) for v in (a, b))
    r = float((va * vb).sum() / max(np.sqrt((va * va).sum() * (vb * vb).sum()), 1e-6))
    samples = area / _shared_extent(va, vb)
    z = np.arctanh(min(r, 0.9999)) * np.sqrt(max(samples - 3, 0))
    tail = float(log_ndtr(-z)) / np.log(10)
    # Ordered pairs of places, mirror or not, 72 orientations, 10 scales, and the shape in cells of one window.
    tests = 2 * np.log10(tissue) + np.log10(2 * 72 * 10) + ANIMAL * area / (2 * SIGMA) ** 2
    return Match(matrix, (box[0], box[1]), np.where(region, local, 0).astype(np.float32), region, r, tail + tests)


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
