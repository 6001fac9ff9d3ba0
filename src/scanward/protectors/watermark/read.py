"""A scan's watermark found, and where it is missing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scanward.anatomy.lung import Lungs, inside
from scanward.image import Image
from scanward.protectors.watermark.measure import (
    Expected,
    Plane,
    Prediction,
    Sums,
    Volume,
    level_of,
    normalised,
    prediction_of,
    slices_of,
    sums,
    turned,
    window_of,
)
from scanward.protectors.watermark.planes import COUNT, TILE, key_for, moved, plane, planes_at, tile

CUBES_MM = (5.0, 8.0, 12.0)
"""Sides of the cubes over which agreement is summed."""
FULL = 0.5
"""Share of a cube that is lung, at least."""
SCATTER = 0.6
"""Standard deviations by which cubes scatter about what is expected of them, from which on a scan counts as processed
since: the pattern is woven in so that all agree alike, and those of twelve scans of the training and validation splits
scatter by .4 to .7 as they were marked, by .6 to 1.4 after a learned purifier."""
QUIET = 0.4
"""Power of the error, as a share of what it is on average, that a cube counts as having at least."""
TRIED, KEPT, TILES = 2, 2000, 12
"""Tiles of a slice by which all planes are tried, how many planes are kept, and the tiles by which these are."""
SURE = 9.0
"""Standard deviations from which on a plane is the scan's own: of 65,536 the loudest chance lies at about 4.3."""
CARRIES = 3.0
"""Standard deviations by which a cube of 8 mm agrees with the watermark, below which it is too weak to tell anything:
12 mm without it, of which as large a cube is expected to agree 1.8 times as well, come to 15 there, and to the alarm's
25 only where chance helps by two standard deviations."""
SHIFTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Pixels by which a scan that was resampled may lie off."""


@dataclass(frozen=True)
class Reading:
    """What a scan's watermark says."""

    start: int
    """Number of the first slice's plane."""
    shift: tuple[float, float]
    """Pixels (y, x) by which the scan lies off."""
    strength: float
    """Agreement that a cube of 8 mm should show, median, in standard deviations of an unmarked one's; as many times
    less as cubes scatter more than `SCATTER`."""
    missing: Volume
    """(z, y, x) of the whole scan: the logarithm of how much likelier a place is unmarked than marked, the largest of
    the cubes about it, and of its slice where that stands alone; at most 0 where nothing is missing, outside the lungs
    -inf."""
    loose: float
    """As `missing`, of the outermost slices: where they lack their planes, they are others, or slices before them are
    lost."""

    @property
    def weak(self) -> bool:
        """Whether it is too weak to tell where it is missing."""
        return self.strength < CARRIES


def read(image: Image, lungs: Lungs, master: bytes) -> Reading | None:
    """What this site's watermark says of a CT of known spacing; None where it carries none that can be seen."""
    spacing, how = image.spacing or (1.0, 1.0, 1.0), prediction_of(image.pixels, lungs)
    if how is None:
        return None
    found = start_in(image.pixels, lungs, spacing, how, key := key_for(master))
    if found is None:
        return None
    start, shift = found
    window, slices = window_of(lungs, image.shape, spacing), slices_of(lungs)
    seen = sums(image.pixels, lungs, spacing, partial(planes_at, key, start, shift), how, window, slices)
    expected = Expected(seen)(seen)
    near, scatter = missing_in(seen, expected, spacing)
    alone, loose = lone_slices(seen, expected, spacing[0])
    near = np.where(seen.count > 0, np.maximum(near, alone[:, None, None]), near)
    missing = np.full(image.shape, -np.inf, np.float32)
    size = tuple(part.stop - part.start for part in window)[::-1]
    for z, plane_of in zip(slices, near, strict=True):
        missing[z][window] = cv2.resize(plane_of, size, interpolation=cv2.INTER_NEAREST)
    agreed = agreement_in(seen, expected, spacing, CUBES_MM[1])
    strength = float(np.median(agreed.expected[agreed.full])) if agreed.full.any() else 0.0
    return Reading(start, shift, strength / max(1.0, scatter[1] / SCATTER), missing, loose)


@dataclass(frozen=True)
class Agreement:
    """Of cubes of one size, (z, y / 2, x / 2), in standard deviations of an unmarked one's."""

    found: Volume
    expected: Volume
    full: npt.NDArray[np.bool_]
    """Enough of it is lung."""


