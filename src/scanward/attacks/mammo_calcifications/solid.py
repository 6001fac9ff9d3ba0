"""A cluster in three dimensions, and what a CC and an MLO view see of it.

It is laid out as a CC view sees it (`layout.py`), in mm lateral and towards the chest wall, and every calcification
gets a depth towards the head: in a group one within an ellipsoid, along a duct one on a bent and tilted sheet, so
that lines stay lines. The axes, and the two ways to look, are those of a mass (`mammo_digital.solid`); no breast is
deformed.
"""

from __future__ import annotations

import math

import numpy as np

from scanward.attacks.base import View
from scanward.attacks.mammo_calcifications.kinds import GROUPED, GROUPS
from scanward.attacks.mammo_calcifications.layout import Points, Speck, cluster_of, turned
from scanward.attacks.mammo_digital.solid import OBLIQUE, above_of

GAP_PIXEL_MM = 0.1
"""Between two calcifications as many pixels of this size stay free as of the host's own where there is one view."""
FLAT = 0.8
"""Half the depth of a group's ellipsoid, in half extents."""
TILT, BEND = 0.6, 0.2
"""At most: how far the sheet of a duct rises across the cluster, and bends along it, in half extents."""


def cluster_seen(view: View, morphology: str, distribution: str, radius: float, *,
                 rng: np.random.Generator) -> list[Speck]:
    """The calcifications of a cluster of half extent `radius` mm as a view sees them, in mm from its centre. With the
    same `rng` both views see the same cluster; in an MLO view one may lie over another."""
    toward = math.pi + float(rng.normal(0, 0.25))
    flat = cluster_of(morphology, distribution, radius, toward, GAP_PIXEL_MM, lambda points: np.ones(len(points), bool),
                      rng)
    seen = []
    for speck, heights in zip(flat, _heights(flat, distribution, radius, toward, morphology, rng), strict=True):
        lines = [np.asarray(line) for line in speck["lines"]]
        oblique = [_obliquely(line, height) for line, height in zip(lines, heights, strict=True)]
        reach = speck["width"] / 2 * (1 + GROUPS[morphology].rough)
        if np.hypot(*np.concatenate(oblique).T).max() + reach > radius * 1.001:
            continue  # in neither view, or they would show two clusters
        shown = oblique if view.name == "MLO" else lines
        seen.append(speck | {"lines": [np.round(_hung(line, view), 4).tolist() for line in shown]})
    return seen


def _heights(flat: list[Speck], distribution: str, radius: float, toward: float, morphology: str,
             rng: np.random.Generator) -> list[list[Points]]:
    """How far towards the head each point of each line lies, in mm."""
    tilt, bend = float(rng.uniform(-TILT, TILT)), float(rng.uniform(-BEND, BEND))
    cast = GROUPS[morphology].spread[0] == 0
    heights = []
    for speck in flat:
        lines = [np.asarray(line) for line in speck["lines"]]
        middle, level, slope = np.concatenate(lines).mean(0), float(rng.uniform(-1, 1)), rng.normal(0, 0.7, 2)
        if distribution == GROUPED:
            room = FLAT * math.sqrt(max(0.0, radius**2 - float(middle @ middle)))
            heights.append([level * room + (line - middle) @ slope for line in lines])
            continue
        aside = 0.0 if cast else 0.2 * level * radius
        heights.append([radius * (bend * (1 - along**2) + tilt * across) + aside
                        for across, along in (turned(line, -toward).T / radius for line in lines)])
    return heights


def _obliquely(line: Points, height: Points) -> Points:
    """Points (n, 2), lateral and towards the chest wall, as an MLO view sees them."""
    lateral, deep = line.T
    return np.stack([lateral * math.cos(OBLIQUE) + height * math.sin(OBLIQUE), deep], 1)


def _hung(points: Points, view: View) -> Points:
    """Points (n, 2), above and towards the chest wall, as y and x of the film."""
    above, deep = points.T
    return np.outer(deep, view.inward) + np.outer(above, above_of(view))
