"""Forgers who know everything but the key, against the reduced copy: what is the largest lesion that passes?

Usage: python benchmarks/seal_attacks.py SERIES... [--places 40] [--limits 34] [--slices 12] [--rounds 50]

Every attack may re-encode the whole scan, so that the exact part of the seal says no more than that. The forger has the
sealed scan, all of this code and more than any number of answers could teach: the reduced copy itself, lattice and
tolerances included.

Grid: smooth balls at random places in the body, plain and with a ring about them that takes their excess back, where
nothing else was changed but by one step. Which are noticed?
Limits: about the ball every voxel may be changed by as much as the ball has HU, in whatever way lets it pass (gradient
descent on the largest part of a tolerance; values under air allowed): the largest ball that then passes, at random
places and in the hundredth of the body with the most tolerance; and the same by random search with yes and no alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from scanward.formats.content import read_content
from scanward.formats.sources import series_or_file
from scanward.metrics import wilson
from scanward.seals.reduced import Reduced, Stored, reduced_of
from scanward.seals.remains import SCALES

GRID = ((3, 200), (4, 100), (4, 200), (6, 60), (10, 20), (10, 50))
SIZES = (3, 4, 6, 10)
Volume = npt.NDArray[np.float32]
Place = tuple[float, float, float]


def ball(shape: tuple[int, ...], steps: tuple[float, ...], place: Place, mm: float, edge: float = 0.3) -> Volume:
    """A smooth ball of unit height about `place` in voxels."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    radius = np.sqrt(sum(((axis - at) * step) ** 2 for axis, at, step in zip((z, y, x), place, steps, strict=True)))
    return np.asarray(1 / (1 + np.exp(np.clip((radius - mm / 2) / edge, -50, 50))), np.float32)


def ringed(shape: tuple[int, ...], steps: tuple[float, ...], place: Place, mm: float) -> Volume:
    """The ball, and about it a ring with its excess taken back."""
    inside = ball(shape, steps, place, mm)
    ring = ball(shape, steps, place, 1.8 * mm) - inside
    return inside - ring * (inside.sum() / ring.sum())


def places(known: Reduced, count: int, rng: np.random.Generator, worst: bool = False) -> list[Place]:
    """Random places in the body, in voxels, or those of the hundredth of it with the most tolerance."""
    judged = known.judged
    if worst:
        tolerance = known.tolerance[1].values
        judged = judged & (tolerance >= np.percentile(tolerance[judged], 99))
    cells = np.argwhere(judged)
    chosen = cells[rng.choice(len(cells), min(count, len(cells)), replace=False)]
    high, wide, deep = (0.5 if step > 1 else 0.0 for step in known.lattice.step)
    jitter = rng.uniform(-1, 1, chosen.shape) * (high, wide, deep)
    return [tuple(float(known.lattice.first[axis] + (cell[axis] + shift[axis]) * known.lattice.step[axis])
                  for axis in range(3)) for cell, shift in zip(chosen, jitter, strict=True)]  # type: ignore[misc]


@dataclass(frozen=True)
class Near:
    """The copy about one place, as a differentiable function of what is added to the voxels there."""

    start: tuple[int, ...]
    shape: tuple[int, ...]
    windows: tuple[torch.Tensor, ...]
    blurs: tuple[tuple[torch.Tensor, ...], ...]
    tolerance: tuple[torch.Tensor, ...]

    @staticmethod
    def of(known: Reduced, place: Place, mm: float, steps: tuple[float, ...]) -> Near:
        lattice = known.lattice
        reach = [max(mm * 1.5 / step, 1.5 * cell) for step, cell in zip(steps, lattice.step, strict=True)]
        box = [slice(max(0, int(at - far)), min(length, int(at + far) + 2))
               for at, far, length in zip(place, reach, lattice.shape, strict=True)]
        windows, blurs, spans = [], [], []
        for axis, (part, whole) in enumerate(zip(box, lattice.windows, strict=True)):
            touched = np.flatnonzero(whole[:, part].max(1) > 1e-4)
            more = int(np.ceil(2.5 * lattice.sigmas(SCALES[-1])[axis])) + 1
            span = slice(max(0, touched[0] - more), min(len(whole), touched[-1] + more + 1))
            spans.append(span)
            windows.append(torch.from_numpy(np.ascontiguousarray(whole[span, part])))
            blurs.append(tuple(_blur(span.stop - span.start, lattice.sigmas(scale)[axis] if scale > 1 else 0.0)
                               for scale in SCALES))
        inside = known.judged[tuple(spans)]
        allowed = tuple(torch.from_numpy(np.where(inside, one.values[tuple(spans)], np.inf).astype(np.float32))
                        for one in known.tolerance)
        return Near(tuple(part.start for part in box), tuple(part.stop - part.start for part in box), tuple(windows),
                    tuple(zip(*blurs, strict=True)), allowed)

    def parts(self, added: torch.Tensor) -> torch.Tensor:
        """Of every tolerance about, how much a change takes."""
        cells = _along(self.windows, added)
        return torch.cat([(_along(blur, cells).abs() / allowed).flatten()
                          for blur, allowed in zip(self.blurs, self.tolerance, strict=True)])


def _along(axes: Sequence[torch.Tensor], volume: torch.Tensor) -> torch.Tensor:
    z, y, x = axes
    return torch.einsum("az,zbc->abc", z, y @ (volume @ x.T))