def agreement_in(seen: Sums, expected: Volume, spacing: tuple[float, float, float], side_mm: float) -> Agreement:
    """Sums over cubes, in units of the root of their summed squares: where the pattern is not there, each product has
    a sign by chance, so that they are of unit variance whatever the scan shows."""
    sides = [max(1, round(side_mm / step)) for step in (spacing[0], 2 * spacing[1], 2 * spacing[2])]
    count = _boxes(seen.count, sides)
    power = _boxes(seen.power, sides)
    scale = np.sqrt(np.maximum(power, QUIET * count) + np.float32(1e-6))
    return Agreement(_boxes(seen.agreement, sides) / scale, _boxes(expected * seen.count, sides) / scale,
                     count > FULL * 4 * np.prod(sides))


def lone_slices(seen: Sums, expected: Volume, thick_mm: float) -> tuple[npt.NDArray[np.float32], float]:
    """As `missing_in`, of whole slices (z,): of those few that agree with their planes by less than half of what is
    expected of them while the slices below and above agree. Thinner than the smallest cube, they pass for marked in
    every cube about them; -inf for all others, and for a longer run, which lacks planes rather than a pattern. And the
    largest of such a run at either end."""
    whole = np.maximum(seen.power.sum((1, 2)), QUIET * seen.count.sum((1, 2))) + np.float32(1e-6)
    found, wanted = (part.sum((1, 2)) / np.sqrt(whole) for part in (seen.agreement, expected * seen.count))
    agree = (found >= wanted / 2) & (wanted > 1)
    if not agree.any():
        return np.full(len(found), -np.inf, np.float32), -np.inf
    # what is expected is a mean over all, those that lack it, too
    share = found[agree] / wanted[agree]
    wanted = wanted * float(np.median(share))
    ratio = wanted * (wanted / 2 - found) / np.maximum(1, (_deviation(share) * wanted / SCATTER) ** 2)
    runs, count = ndimage.label(found < wanted / 2)
    made, loose = np.full(len(found), -np.inf, np.float32), -np.inf
    for first, last in ((run[0].start, run[0].stop) for run in ndimage.find_objects(runs, count)):
        if (last - first) * thick_mm > CUBES_MM[0]:
            continue
        if first > 0 and last < len(found):
            made[first:last] = ratio[first:last]
        else:
            loose = max(loose, float(ratio[first:last].max()))
    return made, loose


def scatter_of(cubes: Agreement) -> float:
    """By how many standard deviations of an unmarked one cubes scatter about what is expected of them: by the median of
    deviations, which a forgery takes up little of. A clean-up takes the pattern away here more than there, and then a
    place that it left little of would pass for painted."""
    return _deviation((cubes.found - cubes.expected)[cubes.full])


def _deviation(off: Volume) -> float:
    """Standard deviation by the median of deviations; 0 of nothing."""
    return float(np.median(np.abs(off - np.median(off)))) / 0.6745 if off.size else 0.0


def missing_in(seen: Sums, expected: Volume, spacing: tuple[float, float, float],
               scatter: Sequence[float] = ()) -> tuple[Volume, list[float]]:
    """As `Reading.missing`, of a window, (z, y / 2, x / 2): the logarithm of the likelihood ratio of two normal
    distributions of unit variance, one about the expected agreement and one about none; divided by how many times
    the variance is that of a scan as it was marked (quasi-likelihood, McCullagh & Nelder 1989, chapter 9). And the
    scatter of each of `CUBES_MM`: the window's own, or the whole scan's `scatter` where that is given."""
    made, used = np.full(seen.count.shape, -np.inf, np.float32), list(scatter)
    for number, side in enumerate(CUBES_MM):
        one = agreement_in(seen, expected, spacing, side)
        if not scatter:
            used.append(scatter_of(one))
        ratio = one.expected * (one.expected / 2 - one.found) / np.float32(max(1.0, (used[number] / SCATTER) ** 2))
        np.maximum(made, np.where(one.full, ratio, -np.inf), out=made)
    return made, used


def _boxes(values: Volume, sides: list[int]) -> Volume:
    planes = np.stack([cv2.boxFilter(one, -1, (sides[2], sides[1]), normalize=False, borderType=cv2.BORDER_CONSTANT)
                       for one in values])
    flat = cv2.boxFilter(planes.reshape(len(planes), -1), -1, (1, sides[0]), normalize=False,
                         borderType=cv2.BORDER_CONSTANT)
    return np.asarray(flat.reshape(planes.shape), np.float32)


