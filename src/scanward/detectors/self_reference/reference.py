"""An image's own noise as the reference its regions are held against.

Film and detector noise depends on intensity, and its spectrum on the scanner. Both are measured on the image itself:
the noise level σ(I) gives a variance-stabilising map f(I) = ∫ dI / σ(I) (the generalised Anscombe transform with a
measured σ; Foi et al. 2008, section 2), after which grain has unit variance at every intensity, and the robust
spread of each residual filter at each scale gives its gain. A network that sees only the stabilised image and the
gains needs no retraining for a scanner with another depth, range or grain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from scanward.image import as_uint16

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SCALES = (1, 2, 4)
"""Residuals are taken on the plane and on its means over 2×2 and 4×4 pixels."""
BLOCK = 16
"""Pixels a side of the blocks that gains differ between."""
CLIP = 4.0
"""Residuals are cut at ± this many spreads of the image's own grain, so that edges do not outshout grain."""
_BINS = 48
_MOST_ROWS = 640
_MOST_PIXELS = 2**20
_LEAST_SAMPLES = 256


def _kernels() -> npt.NDArray[np.float32]:
    second = np.array([1, -2, 1], np.float32)
    found = np.zeros((5, 5, 5), np.float32)
    found[0, 1:4, 1:4] = np.outer(second, second)
    found[1] = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    found[2, 2, 1:4] = second
    found[3, 1:4, 2] = second
    found[4] = (np.diag([0, 1, -2, 1, 0]) + np.fliplr(np.diag([0, 1, -2, 1, 0]))) / 2
    return found / np.sqrt((found**2).sum((1, 2), keepdims=True))


KERNELS = _kernels()
"""(5, 5, 5) residual filters of unit energy, after the spatial rich model (Fridrich & Kodovsky 2012, figure 1)."""


