"""Where the calcifications of a cluster lie, in mm from its centre: apart from one another, along ducts where they are.

A calcification is a few lines of points (y, x) with a width: a point, a bent stick, or a fork. Ducts run towards the
nipple, and branch away from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from scanward.attacks.mammo_calcifications.kinds import GROUPED, GROUPS, LINEAR, MOST, SEGMENTAL, Kind

Points = npt.NDArray[np.float64]
Speck = dict[str, Any]
"""JSON: `lines`, lists of [y, x] in mm from the centre; `width` and `depth` in mm; `dense`, what a mm adds."""

APART = 4.0
"""Pixels between two: a pixel of blur on either side, and two more, so that the truth keeps them apart."""
TRIES = 40
"""Places looked at for each calcification wanted."""


@dataclass
class Cluster:
    """What has been placed so far. `radius` is half the extent, `gap` what stays free between two, both in mm; `free`
    says of points (n, 2) in mm whether each lies in the breast."""

    kind: Kind
    radius: float
    gap: float
    free: Callable[[Points], npt.NDArray[np.bool_]]
    dense: float
    rng: np.random.Generator
    specks: list[Speck] = field(default_factory=list)
    taken: Points = field(default_factory=lambda: np.zeros((0, 3)))
    """Points of all, y, x, and how far each reaches around them."""

    def width(self) -> float:
        """Of the next one; a small cluster's are smaller."""
        low, high = self.kind.width
        low, high = min(low, self.radius / 4), min(high, self.radius / 4)
        return float(np.exp(self.rng.uniform(math.log(low), math.log(high))))

    def add(self, lines: list[Points], width: float) -> bool:
        """Place one where there is room for it; whether there was."""
        points = np.concatenate([densely(line, width / 2) for line in lines])
        reach = width / 2 * (1 + self.kind.rough)
        if np.hypot(*points.T).max() + reach > self.radius * 1.001 or not self.free(points).all():
            return False
        apart = np.hypot(*(points[:, None] - self.taken[None, :, :2]).transpose(2, 0, 1)) - self.taken[:, 2]
        if apart.size and apart.min() < reach + self.gap:
            return False
        self.taken = np.concatenate([self.taken, np.pad(points, ((0, 0), (0, 1)), constant_values=reach)])
        self.specks.append({
            "lines": [np.round(line, 4).tolist() for line in lines], "width": round(width, 4),
            "depth": round(width * float(self.rng.uniform(*self.kind.depth)), 4),
            "dense": round(self.dense * float(self.rng.uniform(*self.kind.each)), 4)})
        return True


def cluster_of(morphology: str, distribution: str, radius: float, toward: float, mm: float,
               free: Callable[[Points], npt.NDArray[np.bool_]], rng: np.random.Generator) -> list[Speck]:
    """The calcifications of a cluster of half extent `radius` mm in pixels of `mm`; `toward` is the angle, from x to y,
    in which the nipple lies. As many as there is room for."""
    kind = GROUPS[morphology]
    cluster = Cluster(kind, radius, APART * mm, free, float(rng.uniform(*kind.dense)), rng)
    aspect = {GROUPED: rng.uniform(0.55, 0.95), LINEAR: 0.25, SEGMENTAL: 0.5}[distribution]
    area = math.pi * radius**2 * float(aspect)
    wanted = int(np.clip(round(5 + rng.uniform(*kind.crowd) * area), 5, MOST))
    if morphology == "fine-linear" and distribution != GROUPED:
        _cast(cluster, toward, 1 if distribution == LINEAR else 4)
    along = float(rng.uniform(0, 2 * math.pi)) if distribution == GROUPED else toward
    for n, place in enumerate(_places(distribution, float(aspect), cluster, wanted * TRIES)):
        width, point = cluster.width(), turned(place[None], along)
        if n < 2:  # moved inwards by what it reaches: the cluster is as large as was asked for
            cluster.add([point * (1 - width / 2 * (1 + cluster.kind.rough) / radius)], width)
        else:
            cluster.add([_stick(point, width, along, cluster)], width)
        if len(cluster.specks) >= wanted:
            break
    return cluster.specks


def _places(distribution: str, aspect: float, cluster: Cluster, count: int) -> Iterator[Points]:
    """Points (y, x), mm, x along the cluster and towards the nipple: both its ends, then others at random."""
    rng, radius = cluster.rng, cluster.radius
    yield np.array([0.0, radius])
    yield np.array([0.0, -radius])
    bend = rng.uniform(-0.15, 0.15)
    for _ in range(count):
        if distribution == GROUPED:
            away, turn = radius * rng.uniform() ** 0.8, rng.uniform(0, 2 * math.pi)
            yield np.array([aspect * away * math.sin(turn), away * math.cos(turn)])
            continue
        x = rng.uniform(-1, 1)
        wide = 0.10 if distribution == LINEAR else 0.06 + 0.42 * (1 - x) / 2
        yield radius * np.array([bend * (1 - x * x) + wide * rng.uniform(-1, 1), x])