def _blur(length: int, sigma: float) -> torch.Tensor:
    eye = np.eye(length, dtype=np.float32)
    return torch.from_numpy(eye if sigma == 0 else ndimage.gaussian_filter1d(eye, sigma, axis=0, truncate=2.5,
                                                                             mode="constant"))


def largest(known: Reduced, place: Place, mm: float, steps: tuple[float, ...], rounds: int) -> float:
    """HU of the largest ball that takes no more than a whole tolerance anywhere, with the best change about it that was
    found, of no more than the ball's own HU."""
    near = Near.of(known, place, mm, steps)
    local = tuple(at - start for at, start in zip(place, near.start, strict=True))
    inside = torch.from_numpy(ball(near.shape, steps, local, mm, 0.2))
    free = torch.zeros_like(inside, requires_grad=True)
    optimiser = torch.optim.Adam([free], 0.1)
    best = float("inf")
    for number in range(rounds):
        parts = near.parts(inside + (1 - inside) * torch.tanh(free))
        best = min(best, float(parts.detach().max()))
        optimiser.zero_grad()
        torch.logsumexp(20 * (1 + 4 * number / rounds) * parts / parts.max().detach(), 0).backward()
        optimiser.step()
    return 1 / best


def asked(known: Reduced, place: Place, mm: float, steps: tuple[float, ...], questions: int) -> float:
    """The same by a forger who has no copy, and only hears yes or no: a random search that keeps what passes."""
    near, draw = Near.of(known, place, mm, steps), np.random.default_rng(5)
    local = tuple(at - start for at, start in zip(place, near.start, strict=True))
    inside = torch.from_numpy(ball(near.shape, steps, local, mm, 0.2))
    free, hu = np.zeros(near.shape, np.float32), 1.0
    for _ in range(questions):
        step = ndimage.gaussian_filter(draw.normal(size=near.shape).astype(np.float32), draw.uniform(0.5, 2.5))
        other = free + step * np.float32(draw.uniform(0, 0.3) / step.std())
        more = hu * draw.choice([1.2, 1.05, 1.01])
        change = more * (inside + (1 - inside) * torch.tanh(torch.from_numpy(other)))
        if float(near.parts(change).max()) <= 1:
            free, hu = other, more
    return hu


def noticed(known: Reduced, spots: Sequence[Place]) -> list[tuple[str, int, int]]:
    """Of each kind of the grid, how many were noticed: the reduction is linear, so a lesion's part of it is enough."""
    steps, found = tuple(step or 1.0 for step in known.steps), []
    for form, make in (("plain", ball), ("ringed", ringed)):
        for mm, hu in GRID:
            caught = 0
            for place in spots:
                near = Near.of(known, place, mm, steps)
                local = tuple(at - start for at, start in zip(place, near.start, strict=True))
                change = hu * torch.from_numpy(make(near.shape, steps, local, mm))
                caught += float(near.parts(change).max()) > 1
            found.append((f"{form}, {mm} mm, {hu} HU", caught, len(spots)))
    return found


def limits(name: str, known: Reduced, rng: np.random.Generator, given: argparse.Namespace) -> None:
    """Print what passes at random places, at those of most tolerance, and after so many answers."""
    steps = tuple(step or 1.0 for step in known.steps)
    ways = ((f"{given.limits} random", given.limits, False, lambda *where: largest(*where, given.rounds)),
            (f"{given.limits // 4} of most tolerance", given.limits // 4, True,
             lambda *where: largest(*where, given.rounds)),
            (f"{given.limits // 12} random, {given.questions} answers", given.limits // 12, False,
             lambda *where: asked(*where, given.questions)))
    for words, count, worst, found in ways:
        for mm in SIZES:
            hu = [found(known, place, mm, steps) for place in places(known, count, rng, worst)]
            print(f"| {name} | {words} | {mm} mm | {np.median(hu):.0f} HU | {np.percentile(hu, 95):.0f} HU | "
                  f"{max(hu):.0f} HU |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", nargs="+", type=Path)
    parser.add_argument("--places", type=int, default=40, help="of the grid, a series")
    parser.add_argument("--limits", type=int, default=34, help="places of the limits, a series and size")
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()
    torch.set_num_threads(1)
    grid: dict[str, list[int]] = {}
    print("| series | places | size | passes: half of places | nineteen in twenty | the largest |\n"
          "|---|---|---|---|---|---|")
    for path in given.series:
        content = read_content(series_or_file(path))
        start = max(0, (len(content.values) - given.slices) // 2)
        stored = Stored(content.values[start : start + given.slices], content.scale, content.steps, True)
        known, rng = reduced_of(stored, np.random.default_rng(1)), np.random.default_rng(2)
        if given.limits:
            limits(path.name, known, rng, given)
        spots = places(known, given.places, np.random.default_rng(4))
        for name, caught, count in noticed(known, spots) if spots else ():
            seen = grid.setdefault(name, [0, 0])
            seen[0] += caught
            seen[1] += count
        print(f"{path.name}: done", file=sys.stderr, flush=True)
    print("\n| lesion | noticed | 95 % interval |\n|---|---|---|")
    for name, (caught, count) in grid.items():
        low, high = wilson(caught, count)
        print(f"| {name} | {caught} of {count} | {low:.3f} to {high:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