@dataclass(frozen=True)
class Reference:
    """What one image's own grain is like."""

    levels: npt.NDArray[np.float64]
    """Intensities at which the stabilising map is known, increasing."""
    stabilised: npt.NDArray[np.float64]
    """f at `levels`, in units of the grain's own standard deviation; 0 in mid tissue."""
    gains: Plane
    """(15,): 1 / spread of the 5 residuals at scales 1, 2 and 4, scale by scale."""
    field: Plane | None = None
    """(15, y / 16, x / 16 rounded up): by how much the gains differ at each place (`local.py`); None where they do
    not."""

    def sigma(self, level: Plane) -> Plane:
        """The grain's standard deviation at each stored value."""
        slope = np.diff(self.levels) / np.diff(self.stabilised)
        return np.asarray(np.interp(level, (self.levels[1:] + self.levels[:-1]) / 2, slope), np.float32)

    def gains_at(self, rows: slice, columns: slice) -> Plane:
        """(15, rows, columns): the gains of these blocks of 16 pixels; those beyond the image are its last ones."""
        if self.field is None:
            shape = rows.stop - rows.start, columns.stop - columns.start
            return np.broadcast_to(self.gains[:, None, None], (len(self.gains), *shape))
        field = self.field[:, rows, columns]
        lacks = [(0, part.stop - part.start - side) for part, side in zip((rows, columns), field.shape[1:],
                                                                         strict=True)]
        return self.gains[:, None, None] * np.pad(field, [(0, 0), *lacks], mode="edge")

    def within(self, window: tuple[slice, slice]) -> Reference:
        """The same for a part of the image, (y, x), whose bounds are multiples of 16."""
        rows, columns = (slice(part.start // BLOCK, -(-part.stop // BLOCK)) for part in window)
        shape = rows.stop - rows.start, columns.stop - columns.start
        even = np.ones((len(self.gains), *shape), np.float32)
        return replace(self, field=self.gains_at(rows, columns) / self.gains[:, None, None] if self.field is not None
                       else even)

    def stabilise(self, plane: Plane) -> Plane:
        """f of every pixel, (y, x)."""
        whole = as_uint16(plane) if plane.size > 65536 else None
        if whole is not None:
            return self._table[whole]
        return np.interp(plane, self.levels, self.stabilised).astype(np.float32)

    @cached_property
    def _table(self) -> Plane:
        """f of every 16-bit value: looking up is several times faster than interpolating."""
        return np.interp(np.arange(65536), self.levels, self.stabilised).astype(np.float32)


def measure(plane: Plane, tissue: Mask) -> Reference | None:
    """The reference of a plane, from the pixels of `tissue`; None where there is too little grain to measure.

    Robust to a forgery that covers a minority of the tissue: spreads are trimmed means of magnitudes.
    """
    rows = strips_of(tissue)
    if rows is None:
        return None
    strips = [(plane[a:b], tissue[a:b]) for a, b in rows]
    curve = noise_curve(strips)
    if curve is None:
        return None
    levels, sigma = curve
    steps = np.diff(levels) * 0.5 * (1 / sigma[1:] + 1 / sigma[:-1])
    stabilised = np.concatenate([[0.0], np.cumsum(steps)])
    stabilised -= np.interp(np.median(levels), levels, stabilised)
    partial = Reference(levels, stabilised, np.ones(len(KERNELS) * len(SCALES), np.float32))
    gains = _gains([(partial.stabilise(np.ascontiguousarray(p)), m) for p, m in strips])
    return None if gains is None else Reference(levels, stabilised, gains)


def strips_of(tissue: Mask) -> list[tuple[int, int]] | None:
    """Strips of 32 rows spread evenly over the tissue; a million pixels are plenty for 48 bins."""
    used = np.flatnonzero(tissue.any(1))
    if used.size < 16:
        return None
    top, bottom = int(used[0]), int(used[-1]) + 1
    most = int(np.clip(_MOST_PIXELS // tissue.shape[1], 128, _MOST_ROWS))
    if bottom - top <= most:
        return [(top, bottom)]
    starts = np.linspace(top, bottom - 32, most // 32).astype(int)
    return [(int(a), int(a) + 32) for a in starts]


def noise_curve(strips: list[tuple[Plane, Mask]]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Intensity levels and the grain's standard deviation at each.

    A running median over the levels comes first: a flat forgery may hold most of the pixels of one level, and must not
    pass for the grain there.
    """
    residual, local = [], []
    for plane, mask in strips:
        inside = mask[2:-2, 2:-2]
        residual.append(np.abs(cv2.filter2D(plane, -1, KERNELS[0]))[2:-2, 2:-2][inside])
        local.append(cv2.blur(plane, (5, 5))[2:-2, 2:-2][inside])
    magnitude, level = np.concatenate(residual), np.concatenate(local)
    if magnitude.size < _LEAST_SAMPLES or float(np.ptp(level)) == 0:
        return None
    edges = np.unique(np.quantile(level, np.linspace(0, 1, min(_BINS, magnitude.size // 128) + 1)))
    which = np.clip(np.searchsorted(edges, level, "right") - 1, 0, len(edges) - 2)
    sigma = trimmed_sigma(magnitude, which, len(edges) - 1)
    floor = 0.1 * float(np.median(sigma))
    if floor == 0:
        return None
    centres = (edges[1:] + edges[:-1]) / 2
    steady = median_filter(np.maximum(sigma, floor), 9, mode="nearest")
    padded = np.pad(steady, 1, mode="edge")
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    reach = float(edges[-1] - edges[0])
    levels = np.concatenate([[edges[0] - 10 * reach], centres, [edges[-1] + 10 * reach]])
    return levels, np.concatenate([smooth[:1], smooth, smooth[-1:]])


def trimmed_sigma(magnitude: npt.NDArray[np.floating], group: npt.NDArray[np.intp], groups: int,
                   rounds: int = 3) -> npt.NDArray[np.float64]:
    """σ of zero-mean Gaussian samples a group, from mean magnitudes with everything beyond 3 σ left out.

    Means, not medians: on 8-bit film the median of a residual takes only a handful of values.
    """
    count, total = _sums(magnitude, group, groups)
    sigma = 1.2533 * total / np.maximum(count, 1)
    for _ in range(rounds - 1):
        far = np.flatnonzero(magnitude > (3 * sigma if groups == 1 else (3 * sigma)[group]))
        out, beyond = _sums(magnitude[far], group[far], groups)
        sigma = 1.2533 * (total - beyond) / np.maximum(count - out, 1)
    return sigma


def _sums(values: npt.NDArray[np.floating], group: npt.NDArray[np.intp],
          groups: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """How many values a group has, and their sum."""
    if groups == 1:  # many times faster than counting
        return np.array([values.size]), np.array([values.sum(dtype=np.float64)])
    return np.bincount(group, minlength=groups), np.bincount(group, values, groups)


def _gains(strips: list[tuple[Plane, Mask]]) -> Plane | None:
    """(15,) gains from the stabilised strips, or None where a residual vanishes."""
    gains = []
    for scale in SCALES:
        spreads: list[list[Plane]] = [[] for _ in KERNELS]
        for plane, mask in strips:
            height, width = (n // scale * scale for n in plane.shape)
            small = pool(plane[:height, :width], scale)
            inside = cv2.resize(mask[:height, :width].astype(np.uint8), small.shape[::-1],
                                interpolation=cv2.INTER_NEAREST)[2:-2, 2:-2] > 0
            for kernel, found in zip(KERNELS, spreads, strict=True):
                found.append(np.abs(cv2.filter2D(small, -1, kernel))[2:-2, 2:-2][inside])
        for found in spreads:
            magnitude = np.concatenate(found)
            if magnitude.size < 16:
                return None
            gains.append(trimmed_sigma(magnitude, np.zeros(magnitude.size, np.intp), 1)[0])
    spread = np.array(gains)
    if (spread < 1e-3).any():
        return None
    return (1 / spread).astype(np.float32)


def pool(plane: Plane, size: int) -> Plane:
    """Means over size × size pixels, (y / size, x / size); sides must be multiples of `size`."""
    if size == 1:
        return plane
    small = cv2.resize(plane, (plane.shape[1] // size, plane.shape[0] // size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)
