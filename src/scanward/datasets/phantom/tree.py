"""Vessels and airways that fill a lung: each branch grows towards the middle of what it supplies, then halves it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]

EVEN = (0.35, 0.65)
"""Shares in which a branch's field is parted."""
REACH = (0.3, 0.6)
"""Of the way to the middle of its field that a branch goes before it parts."""
BEND = 0.12
"""Deviation of a branch's end from that way, as a share of its length."""


@dataclass(frozen=True)
class Tree:
    """Straight segments in mm."""

    start: Points
    """(n, 3), (z, y, x)."""
    end: Points
    radius: npt.NDArray[np.float64]
    """(n,)."""


def grown(root: tuple[float, float, float], field: Points, tip: float, murray: float,
          rng: np.random.Generator) -> Tree:
    """The tree from `root` to every point (n, 3) of a field, of `tip` mm at its ends.

    Volume filling as by Kitaoka et al. (J. Appl. Physiol. 1999); a branch that supplies k points has the radius
    tip · k^(1 / murray).
    """
    starts, ends, radii = [], [], []
    left = [(np.asarray(root, np.float64), field)]
    while left:
        here, points = left.pop()
        way = points.mean(0) - here
        if len(points) > 1:
            way = way * rng.uniform(*REACH) + rng.normal(0, BEND, 3) * np.linalg.norm(way)
        starts.append(here)
        ends.append(here + way)
        radii.append(tip * len(points) ** (1 / murray))
        if len(points) > 1:
            spread = points - points.mean(0)
            axis = np.linalg.svd(spread, full_matrices=False)[2][0] + rng.normal(0, 0.2, 3)
            order = np.argsort(spread @ axis)
            cut = min(max(1, round(len(points) * rng.uniform(*EVEN))), len(points) - 1)
            left += [(ends[-1], points[order[:cut]]), (ends[-1], points[order[cut:]])]
    return Tree(np.array(starts), np.array(ends), np.array(radii))


def drawn(tree: Tree, axes: tuple[Points, Points, Points], soft: float, wall: float = 0.0) -> Volume:
    """The share (z, y, x) of each voxel that the segments fill, thickened by a `wall`; `axes` are the voxels' middles
    in mm, evenly spaced, and edges are `soft` mm wide. What is thinner than that is fainter instead."""
    share = np.zeros([len(axis) for axis in axes], np.float32)
    first, step = (np.array([axis[n] - axis[0] * n for axis in axes]) for n in (0, 1))
    for start, end, radius in zip(tree.start, tree.end, tree.radius + wall, strict=True):
        reach = radius + soft
        low = np.floor((np.minimum(start, end) - reach - first) / step).astype(int).clip(0)
        high = np.ceil((np.maximum(start, end) + reach - first) / step).astype(int) + 1
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        parts = [axis[part] - middle for axis, part, middle in zip(axes, window, start, strict=True)]
        if not all(part.size for part in parts):
            continue
        z, y, x = np.ix_(*parts)
        way = end - start
        length = max(float(way @ way), 1e-9)
        along = ((way[0] * z + way[1] * y + way[2] * x) / length).clip(0, 1)
        away = np.sqrt((z - along * way[0]) ** 2 + (y - along * way[1]) ** 2 + (x - along * way[2]) ** 2)
        inside = (0.5 + (radius - away) / soft).clip(0, 1)
        faint = min(1.0, (2 * radius / soft) ** 2)
        np.maximum(share[window], faint * inside, out=share[window], casting="same_kind")
    return share