def _stick(point: Points, width: float, along: float, cluster: Cluster) -> Points:
    """A point (1, 2), or a bent stick (3, 2) there; those of ducts lie along them."""
    rng = cluster.rng
    half = width * (rng.uniform(*cluster.kind.longer) - 1) / 2
    turn = along + rng.normal(0, 0.5) if cluster.kind.spread[0] == 0 else rng.uniform(0, 2 * math.pi)
    if half < 0.1 * width:
        return point
    bent = np.array([[0.0, -half], rng.normal(0, 0.3 * half, 2), [0.0, half]])
    return np.asarray(point + turned(bent, turn))


def _cast(cluster: Cluster, toward: float, branches: int) -> None:
    """Casts of a duct from the deep end towards the nipple, and of the branches that join it: pieces with gaps."""
    rng, radius = cluster.rng, cluster.radius
    x = np.linspace(1, -1, 41)
    wander = 0.10 * np.sin(math.pi * (x + rng.uniform(-1, 1))) * (1 - x * x)
    trunk = turned(0.97 * radius * np.stack([wander, x], 1), toward)
    ways = [trunk]
    for number in range(branches):
        start = int(rng.integers(6, 28))
        side = (-1) ** number * rng.uniform(0.35, 0.75)
        reach = np.linspace(0, rng.uniform(0.4, 0.8) * radius, 25)
        heading = toward + math.pi + side * np.linspace(1, 0.55, 25)
        steps = np.diff(reach, prepend=0)[:, None] * np.stack([np.sin(heading), np.cos(heading)], 1)
        ways.append(trunk[start] + np.cumsum(steps, 0))
        _fork(cluster, trunk, start, ways[-1])
    for way in ways:
        _pieces(cluster, way)


def _fork(cluster: Cluster, trunk: Points, start: int, branch: Points) -> None:
    """One calcification where a branch joins the trunk."""
    length = float(cluster.rng.uniform(0.25, 0.6))
    stem, arm = (stretch(way, at, length) for way, at in ((trunk, start), (branch, 0)))
    back = stretch(trunk[::-1], len(trunk) - 1 - start, 0.5 * length)
    cluster.add([np.concatenate([back[::-1], stem[1:]]), arm], cluster.width())


def _pieces(cluster: Cluster, way: Points) -> None:
    """Calcifications along a line (n, 2), of uneven length, width and distance."""
    rng, fine = cluster.rng, densely(way, 0.05)
    at, step = 0.0, float(np.hypot(*(fine[1] - fine[0]))) if len(fine) > 1 else 1.0
    while at < len(fine) - 2:
        width = cluster.width()
        length = float(rng.choice([0.0, np.exp(rng.uniform(math.log(0.25), math.log(1.4)))], p=[0.3, 0.7]))
        piece = stretch(fine, int(at), min(length, 0.4 * cluster.radius))
        if rng.uniform() < 0.85:
            cluster.add([piece + rng.normal(0, 0.03, 2)], width)
        at += (length + width + cluster.gap + float(rng.exponential(0.35))) / step


def stretch(way: Points, start: int, length: float) -> Points:
    """The part of a line (n, 2) from a point on, `length` long, in at most eight points."""
    rest = way[start:]
    if length <= 0 or len(rest) < 2:
        return rest[:1]
    run = _run(rest)
    return _at(rest, run, np.linspace(0, min(length, run[-1]), min(8, max(2, int(length / 0.1) + 1))))


def densely(line: Points, step: float) -> Points:
    """A line (n, 2) in points at most `step` apart."""
    if len(line) < 2:
        return line
    run = _run(line)
    return _at(line, run, np.linspace(0, run[-1], max(2, math.ceil(run[-1] / step) + 1)))


def _run(line: Points) -> npt.NDArray[np.float64]:
    """How far along a line (n, 2) each of its points lies."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])


def _at(line: Points, run: npt.NDArray[np.float64], steps: npt.NDArray[np.float64]) -> Points:
    """Points of a line (n, 2) so far along it."""
    return np.stack([np.interp(steps, run, axis) for axis in line.T], 1)


def turned(points: Points, angle: float) -> Points:
    """Points (n, 2), y and x, with their x axis turned to `angle`, from x to y."""
    y, x = points.T
    return np.stack([x * math.sin(angle) + y * math.cos(angle), x * math.cos(angle) - y * math.sin(angle)], 1)
