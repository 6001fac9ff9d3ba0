"""What an image's own grain should be like at each place, from what surrounds it.

A maker's processing makes grain vary smoothly over the breast: with thickness, brightness and what is near. So each
residual's magnitude, in blocks, is explained by a robust additive fit on how bright a block is, how far from the skin,
how steep and how restless its surroundings are, and where it lies. The network sees residuals divided by that fit; a
forgery, a minority of the blocks, hardly moves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from scanward.detectors.self_reference import reference as own
from scanward.detectors.self_reference.reference import BLOCK, CLIP, KERNELS, SCALES, Reference, pool

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Columns = npt.NDArray[np.float32]

EXPECTED = 0.797
"""Mean magnitude of unit Gaussian grain cut at `CLIP`."""
KNOTS = 7
"""Of each smooth function, at quantiles."""
GRID = 5.0
"""Of the square root of the breast's area, in blocks: how many Gaussians side by side explain where a block lies; some
25 mm apart in a breast of average size."""
RIDGE, ROUNDS, TUKEY = 1.0, 6, 4.7
"""Of the fit: the penalty, in blocks; how often weights are found anew, and beyond how many spreads a block counts for
nothing."""
FURTHEST = 1.5
"""Magnitudes are corrected by at most e to this."""
LEAST = 64
"""Blocks that a fit is made of, at least."""


def measure(plane: Plane, tissue: Mask) -> Reference | None:
    """The reference of a plane (y, x) from the pixels of `tissue`, with its field where enough of it can be measured;
    None where there is too little grain."""
    found = own.measure(plane, tissue)
    return found and replace(found, field=field_of(plane, tissue, found, own.strips_of(tissue)))


def measurer(*, varies: bool) -> Callable[[Plane, Mask], Reference | None]:
    """What measures a reference: with its field where grain may vary over the breast, or as one curve."""
    return measure if varies else own.measure


def unevenness(reference: Reference, tissue: Mask) -> float:
    """How much the finest grain varies over the breast beyond what brightness explains: the standard deviation of the
    field's logarithm; 0 where there is no field."""
    if reference.field is None:
        return 0.0
    finest = reference.field[0]
    inside = _shrunk(tissue.astype(np.float32), finest.shape) > 0
    return float(np.log(finest[inside]).std())