def start_in(pixels: Volume, lungs: Lungs, spacing: tuple[float, float, float], how: Prediction,
             key: bytes) -> tuple[int, tuple[float, float]] | None:
    """The number of the first slice's plane and the shift of a scan; None where none of this key's agrees with it."""
    for z in _asked(lungs, key):
        found = _start_by(z, pixels, lungs, spacing, how, key)
        if found is not None:
            return found
    return None


def _asked(lungs: Lungs, key: bytes) -> list[int]:
    """The slices by which a scan is known: that with most lung and, for it may lack the watermark alone, two more that
    only who has the key can name."""
    areas = lungs.mask.sum((1, 2))
    first = int(areas.argmax())
    others = [z for z in np.flatnonzero(2 * areas >= areas[first]).tolist() if z != first]
    drawn = np.random.default_rng(int.from_bytes(key, "big")).permutation(len(others))[:2]
    return [first, *(others[number] for number in drawn)]


def _start_by(z: int, pixels: Volume, lungs: Lungs, spacing: tuple[float, float, float], how: Prediction,
              key: bytes) -> tuple[int, tuple[float, float]] | None:
    """As `start_in`, by one slice."""
    both, lung = _turning(pixels, z, how, spacing), inside(lungs, z, pixels.shape[1:])
    tiles = _tiles_of(lung)
    if not tiles:
        return None
    numbers = np.arange(COUNT)
    scores = _scores(key, numbers, both, lung, tiles[:TRIED])
    numbers = numbers[np.argsort(-scores)[:KEPT]]
    number = int(numbers[np.argmax(_scores(key, numbers, both, lung, tiles))])
    shift, score = _shift_of(key, number, both, lung)
    return ((number - z) % COUNT, shift) if score >= SURE else None


def _turning(pixels: Volume, z: int, how: Prediction, spacing: tuple[float, float, float]) -> Plane:
    """(2, y, x) of a slice: what the products with either of a plane's patterns are taken of."""
    error, level = normalised(pixels, z, how, spacing)[0], level_of(pixels[z], spacing)
    one, other = np.ones_like(level), np.zeros_like(level)
    return np.stack([error * turned(np.stack(parts), level) for parts in ((one, other), (other, one))])


def _tiles_of(lung: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Rows and columns of the tiles that hold most lung, at least half of them."""
    places = itertools.product(*(range(n // TILE) for n in lung.shape))
    held = {(y, x): float(lung[y * TILE:(y + 1) * TILE, x * TILE:(x + 1) * TILE].mean()) for y, x in places}
    return [place for place in sorted(held, key=lambda one: -held[one])[:TILES] if held[place] > 0.5]


def _scores(key: bytes, numbers: npt.NDArray[np.intp], both: Plane, lung: npt.NDArray[np.bool_],
            tiles: list[tuple[int, int]]) -> npt.NDArray[np.float64]:
    """How well planes agree with a slice, in standard deviations of chance."""
    total, power = np.zeros(len(numbers)), 0.0
    for row, column in tiles:
        part = np.s_[row * TILE:(row + 1) * TILE, column * TILE:(column + 1) * TILE]
        here = (both[:, *part] * lung[part]).ravel()
        power += float(np.square(here, dtype=np.float64).sum())
        for first in range(0, len(numbers), 2048):
            some = np.stack([tile(key, int(number), row, column).ravel() for number in numbers[first:first + 2048]])
            total[first:first + 2048] += some.astype(np.float32) @ here
    return total / max(power, 1e-9) ** 0.5


def _shift_of(key: bytes, number: int, both: Plane, lung: npt.NDArray[np.bool_]) -> tuple[tuple[float, float], float]:
    """The shift by which a plane agrees best with a slice, and how well, in standard deviations of chance."""
    window = slice(0, lung.shape[0]), slice(0, lung.shape[1])
    signs, inner = plane(key, number, window), both * lung
    scale = float(np.sqrt(np.square(inner, dtype=np.float64).sum())) or 1.0
    found = {shift: float((moved(signs, shift) * inner).sum()) / scale for shift in itertools.product(SHIFTS, SHIFTS)}
    best = max(found, key=lambda shift: found[shift])
    return best, found[best]
