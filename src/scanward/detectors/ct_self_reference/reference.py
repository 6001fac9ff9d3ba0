"""A CT's own noise as the reference that each of its regions is held against.

Reconstruction kernel, dose, slice thickness and place decide how a scan's noise looks, so all of them are measured on
the scan itself: the noise level σ(HU) gives a variance-stabilising map, as of films (`self_reference/reference.py`),
and what each residual's magnitude should be is fitted, over blocks of lung, on how dense and how restless a block is,
how far from the pleura and from the middle of the field of view, and how high in the chest.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from scanward.anatomy.lung import Lungs, inside
from scanward.detectors.self_reference.local import EXPECTED, FURTHEST, fitted, hats, knots_of
from scanward.detectors.self_reference.reference import CLIP, KERNELS, noise_curve, pool, trimmed_sigma
from scanward.image import as_int16
from scanward.nets.engine import cores
from scanward.tiles import extent, widened

Plane = npt.NDArray[np.float32]
Volume = npt.NDArray[np.float32]
Blocks = tuple[slice, slice]
"""Rows and columns of blocks."""

SCALES = (1, 2)
"""Residuals are taken on the slice and on its means over 2×2 pixels."""
PER_SCALE = len(KERNELS) + 3
"""Five residuals of the slice, and three of it against the slices above and below."""
CHANNELS = PER_SCALE * len(SCALES)
ACROSS = tuple(scale * PER_SCALE + n for scale in range(len(SCALES)) for n in range(len(KERNELS), PER_SCALE))
"""The channels that compare slices."""
BLOCK = 8
"""Pixels a side of the blocks that gains differ between."""
AROUND = 6
"""Blocks about one that its covariates look at, at most."""
NEAR_MM = 8.0
"""How far beyond the lungs noise is measured, so that soft tissue has its share."""
_SLICES = 40
"""Of a scan, spread evenly, that the reference is measured on."""
_LEAST = 128
"""Blocks that a fit is made of, at least."""
_LEAST_HU = 0.25
"""A residual below it is none, where HU are whole numbers."""
_DENSE = -500.0
"""HU above which a pixel is no lung."""


def _mixture() -> npt.NDArray[np.float32]:
    found = np.zeros((PER_SCALE, 3, 5, 5), np.float32)
    found[:len(KERNELS), 1] = KERNELS
    first, second = len(KERNELS), len(KERNELS) + 1
    found[first, 0], found[first, 1] = -KERNELS[0], KERNELS[0]
    found[second, 1], found[second, 2] = -KERNELS[0], KERNELS[0]
    found[first:second + 1] /= np.sqrt(2)
    found[second + 1, :, 2, 2] = np.array([1, -2, 1]) / np.sqrt(6)
    return found


MIXTURE = _mixture()
"""(8, 3, 5, 5): the residuals of a slice between its neighbours, (3, y, x), as one convolution."""


@dataclass(frozen=True)
class Reference:
    """What one scan's own noise is like."""

    levels: npt.NDArray[np.float64]
    """HU at which the stabilising map is known, increasing."""
    stabilised: npt.NDArray[np.float64]
    """The map at `levels`, in units of the noise's own standard deviation; 0 at the median HU."""
    gains: npt.NDArray[np.float32]
    """(16,): 1 / spread of each residual."""
    lungs: Lungs
    spacing: tuple[float, float, float]
    """Millimetres a voxel, (z, y, x)."""
    knots: tuple[npt.NDArray[np.float64], ...] = ()
    """Of each covariate's hat functions."""
    coefficients: npt.NDArray[np.float32] | None = None
    """(columns, 16) of the fit of the log magnitudes; None where there are too few blocks."""

    def stabilise(self, hu: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The map of HU of any shape."""
        whole = as_int16(hu) if hu.size > 4096 else None
        if whole is not None:
            return self._table[whole.view(np.uint16)]
        return np.interp(hu, self.levels, self.stabilised).astype(np.float32)

    @cached_property
    def _table(self) -> npt.NDArray[np.float32]:
        """The map of every 16-bit value, by its bits: looking up is many times faster than interpolating."""
        values = np.arange(65536, dtype=np.uint16).view(np.int16)
        return np.interp(values, self.levels, self.stabilised).astype(np.float32)

    def gains_at(self, plane: Plane, z: int, blocks: Blocks | None = None) -> Plane:
        """(16, y / 8, x / 8): the gains in slice `z`, whose HU are `plane` (y, x), of these blocks; of all of them,
        rounded up, where none are named."""
        blocks = blocks or (slice(0, _blocks(plane.shape)[0]), slice(0, _blocks(plane.shape)[1]))
        shape = tuple(part.stop - part.start for part in blocks)
        even = np.broadcast_to(self.gains[:, None, None], (CHANNELS, *shape))
        if self.coefficients is None:
            return np.ascontiguousarray(even)
        columns = _columns(_covariates(self, plane, z, blocks), self.knots)
        explained = np.clip(columns @ self.coefficients, -FURTHEST, FURTHEST)
        return np.ascontiguousarray(even * np.exp(-explained).transpose(2, 0, 1), np.float32)


def measure(pixels: Volume, lungs: Lungs, spacing: tuple[float, float, float]) -> Reference | None:
    """The reference of a scan (z, y, x) in HU; None where there is too little noise, or lung, to measure.

    Robust to forgeries that take up a minority of the lungs.
    """
    used = np.flatnonzero(lungs.mask.any((1, 2)))
    if used.size == 0:
        return None
    chosen = used[np.unique(np.linspace(0, len(used) - 1, min(len(used), _SLICES)).round().astype(int))]
    parts = [_cropped(pixels[z], _near(lungs, z, pixels.shape[1:])) for z in chosen]
    parts = [part for part in parts if min(part[0].shape) >= 16]
    curve = noise_curve(parts) if parts and not _still(parts) else None
    if curve is None:
        return None
    levels, sigma = curve
    stabilised = np.concatenate([[0.0], np.cumsum(np.diff(levels) * 0.5 * (1 / sigma[1:] + 1 / sigma[:-1]))])
    stabilised -= np.interp(np.median(levels), levels, stabilised)
    plain = Reference(levels, stabilised, np.ones(CHANNELS, np.float32), lungs, spacing)
    return _with_gains(plain, pixels, [int(z) for z in chosen])


def _still(parts: list[tuple[Plane, npt.NDArray[np.bool_]]]) -> bool:
    """Whether half of what is measured, or more, is without any noise: drawn, or smoothed away."""
    flat = [np.abs(cv2.filter2D(plane, -1, KERNELS[0]))[mask] < _LEAST_HU for plane, mask in parts]
    return float(np.mean(np.concatenate(flat))) >= 0.5


def stack(pixels: Volume, z: int) -> Volume:
    """(3, y, x): a slice with the ones before and behind it; at the scan's ends it is its own neighbour."""
    return pixels[[max(z - 1, 0), z, min(z + 1, len(pixels) - 1)]]


def residuals(planes: Volume) -> list[Volume]:
    """Of three stabilised slices (3, y, x), sides even, the raw residuals (8, y / s, x / s) at each scale s."""
    found = []
    for scale in SCALES:
        before, here, behind = (pool(np.ascontiguousarray(plane), scale) for plane in planes)
        first = [cv2.filter2D(one, -1, KERNELS[0], borderType=cv2.BORDER_REPLICATE) for one in (before, here, behind)]
        found.append(np.stack([
            first[1], *(cv2.filter2D(here, -1, kernel, borderType=cv2.BORDER_REPLICATE) for kernel in KERNELS[1:]),
            (first[1] - first[0]) / math.sqrt(2), (first[2] - first[1]) / math.sqrt(2),
            (before - 2 * here + behind) / math.sqrt(6)]))
    return found


@dataclass(frozen=True)
class _Seen:
    """The residuals of one slice, of the blocks about its lungs."""

    z: int
    blocks: Blocks
    raw: list[Volume]
    """(8, y / s, x / s) at each scale s."""
    near: npt.NDArray[np.bool_]
    """(y, x), True in the lungs."""


def _seen(plain: Reference, pixels: Volume, z: int) -> _Seen:
    lung = inside(plain.lungs, z, pixels.shape[1:])
    rows, columns = (slice(part.start // BLOCK, -(-part.stop // BLOCK)) for part in extent(lung))
    window = tuple(slice(part.start * BLOCK, part.stop * BLOCK) for part in (rows, columns))
    planes = np.stack([_padded(one) for one in stack(pixels[(slice(None), *window)], z)])
    return _Seen(z, (rows, columns), residuals(plain.stabilise(planes)), _padded(lung[window]))


def _with_gains(plain: Reference, pixels: Volume, chosen: list[int]) -> Reference | None:
    with ThreadPoolExecutor(cores()) as pool:
        seen = list(pool.map(lambda z: _seen(plain, pixels, z), chosen))
        spreads = list(pool.map(lambda number: _spread(seen, *divmod(number, PER_SCALE)), range(CHANNELS)))
    gains = np.ones(CHANNELS, np.float32)
    for number, spread in enumerate(spreads):
        if spread is None or (spread < 1e-3 and number not in ACROSS):
            return None
        gains[number] = 1 / spread if spread >= 1e-3 else 0.0
    return _with_fit(replace(plain, gains=gains), pixels, seen)


def _spread(seen: list[_Seen], scale: int, channel: int) -> float | None:
    """Of one residual in the lungs of all slices; None where there is too little of them."""
    step = SCALES[scale]
    values = np.abs(np.concatenate([one.raw[scale][channel][one.near[::step, ::step]] for one in seen]))
    return float(trimmed_sigma(values, np.zeros(values.size, np.intp), 1)[0]) if values.size >= 256 else None


def _with_fit(found: Reference, pixels: Volume, seen: list[_Seen]) -> Reference:
    found.lungs.depth  # noqa: B018 - once, before threads ask for it
    with ThreadPoolExecutor(cores()) as pool:
        parts = list(pool.map(lambda one: _explained(found, pixels[one.z], one), seen))
    if sum(known.shape[1] for known, _ in parts) < _LEAST:
        return found
    known, magnitude = (np.concatenate(values, 1) for values in zip(*parts, strict=True))
    knots = tuple(knots_of(one) for one in known)
    columns = _columns(known, knots)
    coefficients = fitted(columns, np.log(np.maximum(magnitude, 0.02) / EXPECTED).T.astype(np.float32))
    return replace(found, knots=knots, coefficients=coefficients.astype(np.float32))


def _explained(found: Reference, plane: Plane, one: _Seen) -> tuple[Plane, Plane]:
    """Of a slice's blocks of lung, the covariates (7, n) and the residuals' magnitudes (16, n)."""
    lung = means(one.near[None].astype(np.float32), BLOCK)[0] > 0.5
    sizes = [np.minimum(np.abs(raw) * found.gains[n * PER_SCALE:(n + 1) * PER_SCALE, None, None], CLIP)
             for n, raw in enumerate(one.raw)]
    magnitudes = [means(size, BLOCK // scale)[:, lung] for size, scale in zip(sizes, SCALES, strict=True)]
    return _covariates(found, plane, one.z, one.blocks)[:, lung], np.concatenate(magnitudes)


def _covariates(found: Reference, plane: Plane, z: int, blocks: Blocks) -> Volume:
    """(7, rows, columns) of some blocks of a slice: density, steepness, restlessness, share that is no lung, distance
    to the pleura and to the middle of the field of view, height."""
    whole = _blocks(plane.shape)
    around = tuple(widened(part, AROUND, side) for part, side in zip(blocks, whole, strict=True))
    within = tuple(slice(part.start - wide.start, part.stop - wide.start)
                   for part, wide in zip(blocks, around, strict=True))
    plane = _padded(plane[tuple(slice(part.start * BLOCK, part.stop * BLOCK) for part in around)])
    shape = _blocks(plane.shape)
    fine = found.stabilise(cv2.resize(plane, (2 * shape[1], 2 * shape[0]), interpolation=cv2.INTER_AREA))
    level = pool(fine, 2)
    calm = cv2.GaussianBlur(level, (0, 0), 1)
    steep = np.hypot(cv2.Sobel(calm, -1, 1, 0), cv2.Sobel(calm, -1, 0, 1))
    mean, square = cv2.blur(fine, (7, 7)), cv2.blur(np.square(fine), (7, 7))
    restless = pool(np.sqrt(np.maximum(square - np.square(mean), 0)), 2)
    dense = cv2.blur(cv2.resize((plane > _DENSE).astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA), (3, 3))
    seen = [level, np.log(steep + 0.3), np.log(restless + 0.3), dense]
    depth = cv2.resize(found.lungs.depth[z], whole[::-1], interpolation=cv2.INTER_LINEAR)[blocks]
    y, x = (np.abs(np.arange(n)[part, None] - (n - 1) / 2) * BLOCK * step
            for n, part, step in zip(whole, blocks, found.spacing[1:], strict=True))
    high = np.full(depth.shape, z * found.spacing[0])
    return np.stack([*(one[within] for one in seen), np.log1p(depth), np.hypot(y, x.T), high]).astype(np.float32)


def _columns(covariates: Volume, knots: tuple[npt.NDArray[np.float64], ...]) -> npt.NDArray[np.float32]:
    """(..., columns) of covariates (7, ...): a constant and each one's hat functions."""
    parts = [np.ones((*covariates.shape[1:], 1), np.float32)]
    parts += [hats(one, at) for one, at in zip(covariates, knots, strict=True)]
    return np.concatenate(parts, -1)


def _blocks(shape: tuple[int, ...]) -> tuple[int, int]:
    return -(-shape[0] // BLOCK), -(-shape[1] // BLOCK)


def _padded(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """To whole blocks; what is missing are the border's pixels."""
    lacks = [(0, -n % BLOCK) for n in plane.shape]
    return np.pad(plane, lacks, mode="edge") if any(b for _, b in lacks) else plane


def means(values: Volume, side: int) -> Volume:
    """(n, y / side, x / side) means over blocks of planes (n, y, x)."""
    return np.stack([pool(one, side) for one in values])


def _near(lungs: Lungs, z: int, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """The lungs and `NEAR_MM` around them."""
    reach = [max(1, round(NEAR_MM / step)) for step in lungs.spacing[1:]]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach[1] + 1, 2 * reach[0] + 1))
    wide = cv2.dilate(lungs.mask[z].view(np.uint8), disc)
    return cv2.resize(wide, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST) > 0


def _cropped(plane: Plane, mask: npt.NDArray[np.bool_]) -> tuple[Plane, npt.NDArray[np.bool_]]:
    window = extent(mask)
    return np.ascontiguousarray(plane[window]), mask[window]