def field_of(plane: Plane, tissue: Mask, reference: Reference, rows: list[tuple[int, int]] | None) -> Plane | None:
    """By how much each residual's gain differs from the image's own, (15, y / 16, x / 16 rounded up): 1 where it does
    not. None where too few blocks of the strips `rows` can be measured."""
    shape = (-(-plane.shape[0] // BLOCK), -(-plane.shape[1] // BLOCK))
    inside = _shrunk(tissue.astype(np.float32), shape)
    ends = (plane <= plane[tissue].min()) | (plane >= plane[tissue].max())
    usable = (inside > 0.9) & (_shrunk(ends.astype(np.float32), shape) < 0.05)
    strips = sorted({row for start, stop in rows or () for row in range(-(-start // BLOCK), stop // BLOCK)})
    chosen = np.zeros(shape, np.bool_)
    chosen[strips] = usable[strips]
    if chosen.sum() < LEAST:
        return None
    level = _shrunk(reference.stabilise(_shrunk(plane, shape)), shape)
    columns, placed = _columns(level, inside)
    seen = _magnitudes(plane, reference, strips, shape)[:, chosen]
    found = fitted(columns[chosen], np.log(np.maximum(seen, 0.02) / EXPECTED).T, placed)
    explained = np.clip(columns.reshape(-1, columns.shape[-1]) @ found, -FURTHEST, FURTHEST)
    return np.ascontiguousarray(np.exp(-explained).T.reshape(-1, *shape), np.float32)


def fitted(columns: Columns, values: npt.NDArray[np.float32], placed: int = 0) -> npt.NDArray[np.float32]:
    """Coefficients (columns, values) that explain `values` (blocks, values) by `columns` (blocks, columns), of which
    the last `placed` say where a block lies.

    Blocks weigh by how far off they are over all values together (Tukey's biweight), so that what one forgery changed
    is left out of all of them. Places come in once the other columns have told which blocks are off: with them from the
    beginning, a large forgery would pass for the grain of its place.
    """
    weight = np.ones(len(columns), np.float32)
    found = np.zeros((columns.shape[1], values.shape[1]), np.float32)
    first = columns.shape[1] - placed
    for number in range(ROUNDS):
        used = slice(0, first if number < ROUNDS // 2 else None)
        part = columns[:, used]
        weighted = part * weight[:, None]
        square = weighted.T @ part
        square += RIDGE * np.eye(len(square), dtype=np.float32)
        found[used] = np.linalg.solve(square, weighted.T @ values)
        rest = values - part @ found[used]
        spread = 1.4826 * np.median(np.abs(rest), 0) + 1e-6
        off = np.sqrt(np.mean(np.square(rest / spread), 1))
        limit = TUKEY * np.median(off)
        weight = np.square(np.clip(1 - np.square(off / limit), 0, None)).astype(np.float32)
    return found


def _magnitudes(plane: Plane, reference: Reference, strips: list[int], shape: tuple[int, int]) -> Plane:
    """Mean cut magnitude of each residual (15, y / 16, x / 16) in the block rows `strips`; elsewhere 0."""
    found = np.zeros((len(SCALES) * len(KERNELS), *shape), np.float32)
    high, wide = shape[0] * BLOCK, shape[1] * BLOCK
    for first, last in _runs(strips):
        start, stop = max(0, first * BLOCK - BLOCK), min(high, (last + 1) * BLOCK + BLOCK)
        piece = reference.stabilise(np.ascontiguousarray(plane[start:stop]))
        piece = np.pad(piece, [(0, stop - start - len(piece)), (0, wide - plane.shape[1])], mode="edge")
        skip = first - start // BLOCK
        for number, scale in enumerate(SCALES):
            small = pool(piece, scale)
            for k, kernel in enumerate(KERNELS):
                place = number * len(KERNELS) + k
                size = np.minimum(np.abs(cv2.filter2D(small, -1, kernel, borderType=cv2.BORDER_REPLICATE)
                                         * reference.gains[place]), CLIP)
                blocks = cv2.resize(size, (shape[1], len(piece) // BLOCK), interpolation=cv2.INTER_AREA)
                found[place, first:last + 1] = blocks[skip:skip + last + 1 - first]
    return found


def _runs(strips: list[int]) -> list[tuple[int, int]]:
    """First and last of each run of neighbours."""
    breaks = [i for i in range(1, len(strips)) if strips[i] != strips[i - 1] + 1]
    return [(strips[a], strips[b - 1]) for a, b in zip([0, *breaks], [*breaks, len(strips)], strict=True)]


def _columns(level: Plane, inside: Plane) -> tuple[Columns, int]:
    """What explains a block (y, x, columns): hat functions of each covariate, and, so many as the number says,
    Gaussians over the breast."""
    breast = inside > 0.5
    calm = cv2.GaussianBlur(np.where(breast, level, np.median(level[breast]) if breast.any() else 0), (0, 0), 1)
    steep = np.hypot(cv2.Sobel(calm, -1, 1, 0), cv2.Sobel(calm, -1, 0, 1))
    mean, square = cv2.blur(level, (3, 3)), cv2.blur(np.square(level), (3, 3))
    restless = np.sqrt(np.maximum(square - np.square(mean), 0))
    depth = cv2.distanceTransform(np.pad(breast.astype(np.uint8), 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1]
    covariates = [level, np.log1p(depth), np.log(steep + 0.3), np.log(restless + 0.3)]
    parts = [hats(one, knots_of(one[breast])) for one in covariates]
    places = _places(breast)
    return np.concatenate([np.ones((*level.shape, 1), np.float32), *parts, places], -1), places.shape[-1]


def knots_of(known: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Where the hat functions of a covariate stand, at quantiles of what is known of it."""
    return np.unique(np.quantile(known, np.linspace(0.01, 0.99, KNOTS)))


def hats(values: npt.NDArray[np.floating], knots: npt.NDArray[np.float64]) -> Columns:
    """(..., knots) hat functions of a covariate; none where it is everywhere the same."""
    if len(knots) < 2:
        return np.zeros((*values.shape, 0), np.float32)
    at = np.interp(values, knots, np.arange(len(knots)))
    return np.maximum(0, 1 - np.abs(at[..., None] - np.arange(len(knots)))).astype(np.float32)


def _places(breast: Mask) -> Columns:
    apart = max(4.0, float(np.sqrt(breast.sum())) / GRID)
    ys, xs = (np.arange(apart / 2, side + apart / 2, apart) for side in breast.shape)
    y, x = (np.arange(side)[:, None] for side in breast.shape)
    rows, cols = (np.exp(-0.5 * np.square((a - b) / (0.7 * apart))) for a, b in ((y, ys), (x, xs)))
    all_of = (rows[:, None, :, None] * cols[None, :, None, :]).reshape(*breast.shape, -1)
    near = all_of[breast].sum(0) > 0.5
    return np.ascontiguousarray(all_of[..., near], np.float32)


def _shrunk(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Means over blocks; the last ones' missing pixels are their neighbours'."""
    if plane.shape == shape:
        return plane
    lacks = [(0, blocks * BLOCK - side) for blocks, side in zip(shape, plane.shape, strict=True)]
    return np.asarray(cv2.resize(np.pad(plane, lacks, mode="edge"), shape[::-1], interpolation=cv2.INTER_AREA))
